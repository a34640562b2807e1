/** The list of mutants fits the sources; `npm run mutants` runs them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { kernelMutants, mutants } from './list.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

const filesOf = (folder: string) => readdirSync(root + folder).filter((f) => /\.(ts|wgsl)$/.test(f));

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

  it.each([
    // The encoder, contracts, probes and sizes: kernels of every family stand on them.
    ['native', ['wasm.ts', 'values.ts', 'lower.ts', 'roofline.ts', 'depthwiseGeometry.ts']],
    // The contract, and what is written from the .wgsl files.
    ['kernels', ['lower.ts', 'sources.ts']],
  ])('reach every file of %s', (folder, plain) => {
    const files = new Set(mutants.map((m) => m.file));
    for (const name of filesOf(folder)) if (!plain.includes(name)) expect(files).toContain(`${folder}/${name}`);
  });
});
