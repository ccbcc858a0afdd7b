import { networkContract } from '../../src/net/network.contract.ts';
import { ADDRESS, TwoNodes } from './two-nodes.ts';

networkContract('kernel', async () => {
  const lab = new TwoNodes();
  const network = await lab.open('a');
  const links = async (id: string) => {
    const sandbox = (await network.attached()).find(({ spec }) => spec.id === id)!;
    return lab.addresses(sandbox.netnsPath);
  };
  return { network, address: ADDRESS.a, links, close: () => lab.close() };
});
