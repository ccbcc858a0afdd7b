import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changedConfig } from './changes.ts';

test('each instruction changes its part of the configuration', () => {
  const config = changedConfig([
    'CMD ["/bin/web", "port=80"]',
    'ENTRYPOINT exec sh',
    'ENV A=1 B="two words"',
    'env A 3 times',
    'EXPOSE 80 53/udp',
    'LABEL tier=front',
    'LABEL "by"=me',
    'VOLUME ["/data"]',
    'VOLUME /a /b',
    'USER 7:8',
    'WORKDIR /srv',
    'STOPSIGNAL SIGINT',
  ]);
  assert.deepEqual(config, {
    Cmd: ['/bin/web', 'port=80'],
    Entrypoint: ['/bin/sh', '-c', 'exec sh'],
    Env: ['B=two words', 'A=3 times'],
    ExposedPorts: { '80/tcp': {}, '53/udp': {} },
    Labels: { tier: 'front', by: 'me' },
    Volumes: { '/data': {}, '/a': {}, '/b': {} },
    User: '7:8',
    WorkingDir: '/srv',
    StopSignal: 'SIGINT',
  });
});

test('spaces cost no more the more there are', () => {
  const spaces = ' '.repeat(300_000);
  assert.deepEqual(changedConfig([`ENV A${spaces}b`, `ENV${spaces}C${spaces}d e`]), {
    Env: ['A=b', 'C=d e'],
  });
});

test('what is no instruction, or makes no sense, is refused by name', () => {
  const refused = (change: string) => {
    try {
      changedConfig([change]);
    } catch (error) {
      return (error as Error).message;
    }
    return undefined;
  };
  assert.match(refused('RUN make')!, /^RUN make is no change that can be made: CMD, ENTRYPOINT, ENV/);
  assert.match(refused('CMD')!, /is no change/);
  assert.match(refused('EXPOSE many')!, /invalid containerPort: many/);
  assert.match(refused('ENV A')!, /can't find = in "A"/);
  assert.match(refused('ENV A=1 junk B=2')!, /can't find = in "A=1 junk B=2"/);
  // What is wrong behind a thousand labels is found as soon as behind one.
  const labels = Array.from({ length: 1000 }, (_, i) => `l${i}="v"`).join(' ');
  assert.match(refused(`LABEL ${labels} wrong`)!, /can't find = in/);
});
