/** `facegrad ops`, and that the README shows what it prints. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { registry } from '../../src/ops/define.ts';
import '../../src/ops/index.ts';
import { facegrad } from '../helpers/killedRuns.ts';

const cells = (line: string) => line.split('|').map((c) => c.trim().replace(/^-+$/, '---'));

it('lists every op, all on every device, as the README shows it', async () => {
  const { code, stdout } = await facegrad(['ops']);
  expect(code).toBe(0);
  const lines = stdout.trim().split('\n').map(cells);
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
    .split('\n')
    .map(cells);
  const start = readme.findIndex((l) => l[1] === 'op' && l[2] === 'reference');
  expect(readme.slice(start, start + lines.length)).toEqual(lines);
});

it('gives JSON', async () => {
  const { stdout } = await facegrad(['ops', '--json']);
  const rows = JSON.parse(stdout) as { op: string; reference: boolean; wasm: boolean; webgpu: boolean }[];
  expect(rows).toHaveLength(registry.size);
  expect(rows.every((r) => r.reference && r.wasm && r.webgpu)).toBe(true);
});
