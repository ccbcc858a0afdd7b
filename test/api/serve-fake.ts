/** Serves the API with a cluster in memory on the socket given as argument: for clients in other languages. */
import { FakeBackends } from '../../src/api/fake-backends.ts';
import { createApiServer } from '../../src/api/server.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';

const backends = new FakeBackends(systemClock);
backends.runtime.images.offer('demo:1');
const server = await createApiServer({ backends, log: silentLog });
await server.listen(process.argv[2]!);
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)));
console.log('ready');
