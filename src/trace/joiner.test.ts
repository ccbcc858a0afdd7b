import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKENDS, ENTRANCE, FAR, frame, NEAR, NODE, Seen, CLIENT } from './fake-connection.ts';
import { Joiner } from './joiner.ts';

const newJoiner = () => new Joiner(() => ({ entrances: [ENTRANCE], backends: BACKENDS }));
const FIN = { flags: ['FIN', 'ACK'], sequence: 400 } as const;

test('a connection is given when it has ended and the last node had time to tell of it', () => {
  const [joiner, seen] = [newJoiner(), new Seen()];
  const all = [
    ...seen.handshake(40001, FAR, 1),
    ...seen.pass('forward', 40001, FAR, FIN),
    ...seen.pass('back', 40001, FAR, FIN),
  ];
  joiner.add(
    all.filter(({ point }) => point === 'node1'),
    0,
  );
  assert.deepEqual(joiner.take(100), []);
  joiner.add(
    all.filter(({ point }) => point === 'node2'),
    200,
  );
  assert.deepEqual(joiner.take(500), []);
  const given = joiner.take(700);
  assert.deepEqual(
    given.map(({ outcome, hops }) => [outcome, hops[1]!.sightings.length]),
    [['closed', 4]],
  );
  joiner.add(seen.pass('forward', 40001, FAR, { flags: ['ACK'], sequence: 401 }), 800);
  assert.deepEqual(joiner.take(60_000, true), []);
  assert.equal(joiner.midway, 0);
});

test('one that goes on is given after a while, once; its port taken again makes another', () => {
  const [joiner, seen] = [newJoiner(), new Seen()];
  joiner.add(seen.handshake(40001, NEAR, 1), 0);
  let given = 0;
  for (let now = 0; now <= 20_000; now += 100) {
    joiner.add(seen.pass('forward', 40001, NEAR, { flags: ['ACK'], payload: Buffer.alloc(1) }), now);
    given += joiner.take(now).length;
  }
  assert.equal(given, 1);
  joiner.add(seen.handshake(40001, NEAR, 2), 20_100);
  assert.equal(joiner.take(20_100, true).length, 1);
});

test('a first packet that nobody answers is one connection, however often it is sent', () => {
  const [joiner, seen] = [newJoiner(), new Seen()];
  const syn = () => seen.at('node1 eth0 in', frame(CLIENT, NODE, [40001, 80], { sequence: 1 }));
  const given = [0, 1000, 3000, 7000].flatMap((now) => {
    joiner.add([syn()], now);
    return joiner.take(now + 900);
  });
  assert.deepEqual(
    [...given, ...joiner.take(30_000, true)].map(({ outcome }) => outcome),
    ['unanswered'],
  );
});

test('connections that were open before are counted, packets of others dropped', () => {
  const [joiner, seen] = [newJoiner(), new Seen()];
  joiner.add(seen.pass('forward', 40001, NEAR, { flags: ['ACK'] }), 0);
  assert.deepEqual(joiner.take(20_000), []);
  assert.equal(joiner.midway, 1);
});
