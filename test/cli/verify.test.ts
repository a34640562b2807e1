/** `facegrad verify` as a process: the cosine, the decision, and which threshold it stands on. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { combineFlip } from '../../src/evaluate/verification.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { picture, writePeople } from '../helpers/pictures.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-verify-'));
afterAll(() => rmSync(folder, { recursive: true }));
const evaluation = {
  data: 'pairs.txt',
  pairs: 60,
  protocol: 'insightface',
  flip: 'sum',
  accuracy: 0.9,
  metric: 'squaredL2',
  threshold: 0.5,
};
const plain = join(folder, 'plain.safetensors');
const evaluated = join(folder, 'evaluated.safetensors');
const centred = join(folder, 'centred.safetensors');
writeFileSync(plain, await weightsOf(tinyNetwork()));
writeFileSync(evaluated, await weightsOf(tinyNetwork(), { verification: JSON.stringify(evaluation) }));
writeFileSync(
  centred,
  await weightsOf(tinyNetwork(), {
    verification: JSON.stringify({ ...evaluation, protocol: 'cosine', metric: 'cosine' }),
  }),
);
const [[a, b], [c]] = writePeople(join(folder, 'faces'), 2, 2) as [[string, string], [string]];

/** The cosine by the library. */
async function cosine(flip: 'none' | 'sum', one: [number, number], two: [number, number]): Promise<number> {
  const device = await WasmDevice.create({ threads: 1 });
  const e = await loadEmbedder(await weightsOf(tinyNetwork()), { device });
  const images = [picture(...one), picture(...two)];
  const x = combineFlip(await e.embed(images), await e.embed(images, { mirrored: true }), 16, flip).embeddings;
  await e.dispose();
  await device.dispose();
  const dot = (i: number, j: number) => {
    let s = 0;
    for (let k = 0; k < 16; k++) s += x[16 * i + k]! * x[16 * j + k]!;
    return s;
  };
  return dot(0, 1) / Math.sqrt(dot(0, 0) * dot(1, 1));
}

it('takes the threshold and the flip rule of the weights', async () => {
  const { code, stdout } = await facegrad(['verify', a, c, '--weights', evaluated, '--json']);
  expect(code).toBe(0);
  const got = JSON.parse(stdout);
  expect(got).toMatchObject({ a, b: c, threshold: 0.75, flip: 'sum' });
  expect(got.thresholdFrom).toMatch(/^stored in the weights: chosen on pairs\.txt \(60 pairs, insightface, flip sum\)/);
  expect(got.similarity).toBeCloseTo(await cosine('sum', [0, 0], [1, 0]), 5);
  expect(got.same).toBe(got.similarity >= 0.75);
});

it('falls back to a stated default, and yields to the command line', async () => {
  for (const weights of [plain, centred]) {
    const got = JSON.parse((await facegrad(['verify', a, b, '--weights', weights, '--flip', 'none', '--json'])).stdout);
    expect(got).toMatchObject({ threshold: 0.3, flip: 'none', thresholdFrom: expect.stringMatching(/^the default: /) });
    expect(got.similarity).toBeCloseTo(await cosine('none', [0, 0], [0, 1]), 5);
  }
  const at = async (threshold: string) =>
    (await facegrad(['verify', a, a, '--weights', evaluated, '--threshold', threshold])).stdout;
  expect(await at('0.99')).toMatch(
    /^same person: similarity 1\.0000, threshold 0\.9900\nthreshold: given on the command line/,
  );
  const far = (await facegrad(['verify', a, c, '--weights', plain, '--threshold', '1'])).stdout;
  expect(far).toMatch(/^different people: /);
});

it('bad input', async () => {
  for (const [args, code, message] of [
    [[a, '--weights', plain], 2, /missing required argument 'b'/],
    [[a, b, '--weights', plain, '--threshold', 'low'], 2, /a cosine from -1 to 1, got 'low'/],
    [[a, join(folder, 'nobody.jpg'), '--weights', plain], 1, /nobody\.jpg: expected a readable picture, got ENOENT/],
    [[a, b, '--weights', join(folder, 'none.safetensors')], 1, /reading weights .*none\.safetensors: ENOENT/],
  ] as [string[], number, RegExp][]) {
    const ended = await facegrad(['verify', ...args]);
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code, args.join(' ')).toBe(code);
    expect(ended.stdout).toBe('');
  }
});
