/**
 * The demo's web image, made by code from what Debian has installed: busybox-static for the tools (ping, ip, sh), Perl
 * and its libraries for the server (image-server.ts). No registry is asked.
 */
import { type RunProcess, runProcess } from '../kit/process.ts';
import {
  type BuiltImage,
  type Entry,
  file,
  folders,
  packImage,
  programFiles,
  readProgram,
  type RunConfig,
} from './image-archive.ts';
import { SERVER, SERVER_DEFAULTS } from './image-server.ts';

export interface ImageOptions {
  /** `name:tag`; `skein/web:latest` unless given. */
  readonly name?: string;
  /** What the server does unless the service gives arguments: port, udp, exit, after, deaf, linger, lines, every. */
  readonly server?: Partial<typeof SERVER_DEFAULTS>;
  readonly env?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

const BUSYBOX = '/bin/busybox';
const PERL = '/usr/bin/perl';
const APPLETS =
  'sh ash cat cp date echo env false grep head hostname id ifconfig ip kill ls mkdir mv nc netstat nslookup ping ps ' +
  'rm route sed sleep stat sync tail test top touch traceroute true uname vi wc wget which';

export async function buildImage(
  options: ImageOptions = {},
  run: RunProcess = runProcess,
): Promise<BuiltImage> {
  return packImage(options.name ?? 'skein/web:latest', await rootFiles(run), runConfig(options));
}

function runConfig(options: ImageOptions): RunConfig {
  const server = Object.entries(options.server ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const port = options.server?.port ?? SERVER_DEFAULTS.port;
  const udp = options.server?.udp ?? SERVER_DEFAULTS.udp;
  return {
    Entrypoint: ['/bin/answer'],
    Cmd: server.map(([key, value]) => `${key}=${value}`),
    Env: [
      'PATH=/bin:/sbin:/usr/bin',
      // No locale is in the image, and perl would say so at every start.
      'PERL_BADLANG=0',
      ...Object.entries(options.env ?? {}).map(([key, value]) => `${key}=${value}`),
    ],
    WorkingDir: '/',
    ExposedPorts: { ...(port && { [`${port}/tcp`]: {} }), ...(udp && { [`${udp}/udp`]: {} }) },
    ...(options.labels && { Labels: options.labels }),
  };
}

async function rootFiles(run: RunProcess): Promise<Entry[]> {
  return [
    ...folders('bin', 'dev', 'etc', 'lib', 'lib64', 'proc', 'root', 'sys', 'tmp', 'usr', 'usr/bin'),
    file('bin/answer', SERVER, 0o755),
    file('bin/busybox', readProgram(BUSYBOX, 'busybox-static'), 0o755),
    ...APPLETS.split(' ').map(
      (applet): Entry => ({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox' }),
    ),
    ...(await programFiles(PERL, 'perl-base', run)),
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n'),
    file('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
    file('etc/nsswitch.conf', 'hosts: files dns\n'),
  ];
}
