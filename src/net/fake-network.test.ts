import { addressOf } from '../kit/cidr.ts';
import { FakeNetwork } from './fake-network.ts';
import { networkContract } from './network.contract.ts';

networkContract('fake', async () => {
  const network = new FakeNetwork();
  return {
    network,
    address: '192.0.2.1',
    links: async (id) =>
      [...network.state!.addresses.values()]
        .filter(({ place }) => place === id)
        .map(({ link, address }) => `${link} ${addressOf(address)}`)
        .sort(),
    close: async () => {},
  };
});
