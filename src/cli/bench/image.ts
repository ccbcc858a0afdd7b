/** The image of the benchmarks: Debian's nginx, because a server that costs much hides the path to it. */
import { runProcess } from '../../kit/process.ts';
import { type BuiltImage, file, folders, packImage, programFiles } from '../../lab/image-archive.ts';

export const BENCH_IMAGE = 'skein/bench:latest';
export const BIG_BYTES = 10_000_000;

const CONFIG = `
daemon off;
worker_processes 1;
user root;
error_log /dev/null;
pid /tmp/nginx.pid;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off;
  keepalive_requests 100000000;
  sendfile on;
  client_body_temp_path /tmp/b;
  proxy_temp_path /tmp/p;
  fastcgi_temp_path /tmp/f;
  uwsgi_temp_path /tmp/u;
  scgi_temp_path /tmp/s;
  server {
    listen 80 backlog=4096;
    location / { return 200 "ok\\n"; }
    location /big { root /www; }
  }
}
`;

export async function buildBenchImage(): Promise<BuiltImage> {
  const files = [
    ...folders(
      'dev',
      'etc',
      'lib',
      'lib64',
      'proc',
      'sys',
      'tmp',
      'usr',
      'usr/sbin',
      'var',
      'var/lib',
      'var/lib/nginx',
    ),
    ...folders('var/log', 'var/log/nginx', 'www'),
    ...(await programFiles('/usr/sbin/nginx', 'nginx-light', runProcess)),
    file('etc/passwd', 'root:x:0:0:root:/:/bin/false\n'),
    file('etc/group', 'root:x:0:\n'),
    file('etc/nginx.conf', CONFIG),
    file('www/big', Buffer.alloc(BIG_BYTES)),
  ];
  return packImage(BENCH_IMAGE, files, {
    Entrypoint: ['/usr/sbin/nginx', '-c', '/etc/nginx.conf'],
    ExposedPorts: { '80/tcp': {} },
    StopSignal: 'SIGQUIT',
  });
}
