import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backendsIn } from './backend-watch.ts';

test('the backends of a port, from what the monitor prints of its count', () => {
  assert.equal(backendsIn('add element ip skein counts { tcp . 8001 : 0:3 }', 8001), 3);
  assert.equal(backendsIn('add element ip skein counts { tcp . 8001 : 1:1f }', 8001), 0x1_001f);
  assert.equal(backendsIn('add element ip skein counts { tcp . 8001 : 0:0 }', 8001), 0);
});

test('other ports, other maps and what is removed are no news', () => {
  assert.equal(backendsIn('add element ip skein counts { tcp . 8002 : 0:3 }', 8001), undefined);
  assert.equal(
    backendsIn('add element ip skein published { tcp . 8001 . 0:3 : goto tcp-8001-3 }', 8001),
    undefined,
  );
  assert.equal(backendsIn('delete element ip skein counts { tcp . 8001 : 0:3 }', 8001), undefined);
});
