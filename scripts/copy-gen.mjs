// tsc does not copy the generated JavaScript of the protocol buffers; this does.
import { cpSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './node.mjs';

for (const file of globSync('**/gen/**/*.js', { cwd: join(root, 'src') }))
  cpSync(join(root, 'src', file), join(root, 'dist', file));
