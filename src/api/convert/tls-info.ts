/** TLSInfo: the trust root as Docker shows it. Parsed once per certificate, not per node of a list. */
import { X509Certificate } from 'node:crypto';

const known = new WeakMap<object, object>();

/** `ca` is the cluster's `ca` object; its identity stands for its content, stored objects never change in place. */
export function tlsInfo(ca: { readonly certificate: string }): object {
  let info = known.get(ca);
  if (!info) known.set(ca, (info = parse(ca.certificate)));
  return info;
}

function parse(pem: string): object {
  try {
    const certificate = new X509Certificate(pem);
    const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
    return {
      TrustRoot: pem,
      CertIssuerSubject: subjectOf(certificate.raw).toString('base64'),
      CertIssuerPublicKey: spki.toString('base64'),
    };
  } catch {
    return { TrustRoot: pem }; // still the truth; a broken root shows up everywhere else first
  }
}

/** Start of the content and end of the DER element at `at`. */
function element(der: Buffer, at: number): { readonly content: number; readonly end: number } {
  const first = der[at + 1]!;
  if (first < 0x80) return { content: at + 2, end: at + 2 + first };
  const width = first & 0x7f;
  const content = at + 2 + width;
  return { content, end: content + der.readUIntBE(at + 2, width) };
}

const VERSION_TAG = 0xa0;

/** The subject's DER: after version, serial, algorithm, issuer and validity of the certificate's first part. */
function subjectOf(der: Buffer): Buffer {
  let at = element(der, element(der, 0).content).content;
  const before = der[at] === VERSION_TAG ? 5 : 4;
  for (let i = 0; i < before; i++) at = element(der, at).end;
  return der.subarray(at, element(der, at).end);
}
