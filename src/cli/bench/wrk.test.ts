import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWrk } from './wrk.ts';

const OUTPUT = `Running 1s test @ http://192.0.2.11:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   231.11us  102.02us   2.96ms   87.10%
  Latency Distribution
     50%  201.00us
     99%    1.24ms
  145671 requests in 1.00s, 21.11MB read
  Socket errors: connect 0, read 2, write 0, timeout 1
Requests/sec: 145671.55
Transfer/sec:      1.50GB
`;

test('what wrk prints', () => {
  const figures = parseWrk(OUTPUT);
  assert.equal(figures.requestsPerSecond, 145671.55);
  assert.equal(figures.p99Ms, 1.24);
  assert.equal(figures.errors, 3);
  assert.ok(Math.abs(figures.megabytesPerSecond - 1610.6) < 1);
  assert.throws(() => parseWrk('unable to connect'), /wrk printed something else/);
});

test('an answer that is none counts as failed, and for no speed', () => {
  const refused = OUTPUT.replace('  Socket', '  Non-2xx or 3xx responses: 145671\n  Socket');
  assert.equal(parseWrk(refused).requestsPerSecond, 0);
  assert.equal(parseWrk(refused).errors, 145_674);
  const half = OUTPUT.replace('145671 requests', '200 requests').replace(
    '  Socket',
    '  Non-2xx or 3xx responses: 100\n  Socket',
  );
  assert.equal(parseWrk(half).requestsPerSecond, 145671.55 / 2);
});
