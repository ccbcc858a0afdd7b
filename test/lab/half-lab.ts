/** Brings half a lab up, with every kind of thing that a node makes, and waits to be killed. Started by lab.test.ts. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { runProcess } from '../../src/kit/process.ts';
import { Lab } from '../../src/lab/lab.ts';
import { createNetns } from '../../src/kit/netns.ts';

const name = process.argv[2]!;
await Lab.up(
  { name, nodes: 2, cluster: false },
  {
    daemon: (node) => [process.execPath, '-e', 'setInterval(() => {}, 1e6)', node.runRoot],
    async isUp(node) {
      if (node.name === 'node2') return false;
      createNetns(`${node.runRoot}/netns/inner`);
      mkdirSync(`${node.runRoot}/rootfs`);
      await runProcess(['mount', '-t', 'tmpfs', 'tmpfs', `${node.runRoot}/rootfs`]);
      // A container: in a namespace of its own, in a cgroup of the lab, with arguments that say nothing.
      const [command, ...args] = ['nsenter', `--net=${node.runRoot}/netns/inner`, 'sleep', '1000'] as const;
      spawn(command, args, { detached: true, stdio: 'ignore' });
      const cgrouped = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
      const parent = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup'].find((path) => existsSync(path))!;
      const cgroup = `${parent}/skein-lab/${name}/node1/c1`;
      mkdirSync(cgroup, { recursive: true });
      writeFileSync(`${cgroup}/cgroup.procs`, `${cgrouped.pid}`);
      rmSync(`/var/lib/skein-lab/${name}/lab.json`);
      writeFileSync(`/run/skein-lab/${name}/ready`, '');
      return true;
    },
  },
);
