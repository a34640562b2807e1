/** The built package in dist/, for tests that use it as its users do. */
import { globSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Throws where dist/ is missing or older than a source: a test on yesterday's build would prove nothing. */
export function needBuild(): void {
  const newest = (pattern: string) =>
    Math.max(0, ...globSync(pattern, { cwd: root }).map((f) => statSync(root + f).mtimeMs));
  const built = newest('dist/src/index.js');
  const sources = newest('{src,native,kernels,datasets}/**/*.{ts,wgsl}');
  if (built < sources) throw new Error('dist/ is older than the sources: run npm run build');
}
