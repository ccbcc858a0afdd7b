/** A container of a user's own (`docker run`): no service's task, made on one node by hand, started and ended by hand. */
import type { Ipv4 } from './ids.ts';
import type { ContainerLimits, ContainerSpec, HostPort, Labels, LogDriverSpec } from './spec.ts';

/** Where it stands: on overlay networks as a task does, on the node's gateway bridge, or nowhere. */
export interface StandaloneNetwork {
  readonly mode: 'overlay' | 'bridge' | 'none';
  /** Overlay networks: those it was made with, and those it was connected to since. None in mode `none`. */
  readonly networks: readonly WantedStand[];
}

export interface WantedStand {
  /** Name or id of the network, as the user had it. */
  readonly target: string;
  readonly aliases: readonly string[];
  /** Undefined: the cluster chooses. */
  readonly address?: Ipv4 | undefined;
}

/** Of a container that has ended by itself. */
export interface RestartPolicy {
  readonly name: 'no' | 'on-failure' | 'always' | 'unless-stopped';
  /** Of `on-failure`; 0: as often as it takes. */
  readonly maxRetries: number;
}

export interface StandaloneSpec {
  /** Empty: one is made up. */
  readonly name: string;
  readonly container: ContainerSpec;
  readonly limits: ContainerLimits | undefined;
  readonly logging?: LogDriverSpec;
  readonly hostname: string;
  readonly labels: Labels;
  readonly network: StandaloneNetwork;
  /** Bound on this node; all in host mode. */
  readonly ports: readonly HostPort[];
  /** Goes away when it ends. */
  readonly autoRemove: boolean;
  /** Absent: it is not started again. */
  readonly restart?: RestartPolicy;
  /** The first client that attaches its input and ends it ends the container's. */
  readonly stdinOnce: boolean;
  /** Absent: made by an older Skein. */
  readonly asked?: AskedContainer;
}

/** What changes nothing here, and is shown again to who inspects the container. */
export interface AskedContainer {
  /** As the client sent it. */
  readonly hostConfig: Readonly<Record<string, unknown>>;
  /** Ports beside those that the image exposes, as `80/tcp`. */
  readonly exposed: readonly string[];
  /** Standard input, output and error. */
  readonly attached: readonly boolean[];
}
