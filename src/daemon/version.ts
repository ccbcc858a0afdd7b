/** Version of Skein, as `docker version` and `node inspect` show it. test/version.test.ts holds it to package.json. */
export const SKEIN_VERSION = '0.1.0';
