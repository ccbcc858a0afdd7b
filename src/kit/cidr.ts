/** IPv4 arithmetic on 32-bit unsigned integers. Parsing gives the brands of model/ids.ts; nothing else does. */
import { SkeinError } from '../model/errors.ts';
import type { Cidr, InterfaceAddress, Ipv4 } from '../model/ids.ts';

export function ipToInt(ip: Ipv4): number {
  let value = 0;
  for (const part of ip.split('.')) value = value * 256 + Number(part);
  return value;
}

export const intToIp = (value: number): Ipv4 =>
  [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.') as Ipv4;

const OCTET = /^(0|[1-9]\d{0,2})$/;

export function isIpv4(text: string): text is Ipv4 {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((part) => OCTET.test(part) && Number(part) <= 255);
}

export function parseIpv4(text: string): Ipv4 {
  if (!isIpv4(text)) throw new SkeinError('invalid-argument', `invalid IPv4 address: ${text}`);
  return text;
}

export const prefixLength = (cidr: Cidr | InterfaceAddress): number =>
  Number(cidr.slice(cidr.indexOf('/') + 1));
export const addressOf = (address: InterfaceAddress): Ipv4 => address.slice(0, address.indexOf('/')) as Ipv4;
export const maskOf = (length: number): number => (length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0);

/** Parses `a.b.c.d/len` and clears the host bits. */
export function parseCidr(text: string): Cidr {
  const [ip = '', length = ''] = text.split('/');
  if (!isIpv4(ip) || !/^\d{1,2}$/.test(length) || Number(length) > 32 || text.split('/').length !== 2)
    throw new SkeinError('invalid-argument', `invalid CIDR address: ${text}`);
  return `${intToIp((ipToInt(ip) & maskOf(Number(length))) >>> 0)}/${Number(length)}` as Cidr;
}

export const interfaceAddress = (ip: Ipv4, length: number): InterfaceAddress =>
  `${ip}/${length}` as InterfaceAddress;

/** First and last address of a prefix, network and broadcast address included. */
export function range(cidr: Cidr): { readonly first: number; readonly last: number } {
  const first = ipToInt(cidr.slice(0, cidr.indexOf('/')) as Ipv4);
  return { first, last: (first | ~maskOf(prefixLength(cidr))) >>> 0 };
}

export const contains = (cidr: Cidr, ip: Ipv4): boolean => {
  const { first, last } = range(cidr);
  const value = ipToInt(ip);
  return value >= first && value <= last;
};

export const overlaps = (a: Cidr, b: Cidr): boolean => {
  const [x, y] = [range(a), range(b)];
  return x.first <= y.last && y.first <= x.last;
};
