import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tlsInfo } from './tls-info.ts';

/** Recorded from dockerd: a swarm's root and what the API says of it. */
const PEM =
  '-----BEGIN CERTIFICATE-----\nMIIBajCCARCgAwIBAgIUXc37cSjJlmBqVXdhEYApmTPBk5UwCgYIKoZIzj0EAwIw\nEzERMA8GA1UEAxMIc3dhcm0tY2EwHhcNMjYxMTIzMTQ0MjAwWhcNNDYxMTE4MTQ0\nMjAwWjATMREwDwYDVQQDEwhzd2FybS1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH\nA0IABA2prFrnW8nTurVMteU5yJkLbfbtlh4R++z+xJbVrWtf/ffkZG/gqbI5NA2u\n/xAxQQVXtV3KxANDrv2bYxExBS2jQjBAMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMB\nAf8EBTADAQH/MB0GA1UdDgQWBBSBCzULk/m1Obf2dIJkoWC/6aOo0jAKBggqhkjO\nPQQDAgNIADBFAiEAhOlNn7ZzQbe0uCFeXfIcMPMKhlfVivV+Y7JEjV5zAWMCIGJX\nBT5ZCYvSZhP7E1ZtCY9AeUZmCoX7kAI7kKQd6/kn\n-----END CERTIFICATE-----\n';

test('issuer subject and public key are as dockerd shows them', () => {
  assert.deepEqual(tlsInfo({ certificate: PEM }), {
    TrustRoot: PEM,
    CertIssuerSubject: 'MBMxETAPBgNVBAMTCHN3YXJtLWNh',
    CertIssuerPublicKey:
      'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDamsWudbydO6tUy15TnImQtt9u2WHhH77P7EltWta1/99+Rkb+Cpsjk0Da7/EDFBBVe1XcrEA0Ou/ZtjETEFLQ==',
  });
});

test('a broken root is shown as it is', () => {
  assert.deepEqual(tlsInfo({ certificate: 'x' }), { TrustRoot: 'x' });
});
