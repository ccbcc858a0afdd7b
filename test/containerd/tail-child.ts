/** Opens the runtime and tails until killed: the part of skeind that restart.test.ts kills again and again. */
import { Containerd } from '../../src/containerd/containerd.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';

const [socket = '', dataRoot = '', runRoot = ''] = process.argv.slice(2);
await Containerd.open({
  socket,
  dataRoot,
  runRoot,
  cgroupParent: 'skein-unused',
  insecureRegistries: [],
  clock: systemClock,
  log: silentLog,
});
setInterval(() => {}, 1000);
