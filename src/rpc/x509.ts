/** @peculiar/x509 at first use: it is heavy, and most daemons' days pass without a certificate to make. */
export async function loadX509() {
  // Its injector wants this in place before it is loaded.
  await import('reflect-metadata');
  return import('@peculiar/x509');
}
