/** What `skein doctor` makes of what it found on a node. Pure: facts come in, findings with advice go out. */
import type { NetworkStatus } from './network-status.ts';

export interface Finding {
  readonly name: string;
  readonly level: 'ok' | 'warn' | 'fail';
  readonly found: string;
  /** What a person should do; absent where nothing needs to be done. */
  readonly advice?: string;
}

export interface DoctorFacts {
  readonly running: boolean;
  readonly status: NetworkStatus;
  /** What a new VXLAN device, bridge and nftables table said, by name; undefined: it works. */
  readonly kernel: Readonly<Record<string, string | undefined>>;
  readonly forwarding: boolean | undefined;
  /** `undefined`: the module is not loaded. */
  readonly bridgeNetfilter: boolean | undefined;
  readonly links: readonly { readonly name: string; readonly mtu: number }[];
  /** Chains of others on the forward and input hooks, as they stand now. */
  readonly chains: readonly { readonly text: string; readonly drops: boolean; readonly ours: boolean }[];
  /** iptables-legacy has a table, and is not installed to show it. */
  readonly unseenFirewall: boolean;
  /** From when to when it is valid; undefined: this node is in no cluster. */
  readonly certificate: { readonly from: number; readonly to: number } | undefined;
  /** Share of the disk under the data root that is in use; undefined: there is no such folder. */
  readonly disk: number | undefined;
  /** The kernel's clock is kept in step with others'. */
  readonly clockSynchronized: boolean | undefined;
  readonly now: number;
}

/** Below this a packet of 1280 bytes, which IPv6 and many tunnels count on, does not fit the overlay. */
const LEAST_MTU = 1_330;
/** Share of its life after which a certificate should have been renewed, if a manager was reached. */
const RENEWED_BY = 0.85;
/** From here on unused images are given up (agent/image-collector.ts). */
const DISK_FILLS = 0.85;

export function diagnose(facts: DoctorFacts): readonly Finding[] {
  return [daemon(facts), ...kernel(facts), forwarding(facts), bridge(facts), mtu(facts)].concat([
    firewall(facts),
    ports(facts),
    peers(facts),
    audits(facts),
    certificate(facts),
    disk(facts),
    clock(facts),
  ]);
}

const daemon = ({ running }: DoctorFacts): Finding =>
  running
    ? { name: 'skeind', level: 'ok', found: 'runs' }
    : {
        name: 'skeind',
        level: 'fail',
        found: 'does not run; containers and rules stay as they are, and follow no change',
        advice: 'systemctl start skein, and read its log: journalctl -u skein',
      };

const kernel = ({ kernel: tried }: DoctorFacts): Finding[] =>
  Object.entries(tried).map(([name, refusal]) =>
    refusal === undefined
      ? { name: `kernel: ${name}`, level: 'ok', found: 'works' }
      : {
          name: `kernel: ${name}`,
          level: 'fail',
          found: refusal,
          advice: `load the kernel's module for ${name}`,
        },
  );

const forwarding = ({ forwarding: on }: DoctorFacts): Finding =>
  on
    ? { name: 'forwarding', level: 'ok', found: 'net.ipv4.ip_forward is 1' }
    : {
        name: 'forwarding',
        level: 'warn',
        found: 'net.ipv4.ip_forward is 0',
        advice:
          'a node of a cluster sets it within 10 s; if it goes off again, something else sets it: look in /etc/sysctl.d',
      };

const bridge = ({ bridgeNetfilter }: DoctorFacts): Finding => ({
  name: 'br_netfilter',
  level: 'ok',
  found:
    bridgeNetfilter === undefined
      ? 'not loaded'
      : `loaded, ${bridgeNetfilter ? 'on' : 'off'}; overlays are bridged in a namespace of their own, out of its reach`,
});

function mtu({ links }: DoctorFacts): Finding {
  const found = links.map((link) => `${link.name} ${link.mtu}`).join(', ');
  const small = links.filter((link) => link.mtu < LEAST_MTU);
  if (small.length === 0) return { name: 'mtu', level: 'ok', found };
  const advice = `raise the MTU of ${small.map((l) => l.name).join(', ')}, or expect small packets in the overlays`;
  return { name: 'mtu', level: 'warn', found, advice };
}

function firewall({ chains, status, unseenFirewall }: DoctorFacts): Finding {
  const inserted = status.firewall?.inserted ?? 0;
  const done = inserted > 0 ? `; rules put in front so far: ${inserted}` : '; nothing had to be put in front';
  const found =
    (chains.length > 0 ? chains.map((chain) => chain.text).join('; ') : 'no chains of others') + done;
  const open = chains.filter((chain) => chain.drops && !chain.ours);
  if (open.length === 0 && unseenFirewall)
    return {
      name: 'firewall',
      level: 'warn',
      found: `${found}; a filter table of iptables-legacy can not be seen, as the program is not installed`,
      advice:
        'apt-get install iptables: skeind then looks into it, and puts its accepts in front where needed',
    };
  if (open.length === 0) return { name: 'firewall', level: 'ok', found };
  return {
    name: 'firewall',
    level: 'fail',
    found: `may drop what Skein forwards: ${open.map((chain) => chain.text).join('; ')}`,
    advice:
      'skeind puts its accepts in front within 10 s; if it runs and they do not stay, something removes them',
  };
}

/** What an operator should hear of even where he did not ask: `docker info` says it too. */
export const warningsOf = ({ notHeld = {} }: NetworkStatus): readonly string[] =>
  Object.entries(notHeld).map(
    ([port, why]) =>
      `published port ${port} is not held on this node (${why}): connections go to the service`,
  );

function ports({ status }: DoctorFacts): Finding {
  const found = warningsOf(status);
  if (found.length === 0) return { name: 'ports', level: 'ok', found: 'every published port is held' };
  return {
    name: 'ports',
    level: 'warn',
    found: found.join('; '),
    advice: 'find the program with `ss -lntup` and give it another port, or publish the service on another',
  };
}

function peers({ status, now }: DoctorFacts): Finding {
  const away = status.peers.filter((peer) => peer.awaySince !== undefined);
  if (away.length === 0)
    return { name: 'peers', level: 'ok', found: `${status.peers.length} answer, none is steered away` };
  const since = (at: number) => `${((now - at) / 1000).toFixed(1)} s`;
  return {
    name: 'peers',
    level: 'warn',
    found: away.map((peer) => `${peer.hostname} steered away ${since(peer.awaySince!)} ago`).join(', '),
    advice: `look at the way there: UDP 4789 and ICMP from ${away.map((peer) => peer.target).join(', ')}`,
  };
}

function audits({ status: { audits: seen }, now }: DoctorFacts): Finding {
  const counted = Object.entries(seen.repaired).map(([kind, n]) => `${kind} ${n}`);
  const found = `${seen.count} audits, the last took ${seen.lastMs} ms; ${seen.drifted} found a difference`;
  if (seen.lastDrift === undefined || now - seen.lastDrift > 3_600_000)
    return { name: 'audit', level: 'ok', found };
  return {
    name: 'audit',
    level: 'warn',
    found: `${found}, repaired: ${counted.join(', ')}`,
    advice: "something on this node changes what is Skein's: look for tools that flush nftables or links",
  };
}

function certificate({ certificate: valid, now }: DoctorFacts): Finding {
  const name = 'certificate';
  if (!valid) return { name, level: 'ok', found: 'none, this node is in no cluster' };
  const { from, to } = valid;
  const ends = new Date(to).toISOString();
  if (now >= to) {
    const advice = 'look at the clock; if it is right: docker swarm leave --force, and join again';
    return { name, level: 'fail', found: `ended at ${ends}: managers refuse this node`, advice };
  }
  if (now < from + RENEWED_BY * (to - from)) return { name, level: 'ok', found: `valid until ${ends}` };
  const advice = 'managers renew it when they are reached: look for "cannot renew" in the log';
  return { name, level: 'warn', found: `ends at ${ends} and was not renewed yet`, advice };
}

function disk({ disk: used }: DoctorFacts): Finding {
  if (used === undefined) return { name: 'disk', level: 'ok', found: 'no data root yet' };
  const found = `${Math.round(used * 100)} % in use`;
  if (used < DISK_FILLS) return { name: 'disk', level: 'ok', found };
  const advice = 'docker system df says what of it is images, containers and volumes';
  return { name: 'disk', level: 'warn', found, advice };
}

const clock = ({ clockSynchronized }: DoctorFacts): Finding =>
  clockSynchronized === false
    ? {
        name: 'clock',
        level: 'warn',
        found: 'not synchronized',
        advice: 'certificates and logs need the right time: install chrony or systemd-timesyncd',
      }
    : { name: 'clock', level: 'ok', found: clockSynchronized ? 'synchronized' : 'cannot be told here' };
