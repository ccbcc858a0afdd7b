/** Branded identifiers and network values. A brand is given once, where the value enters (parse) or is made. */
declare const brand: unique symbol;
export type Brand<T, B extends string> = T & { readonly [brand]: B };

export type ClusterId = Brand<string, 'ClusterId'>;
export type NodeId = Brand<string, 'NodeId'>;
export type ServiceId = Brand<string, 'ServiceId'>;
export type TaskId = Brand<string, 'TaskId'>;
export type NetworkId = Brand<string, 'NetworkId'>;
export type SecretId = Brand<string, 'SecretId'>;
export type ConfigId = Brand<string, 'ConfigId'>;

/** 64 hexadecimal digits, as Docker's container ids. */
export type ContainerId = Brand<string, 'ContainerId'>;
/** Dotted IPv4 address without a prefix length. */
export type Ipv4 = Brand<string, 'Ipv4'>;
/** IPv4 prefix `a.b.c.d/len` with the host bits zero. */
export type Cidr = Brand<string, 'Cidr'>;
/** IPv4 interface address `a.b.c.d/len`: an address and the length of its prefix. */
export type InterfaceAddress = Brand<string, 'InterfaceAddress'>;
/** Lower-case, colon-separated MAC address. */
export type Mac = Brand<string, 'Mac'>;
/** VXLAN network identifier, 24 bits. */
export type Vni = Brand<number, 'Vni'>;

/** Gives `length` random bytes. The only source of randomness; passed in, so that tests can fix it. */
export type RandomBytes = (length: number) => Uint8Array;

const ID_LENGTH = 25;

/** A new object id: 25 characters of base 36, 128 bits of randomness (swarmkit's identity.NewID). */
export function newId<T extends Brand<string, string>>(random: RandomBytes): T {
  let n = 0n;
  for (const byte of random(16)) n = (n << 8n) | BigInt(byte);
  return n.toString(36).padStart(ID_LENGTH, '0').slice(-ID_LENGTH) as T;
}

/** A new unicast, locally administered MAC address. */
export function newMac(random: RandomBytes): Mac {
  const bytes = [...random(6)];
  bytes[0] = (bytes[0]! & 0xfc) | 0x02;
  return bytes.map((b) => b.toString(16).padStart(2, '0')).join(':') as Mac;
}
