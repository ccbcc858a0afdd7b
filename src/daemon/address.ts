/**
 * Which address a node advertises (`--advertise-addr`, `--data-path-addr`, `--listen-addr`), decided as Docker decides.
 * Pure: the interfaces of the machine are an argument.
 */
import { isIpv4, parseIpv4 } from '../kit/cidr.ts';
import { SkeinError } from '../model/errors.ts';
import type { Ipv4 } from '../model/ids.ts';

export interface LocalAddress {
  readonly link: string;
  readonly address: Ipv4;
}

const DEFAULT_PORT = 2377;

/** What the docker CLI sends for `--listen-addr` when nothing was said: then the daemon's own setting holds. */
const UNSAID = `0.0.0.0:${DEFAULT_PORT}`;

/** Splits `host[:port]`; the port is the default where there is none. */
export function splitHostPort(text: string, defaultPort = DEFAULT_PORT): { host: string; port: number } {
  const at = text.lastIndexOf(':');
  const host = at < 0 ? text : text.slice(0, at);
  const port = at < 0 ? defaultPort : Number(text.slice(at + 1));
  if (host === '' || !Number.isInteger(port) || port < 1 || port > 65535)
    throw new SkeinError('invalid-argument', `invalid address ${text}: must be ADDRESS[:PORT]`);
  return { host, port };
}

/** Links that Skein or a container engine made carry no node's address. */
const isForeign = ({ link }: LocalAddress): boolean => link === 'lo' || /^(sk-|docker|br-|veth)/.test(link);

/**
 * The address and port that other nodes reach this one by. `wanted` is an address, an interface name, or empty: then
 * the listen address if it is a specific one, else the only address of the machine, or of several the one from which it
 * reaches the manager that it joins (`towards`).
 */
export function chooseAdvertiseAddr(
  wanted: string,
  listenAddr: string,
  local: readonly LocalAddress[],
  towards?: Ipv4,
): { readonly address: Ipv4; readonly port: number } {
  const listen = splitHostPort(listenAddr);
  if (wanted !== '') {
    const { host, port } = splitHostPort(wanted, listen.port);
    return { address: resolveHost(host, local, 'advertise'), port };
  }
  if (listen.host !== '0.0.0.0')
    return { address: resolveHost(listen.host, local, 'listen'), port: listen.port };
  return { address: onlyAddress(local, towards), port: listen.port };
}

/** Where a manager listens, `address:port`: what was asked for, an interface name too, else the daemon's setting. */
export function chooseListenAddr(wanted: string, setting: string, local: readonly LocalAddress[]): string {
  const { host, port } = splitHostPort(wanted === '' || wanted === UNSAID ? setting : wanted);
  return `${resolveHost(host, local, 'listen')}:${port}`;
}

/** The data path address: an address or interface name; the advertised one where none was given. */
export const chooseDataPathAddr = (wanted: string, advertise: Ipv4, local: readonly LocalAddress[]): Ipv4 =>
  wanted === '' ? advertise : resolveHost(wanted, local, 'data path');

function resolveHost(host: string, local: readonly LocalAddress[], what: string): Ipv4 {
  if (isIpv4(host)) return parseIpv4(host);
  const found = local.filter(({ link }) => link === host);
  if (found.length === 0)
    throw new SkeinError(
      'invalid-argument',
      `${what} address must be a non-zero IP address or network interface (${host})`,
    );
  if (found.length > 1)
    throw new SkeinError(
      'invalid-argument',
      `interface ${host} has more than one IPv4 address (${found.map((f) => f.address).join(' and ')})`,
    );
  return found[0]!.address;
}

/** The docker CLI adds to these words that one is to be given with --advertise-addr. */
function onlyAddress(local: readonly LocalAddress[], towards: Ipv4 | undefined): Ipv4 {
  const candidates = local.filter((l) => !isForeign(l));
  if (candidates.length === 1) return candidates[0]!.address;
  if (candidates.some(({ address }) => address === towards)) return towards!;
  if (candidates.length === 0)
    throw new SkeinError(
      'invalid-argument',
      'could not choose an IP address to advertise since this system has no addresses',
    );
  const shown = candidates
    .slice(0, 2)
    .map(({ address, link }) => `${address} on ${link}`)
    .join(' and ');
  throw new SkeinError(
    'invalid-argument',
    `could not choose an IP address to advertise since this system has multiple addresses on different interfaces (${shown})`,
  );
}
