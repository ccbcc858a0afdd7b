import { networkContract } from '../../src/net/network.contract.ts';
import { ADDRESS, TwoNodes } from './two-nodes.ts';

networkContract('kernel', async () => {
  const lab = new TwoNodes();
  return { network: await lab.open('a'), address: ADDRESS.a, close: () => lab.close() };
});
