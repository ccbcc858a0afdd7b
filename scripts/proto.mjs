// Generates the JavaScript and types of the protocol buffers. They are committed: Debian's protobuf-compiler and
// libprotobuf-dev are needed to change a .proto file, not to build. Files of src/X/proto/ go to src/X/gen/, those of
// any other folder to gen/ in it.
import { globSync, mkdirSync, rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { root } from './node.mjs';

const folders = new Map();
for (const file of globSync('src/**/*.proto', { cwd: root }).sort()) {
  const folder = dirname(file);
  folders.set(folder, [...(folders.get(folder) ?? []), basename(file)]);
}

for (const [folder, files] of folders) {
  const out = join(root, basename(folder) === 'proto' ? dirname(folder) : folder, 'gen');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const result = spawnSync(
    'protoc',
    [
      `--plugin=protoc-gen-es=${join(root, 'node_modules/.bin/protoc-gen-es')}`,
      `--es_out=${out}`,
      '--es_opt=target=js+dts,import_extension=js',
      `-I${join(root, folder)}`,
      ...files,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(1);
  console.log(`${folder}: ${files.length} files`);
}
