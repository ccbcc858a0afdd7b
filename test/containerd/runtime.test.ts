import { runtimeContract } from '../../src/containerd/runtime.contract.ts';
import { newContainerId, scratch, stream, testImage } from './scratch.ts';

runtimeContract('containerd', async () => {
  const own = await scratch();
  const runtime = await own.open();
  const image = await testImage();
  await runtime.images.load(stream(await image.archive('app:1')));
  return {
    runtime,
    image: 'app:1',
    netnsPath: own.netns,
    newId: newContainerId,
    async close() {
      await runtime.close();
      await own.close();
    },
  };
});
