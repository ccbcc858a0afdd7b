/** A Python that has docker-py: the first in the path, else Debian's, which python3-docker belongs to. */
import { spawnSync } from 'node:child_process';

const found = ['python3', '/usr/bin/python3'].find(
  (python) => spawnSync(python, ['-c', 'import docker; docker.DockerClient']).status === 0,
);

/** Only for tests that are not skipped. */
export const pythonWithDocker = found ?? 'python3';
/** False where there is one; else why a test that needs it is skipped. */
export const skipWithoutDockerPy = found ? false : 'python3 with the docker package is not on this machine';
if (skipWithoutDockerPy) console.error(`SKIPPED: ${skipWithoutDockerPy}`);
