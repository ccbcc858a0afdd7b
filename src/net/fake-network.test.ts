import { FakeNetwork } from './fake-network.ts';
import { networkContract } from './network.contract.ts';

networkContract('fake', async () => ({
  network: new FakeNetwork(),
  address: '192.0.2.1',
  close: async () => {},
}));
