/**
 * manager/ca: who may be in the cluster. Issues node certificates against join tokens or the certificate that is to
 * be renewed. If it lies, a stranger is a manager; so the role comes from the token or from the stored node, never
 * from what the caller asks for.
 *
 * This file: certificates, over injected time and randomness. No state. @peculiar/x509 is heavy and is loaded at
 * the first use: a worker never does.
 */
import { webcrypto } from 'node:crypto';
import { SkeinError } from '../../model/errors.ts';
import type { ClusterId, NodeId, RandomBytes } from '../../model/ids.ts';
import type { NodeRole } from '../../model/spec.ts';
import { ouOf } from '../../rpc/tls.ts';
import { ALGORITHM, loadX509, newKey } from '../../rpc/x509.ts';

export interface CaDeps {
  /** Milliseconds since the epoch. */
  now(): number;
  readonly random: RandomBytes;
}

export interface KeyAndCertificate {
  /** PEM, PKCS#8. */
  readonly key: string;
  /** PEM. */
  readonly certificate: string;
}

const YEAR = 365 * 24 * 3600_000;
/** Clocks of nodes differ; a certificate is valid from a little before it is made. */
const SKEW = 3600_000;
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

type X509 = Awaited<ReturnType<typeof loadX509>>;

/** A positive serial number of 16 bytes. */
const serial = (random: RandomBytes): string => {
  const bytes = Buffer.from(random(16));
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
};

const derOf = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
const privateKey = (pem: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', derOf(pem), ALGORITHM, false, ['sign']);

/** PEM as OpenSSL and Go write it, with the newline at its end: the token's digest is over exactly this. */
const pemOf = (certificate: { toString(format: 'pem'): string }): string =>
  `${certificate.toString('pem').trim()}\n`;

/** A self-signed root of 20 years. */
export async function newRoot(commonName: string, deps: CaDeps): Promise<KeyAndCertificate> {
  const x509 = await loadX509();
  const { pem, keys } = await newKey();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(deps.random),
    name: [{ CN: [commonName] }],
    notBefore: new Date(deps.now() - SKEW),
    notAfter: new Date(deps.now() + 20 * YEAR),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return { key: pem, certificate: pemOf(certificate) };
}

export const newSwarmRoot = (deps: CaDeps): Promise<KeyAndCertificate> => newRoot('swarm-ca', deps);
export const newEtcdRoot = (deps: CaDeps): Promise<KeyAndCertificate> => newRoot('skein-etcd-ca', deps);

export interface NodeSubject {
  readonly nodeId: NodeId;
  readonly role: NodeRole;
  readonly clusterId: ClusterId;
}

/** Signs the key of the request; of its subject nothing is taken. Refuses a request that its key did not sign. */
export async function issueNode(
  root: KeyAndCertificate,
  csr: string,
  subject: NodeSubject,
  expiryMs: number,
  deps: CaDeps,
): Promise<string> {
  const x509 = await loadX509();
  const request = parseRequest(x509, csr);
  if (!(await request.verify().catch(() => false)))
    throw new SkeinError('invalid-argument', 'the certificate request is not signed by its key');
  return sign(x509, root, {
    name: [{ CN: [subject.nodeId] }, { OU: [ouOf(subject.role)] }, { O: [subject.clusterId] }],
    publicKey: await request.publicKey.export(ALGORITHM, ['verify']),
    names: [
      { type: 'dns', value: subject.nodeId },
      { type: 'dns', value: ouOf(subject.role) },
    ],
    expiryMs,
    deps,
  });
}

/** An etcd member's certificate for its peers: they dial by address and check it. */
export async function issueEtcdPeer(
  root: KeyAndCertificate,
  member: { readonly name: string; readonly addresses: readonly string[] },
  deps: CaDeps,
): Promise<KeyAndCertificate> {
  const x509 = await loadX509();
  const { pem, keys } = await newKey();
  const certificate = await sign(x509, root, {
    name: [{ CN: [member.name] }],
    publicKey: keys.publicKey,
    names: [
      ...member.addresses.map((value) => ({ type: 'ip' as const, value })),
      { type: 'dns' as const, value: member.name },
    ],
    expiryMs: 20 * YEAR - SKEW,
    deps,
  });
  return { key: pem, certificate };
}

interface Signing {
  readonly name: { [type: string]: string[] }[];
  readonly publicKey: webcrypto.CryptoKey;
  readonly names: { readonly type: 'dns' | 'ip'; readonly value: string }[];
  readonly expiryMs: number;
  readonly deps: CaDeps;
}

async function sign(x509: X509, root: KeyAndCertificate, what: Signing): Promise<string> {
  const issuer = new x509.X509Certificate(root.certificate);
  const { now, random } = what.deps;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(random),
    subject: new x509.Name(what.name).toString(),
    issuer: issuer.subject,
    notBefore: new Date(now() - SKEW),
    notAfter: new Date(now() + what.expiryMs),
    signingAlgorithm: ALGORITHM,
    publicKey: what.publicKey,
    signingKey: await privateKey(root.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTH, CLIENT_AUTH]),
      new x509.SubjectAlternativeNameExtension(what.names),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return pemOf(certificate);
}

function parseRequest(x509: X509, csr: string): InstanceType<X509['Pkcs10CertificateRequest']> {
  try {
    return new x509.Pkcs10CertificateRequest(csr);
  } catch (cause) {
    throw new SkeinError('invalid-argument', 'the certificate request cannot be read', { cause });
  }
}
