/** Fine-tuning a graph: a run takes the network of its weights, and its checkpoints alone describe it from then on. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import { traced } from '../../src/models/graph/traced.ts';
import { describeNetwork, networkOf } from '../../src/models/index.ts';
import { stateOf, variablesOf } from '../../src/nn/module.ts';
import { readCheckpoint, writeCheckpoint } from '../../src/train/checkpointFile.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { device, faces, folder, notesIn, run, small, tensorsAt } from '../helpers/smallRuns.ts';
import { noiseImages, tinyNetwork } from '../helpers/tinyNetwork.ts';

const { model: _, ...rest } = small;

/** A graph in a weights file, BGR so that it shows where its preprocessing is lost. */
async function imported(name: string) {
  const network = graphNetwork(await traced(tinyNetwork()));
  network.preprocessing = { ...network.preprocessing, colourOrder: 'BGR', mean: [104, 117, 123], scale: 1 / 64 };
  const path = join(folder, name);
  await writeCheckpoint(path, { tensors: await stateOf(variablesOf(network)), metadata: describeNetwork(network) });
  return { path, network };
}

test('a graph is fine-tuned, resumed without its first file to the same bits, and embeds', async () => {
  const { path } = await imported('graph.safetensors');
  const recipe = () =>
    resolveRecipe('finetune', {
      ...rest,
      data: faces('people', ['ann', 'bob', 'eve'], 4),
      from: path,
      batch: 6,
      epochs: 3,
      lr: 0.05,
      ema: { decay: 0.9 },
      saveEverySteps: 1,
    });
  const whole = await run(recipe(), 'whole');
  expect(notesIn(whole.events).join()).toContain(`tensors of the network from ${path}`);
  const first = await tensorsAt(whole.out, 1);
  const last = await tensorsAt(whole.out, 'last');
  const name = 'layers.stem.conv.weight';
  const start = (await readCheckpoint(path)).tensors;
  // Frozen for an epoch, then trained.
  expect(first.get(name)).toEqual(start.get(name));
  expect(last.get(name)).not.toEqual(start.get(name));
  await run(recipe(), 'cut', { stopAt: 3 });
  rmSync(path);
  const resumed = await run(recipe(), 'cut', { resume: true });
  expect(await tensorsAt(resumed.out, 'last')).toEqual(last);
  const { metadata } = await readCheckpoint(join(whole.out, 'last.safetensors'));
  expect(networkOf(metadata, 'last').preprocessing).toMatchObject({ colourOrder: 'BGR', mean: [104, 117, 123] });
  const { readFile } = await import('node:fs/promises');
  const embedder = await loadEmbedder(await readFile(join(whole.out, 'last.safetensors')), { device });
  expect((await embedder.embed(noiseImages(3))).every(Number.isFinite)).toBe(true);
  await embedder.dispose();
});

test('a run that leaves its network to weights needs them', async () => {
  expect(() => resolveRecipe('mobilefacenet-arcface', { ...rest, model: 'from' })).toThrow(UsageError);
  expect(() => resolveRecipe('finetune', { ...rest, 'model.width': 0.5 } as never)).toThrow(/expected no options/);
  const path = join(folder, 'other.safetensors');
  writeFileSync(path, 'no weights');
  const recipe = resolveRecipe('finetune', { ...rest, from: path, data: faces('few', ['ann', 'bob'], 4) });
  await expect(run(recipe, 'none')).rejects.toThrow(path);
});
