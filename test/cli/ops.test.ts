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

it("lists ONNX's operators that are read", async () => {
  const { stdout } = await facegrad(['ops', '--onnx']);
  expect(stdout).toContain('| Upsample | 7–9 |');
  const json = await facegrad(['ops', '--onnx', '--json']);
  const rows = JSON.parse(json.stdout) as { operator: string; from: number; to: number }[];
  expect(stdout.trim().split('\n')).toHaveLength(rows.length + 2);
  expect(rows.find((r) => r.operator === 'Conv')).toEqual({
    operator: 'Conv',
    from: 7,
    to: 22,
    limits: 'images only; weights must be constant',
  });
});
