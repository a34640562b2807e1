/** The list of mutants fits the sources; `npm run mutants` runs them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { kernelMutants, mutants } from './list.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

const kernelFiles = () => readdirSync(`${root}native`).map((f) => f.replace('.ts', ''));

describe('mutants', () => {
  it.each(mutants.map((m) => [`${m.family}: ${m.from}`, m] as const))('%s', (_, m) => {
    expect(readFileSync(root + m.file, 'utf8').split(m.from).length - 1).toBe(1);
    expect(m.to).not.toBe(m.from);
    expect(existsSync(root + m.test)).toBe(true);
  });

  it('flip a constant, a bound and an index in every kernel family', () => {
    const kinds = new Map<string, Set<string>>();
    for (const m of kernelMutants) kinds.set(m.family, (kinds.get(m.family) ?? new Set()).add(m.kind));
    for (const [family, found] of kinds)
      expect([family, [...found].sort()]).toEqual([family, ['bound', 'constant', 'index']]);
  });

  it('reach every file of kernels', () => {
    const files = new Set(mutants.map((m) => m.file));
    // The encoder, contracts, probes and sizes: kernels of every family stand on them.
    const plain = ['wasm', 'values', 'lower', 'roofline', 'depthwiseGeometry'];
    for (const name of kernelFiles()) if (!plain.includes(name)) expect(files).toContain(`native/${name}.ts`);
  });
});
