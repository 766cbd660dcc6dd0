// Bundles the parts of the page that run without one: `node bundle.mjs PAGE_BUILD OUT`.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [page, outfile] = process.argv.slice(2);
const { buildSync } = createRequire(join(page, 'package.json'))('esbuild');
const contents = `
  export { Connection } from './src/connection';
  export { parseDiff } from './src/diff';
  export { visible } from './src/format';
  export { Conversation, dropBytes, kGap, utf8Length } from './src/wire';`;
buildSync({ absWorkingDir: page, stdin: { contents, resolveDir: page, loader: 'ts' }, outfile,
            bundle: true, format: 'esm', platform: 'node', jsx: 'automatic',
            jsxImportSource: 'preact' });
