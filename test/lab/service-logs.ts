/** What tasks print, as `service logs` and `logs` tell it: from all nodes, to those who follow, within its options. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { finished } from '../docker.ts';
import { IMAGE, type Stage } from './stage.ts';

export function serviceLogs(stageOf: () => Stage): void {
  void test('logs of all tasks on all nodes, those that are still to come, and of a task that is made meanwhile', async (t) => {
    stageOf().removeAfter(t, 'chat');
    await stageOf().create('chat', '--replicas', '2', IMAGE, 'lines=4', 'every=100');
    // A task runs before its program has printed.
    await until(
      'the first line of both',
      async () => {
        const logs = await stageOf().ok('service', 'logs', 'chat');
        const from = (node: string) => new RegExp(`^chat\\.\\d\\.\\w+@${node}\\s+\\| line 1$`, 'm');
        return ['node1', 'node2'].every((node) => from(node).test(logs)) || logs;
      },
      { timeoutMs: 20_000 },
    );
    const follow = stageOf().docker('node1').start('service', 'logs', '-f', '--tail', '0', 'chat');
    const ended = finished(follow);
    let text = '';
    follow.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const says = (what: string, from: RegExp) =>
      until(what, () => Promise.resolve(from.test(text) || text), { timeoutMs: 20_000 });
    for (const node of ['node1', 'node2'])
      await says(`lines to come of ${node}`, new RegExp(`@${node}\\s+\\| line`));
    await stageOf().ok('service', 'scale', '--detach', 'chat=3');
    await says('the first line of the third', /^chat\.3\.\w+@node\d\s+\| line 1$/m);
    follow.kill('SIGTERM');
    await ended;
    const [id] = (await stageOf().docker('node2').ok('ps', '-q', '--filter', 'name=chat')).split('\n');
    assert.match(await stageOf().docker('node2').ok('logs', '--tail', '2', id!), /line \d+/);
    // Of any two lines in a row one is not of standard error.
    const raw = await stageOf().ok('service', 'logs', '--raw', '--tail', '2', 'chat');
    assert.match(raw, /^line \d+\n/);
  });

  void test('a log keeps to its options; a follower misses no line over rotations and a kill of the daemon', async (t) => {
    stageOf().removeAfter(t, 'count');
    // It waits half-way, or a daemon that is slow to come back would find more than is kept; and it ends, so that what
    // is asked of its log is asked of one that stands still.
    const count = `i=0; while [ $i -lt 700 ]; do
      i=$((i+1)); echo count $i; sleep 0.01
      [ $i -ne 300 ] || until [ -e /go ]; do sleep 0.1; done
    done; sleep 1000`;
    await stageOf().ok(
      ...[
        'service',
        'create',
        '--no-resolve-image',
        '--detach',
        '--name',
        'count',
        '--stop-grace-period',
        '0s',
      ],
      ...['--log-driver', 'json-file', '--log-opt', 'max-size=5k', '--log-opt', 'max-file=3'],
      ...['--log-opt', 'compress=true', '--log-opt', 'tag={{.Name}}'],
      ...['--log-opt', 'labels=tier', '--container-label', 'tier=front', '--env', 'A=1'],
      ...['--constraint', 'node.hostname==node2', '--entrypoint', '/bin/sh', IMAGE, '-c', count],
    );
    const follow = stageOf().docker('node1').start('service', 'logs', '-f', '--raw', 'count');
    let text = '';
    follow.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const seen = () => text.split('\n').slice(0, -1);
    const reached = (line: number) =>
      until(`line ${line}`, async () => seen().length >= line || `${seen().length} came`, {
        timeoutMs: 60_000,
      });
    await reached(100);
    await stageOf().lab.kill('node2', 'skeind');
    await stageOf().lab.start('node2');
    await reached(300);
    const node2 = stageOf().docker('node2');
    const id = (await node2.ok('ps', '-q', '--filter', 'name=count.')).trim();
    await node2.ok('exec', id, 'touch', '/go');
    await reached(700);
    follow.kill('SIGTERM');
    for (const [i, line] of seen().entries()) assert.equal(line, `count ${i + 1}`);
    const kept = (await stageOf().ok('service', 'logs', '--raw', 'count')).split('\n').slice(0, -1);
    assert.ok(kept.length > 100 && kept.length <= 500, `${kept.length} lines of some 30 bytes are kept`);
    assert.notEqual(kept[0], 'count 1');
    const last = await stageOf().ok('service', 'logs', '--details', '--timestamps', '--tail', '1', 'count');
    assert.match(
      last,
      /^2\d{3}-\S+T\S+\.\d{9}Z count\.1\.\w+@node2\s+\| tag=count\.1\.\w+,tier=front count \d+\n$/,
    );
    const [, since, number] = /^(\S+) .* (\d+)$/m.exec(last)!;
    const later = await stageOf().ok('service', 'logs', '--raw', '--since', since!, 'count');
    assert.equal(later.split('\n')[0], `count ${number}`);
    assert.equal(await node2.ok('logs', '--since', since!, '--until', since!, id), `count ${number}\n`);
    assert.match(
      await node2.ok('logs', '--details', '--tail', '1', id),
      /^tag=count\.1\.\w+,tier=front count \d+\n$/,
    );
    const [loud] = await stageOf().running('count');
    await stageOf().ok('service', 'update', '--detach', '--log-driver', 'none', 'count');
    let silent = '';
    await until(
      'a task without a log',
      async () => {
        const tasks = await stageOf().running('count');
        silent = tasks.find(({ id }) => id !== loud!.id)?.id ?? '';
        return silent !== '' || JSON.stringify(tasks);
      },
      { timeoutMs: 20_000 },
    );
    assert.match(
      await stageOf().docker('node1').fails('service', 'logs', silent),
      /configured logging driver does not support reading/,
    );
  });
}
