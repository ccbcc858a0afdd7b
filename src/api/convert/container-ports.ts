/** What a container exposes, and where it is published, in the two shapes that Docker has for it. Pure. */
import type { HostPort } from '../../model/spec.ts';

const ANY_ADDRESS = '0.0.0.0';

/** `80/tcp` and the like, by number; a port without a protocol is TCP. */
export const exposedPorts = (exposed: Iterable<string>, ports: readonly HostPort[]): readonly string[] =>
  [
    ...new Set([
      ...[...exposed].map((port) => (port.includes('/') ? port : `${port}/tcp`)),
      ...ports.map(({ TargetPort, Protocol }) => `${TargetPort}/${Protocol}`),
    ]),
  ].sort((x, y) => parseInt(x) - parseInt(y));

const publishedAt = (exposed: string, ports: readonly HostPort[]): readonly HostPort[] =>
  ports.filter(({ TargetPort, Protocol }) => `${TargetPort}/${Protocol}` === exposed);

/** Of a line of `docker ps`. */
export const portList = (exposed: readonly string[], ports: readonly HostPort[]): object[] =>
  exposedPorts(exposed, ports).flatMap((port): object[] => {
    const [number, Type] = port.split('/');
    const line = { PrivatePort: Number(number), Type };
    const published = publishedAt(port, ports);
    return published.length === 0
      ? [line]
      : published.map(({ HostIp, PublishedPort }) => ({
          IP: HostIp ?? ANY_ADDRESS,
          PublicPort: PublishedPort,
          ...line,
        }));
  });

/** Of a container inspected. */
export const portMap = (
  exposed: readonly string[],
  ports: readonly HostPort[],
): Record<string, object | null> =>
  Object.fromEntries(
    exposedPorts(exposed, ports).map((port) => {
      const published = publishedAt(port, ports);
      const bound = published.map(({ HostIp, PublishedPort }) => ({
        HostIp: HostIp ?? ANY_ADDRESS,
        HostPort: String(PublishedPort ?? ''),
      }));
      return [port, bound.length > 0 ? bound : null];
    }),
  );
