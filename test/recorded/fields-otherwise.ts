/** Fields of answers that Skein leaves out, has besides, or types differently, each with its reason. */
const OTHERWISE: readonly (readonly [request: RegExp, field: RegExp, why: string])[] = [
  [
    /^GET \/(info|containers)/,
    /(^|\.)KernelMemory(TCP)? /,
    'removed from the API in 1.42; no kernel has it any more',
  ],
  [/^GET \/info/, /^(NFd|NGoroutines) /, "counts inside Docker's daemon; there are no goroutines here"],
  [/^GET \/info/, /^SecurityOptions\[\] /, 'no AppArmor or seccomp profile of the daemon to name'],
  [/^GET \/(info|swarm)/, /DefaultAddrPool(\[\])? /, 'the pools in use are told, the default ones too'],
  [
    /^GET \/(containers|images)/,
    /^GraphDriver\.Data/,
    'the folders of a snapshot are containerd’s, as in newer Docker',
  ],
  [/^GET \/containers/, /SizeRw /, 'Docker leaves a size of 0 out; folders have a size here'],
  [/^GET \/(images|system)/, /RepoDigests/, 'an empty list, as newer Docker has it'],
  [
    /^GET \/images/,
    /^(Container(Config)?|Config)\b/,
    'of the container that it was made from; newer Docker leaves them out',
  ],
  [/^GET \/system/, /^Build/, 'nothing is built here'],
  [/^GET \/version/, /^Components\[\]\.Details\.(BuildTime|GoVersion) /, 'neither built nor written in Go'],
  [/^GET \/networks/, /EnableIPv4 /, 'younger than the recorded API: 1.47 has it always'],
  [/^GET \/networks/, /^Labels /, 'Docker: null before the network is used on a node, then an empty map'],
  [
    /^GET \/(services|tasks)/,
    /JobIteration(\.Index)? /,
    "Docker leaves out a first job's index, which is 0 there",
  ],
  [/^GET \/(services|tasks)/, /\.Privileges\./, 'as the client sent it; the recorded API knew other members'],
];

export const meantOtherwise = (request: string, field: string): boolean =>
  OTHERWISE.some(([of, pattern]) => of.test(request) && pattern.test(field));
