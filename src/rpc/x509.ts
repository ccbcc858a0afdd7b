/** Keys, and requests to have them certified. */
import { KeyObject, webcrypto } from 'node:crypto';

/** @peculiar/x509 at first use: it is heavy, and most daemons' days pass without a certificate to make. */
export async function loadX509() {
  // Its injector wants this in place before it is loaded.
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

export const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** `pem` is the private key, PKCS#8. */
export async function newKey(): Promise<{ readonly pem: string; readonly keys: webcrypto.CryptoKeyPair }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const pem = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }) as string;
  return { pem, keys };
}

/** A new key and a request to have it certified. The manager takes nothing but the public key from it. */
export async function newRequest(): Promise<{ readonly key: string; readonly csr: string }> {
  const x509 = await loadX509();
  const { pem, keys } = await newKey();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=skein-node',
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return { key: pem, csr: request.toString('pem') };
}
