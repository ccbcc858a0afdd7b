import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { VirtualClock } from '../../kit/clock.ts';
import { isCode } from '../../model/errors.ts';
import type { ClusterId, NodeId } from '../../model/ids.ts';
import type { ToAgent } from '../../rpc/messages.ts';
import { WalkBroker } from './broker.ts';

const NODE = 'n1' as NodeId;
const peer = (nodeId: string) => ({
  peer: {
    nodeId: nodeId as NodeId,
    role: 'worker' as const,
    clusterId: 'c' as ClusterId,
    notAfter: Infinity,
  },
});

function broker(connected = true) {
  const clock = new VirtualClock();
  const sent: ToAgent[] = [];
  const send = (_node: NodeId, message: ToAgent) => connected && sent.push(message) > 0;
  const idOf = (n: number) => {
    const message = sent[n]!;
    assert.ok(message.type === 'walk');
    return message.request.id;
  };
  return { clock, idOf, broker: new WalkBroker({ clock, random: randomBytes, send }) };
}

test('a question is answered by the node that was asked, and by no other', async () => {
  const { broker: walks, idOf } = broker();
  const asked = walks.ask(NODE, []);
  await assert.rejects(walks.answer({ id: idOf(0), legs: [] }, peer('n2')), (e) => isCode(e, 'not-found'));
  await walks.answer({ id: idOf(0), legs: [[]] }, peer('n1'));
  assert.deepEqual(await asked, [[]]);
  await assert.rejects(walks.answer({ id: idOf(0), legs: [] }, peer('n1')), (e) => isCode(e, 'not-found'));
});

test('what the node says against it is said to the asker', async () => {
  const { broker: walks, idOf } = broker();
  const asked = walks.ask(NODE, []);
  await walks.answer({ id: idOf(0), error: 'no network view yet' }, peer('n1'));
  await assert.rejects(asked, /no network view yet/);
});

test('a node without a session, and one that says nothing, hold up nobody', async () => {
  await assert.rejects(broker(false).broker.ask(NODE, []), /no session with the managers/);
  const { broker: walks, clock } = broker();
  const asked = walks.ask(NODE, []);
  const refused = assert.rejects(asked, /no answer within 3 s/);
  await clock.advance(3_000);
  await refused;
});
