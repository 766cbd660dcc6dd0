// Checks and bundles the page: `node build.mjs SOURCE OUT`, where OUT holds node_modules.
// The sources are copied beside the packages, where the compilers look for them.
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const [source, out] = process.argv.slice(2);
const { buildSync } = createRequire(join(out, 'package.json'))('esbuild');

rmSync(join(out, 'src'), { recursive: true, force: true });
for (const name of ['src', 'tsconfig.json', 'ui.css', 'index.html']) {
  cpSync(join(source, name), join(out, name), { recursive: true });
}

const compiler = join(out, 'node_modules/typescript/bin/tsc');
const checked = spawnSync(process.execPath, [compiler, '-p', out], { stdio: 'inherit' });
if (checked.status !== 0) process.exit(1);

const common = { absWorkingDir: out, bundle: true, minify: true, legalComments: 'none' };
buildSync({ ...common, entryPoints: ['src/main.tsx'], outfile: 'ui.min.js', format: 'esm',
            target: 'es2023', jsx: 'automatic', jsxImportSource: 'preact' });
buildSync({ ...common, entryPoints: ['ui.css'], outfile: 'ui.min.css' });

const html = readFileSync(join(out, 'index.html'), 'utf8').replace(/<!--.*?-->\n?/gs, '')
                 .replace(/\n\s+/g, '\n');
const files = { 'index.html': html, 'ui.js': readFileSync(join(out, 'ui.min.js')),
                'ui.css': readFileSync(join(out, 'ui.min.css')) };
for (const [name, text] of Object.entries(files)) {
  writeFileSync(join(out, `${name}.gz`), gzipSync(text, { level: 9 }));
}
