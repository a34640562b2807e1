/**
 * Makes dist/src/web/engine.js, the script that single-file exports hold: runtime.ts and what it needs, as one global
 * `facegrad`. Part of `npm run build`, after the TypeScript is compiled.
 */
import { chmod } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const path = (name) => fileURLToPath(new URL(`../../dist/src/web/${name}`, import.meta.url));
await build({
  entryPoints: [path('runtime.js')],
  outfile: path('engine.js'),
  bundle: true,
  minify: true,
  format: 'iife',
  globalName: 'facegrad',
  platform: 'browser',
  target: 'es2022',
  legalComments: 'inline',
  logLevel: 'warning',
});
// The compiler writes files anew, without the mode that npm gives a command when it installs.
await chmod(path('../cli/main.js'), 0o755);
