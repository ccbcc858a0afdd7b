/**
 * What keeps the host's own network programs off Skein's links. A node's end of the ingress network has the MAC of its
 * uplink, and hosts are often set up by MAC (netplan, cloud-init): systemd-networkd would take the end for the uplink,
 * remove Skein's address and give it the uplink's own; udev would give it the uplink's name. The first file that matches
 * a link counts, in the order of their names.
 */
const LINKS = 'sk-*';

export const HOST_NETWORK_FILES: readonly { readonly path: string; readonly content: string }[] = [
  {
    path: '/lib/systemd/network/05-skein.network',
    content: `# Links of Skein, which nobody else configures.
[Match]
Name=${LINKS}

[Link]
Unmanaged=yes
`,
  },
  {
    path: '/lib/systemd/network/05-skein.link',
    content: `# Links of Skein have their names and MACs from Skein.
[Match]
OriginalName=${LINKS}

[Link]
NamePolicy=keep
MACAddressPolicy=none
`,
  },
];
