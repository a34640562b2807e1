/**
 * `facegrad plot --weights`: histograms of the angles between pictures' embeddings and the centres of people, the own and
 * the nearest other: what training has parted, and how far.
 */
import { basename } from 'node:path';
import { DataError, UsageError } from '../core/errors.ts';
import type { Device } from '../device/device.ts';
import { type CentreAngles, centreAngles } from '../evaluate/angles.ts';
import { type Embedder, embedderOf } from '../evaluate/embedder.ts';
import { histogramPlot } from '../evaluate/plot.ts';
import { networkOf } from '../models/index.ts';
import { initialize } from '../nn/module.ts';
import { loadEmbedder } from '../node.ts';
import { type DeviceChoice, openDevice } from './device.ts';
import { embedPictures, picturesOf } from './faces.ts';
import type { Figure } from './figure.ts';

export interface AngleFlags extends DeviceChoice {
  readonly weights: readonly string[];
  readonly images?: string;
  readonly start?: boolean;
}

/** The network of a run as its training began. */
function atStart({ metadata }: Embedder, file: string, device: Device): Embedder {
  if (metadata.seed === undefined)
    throw new UsageError(
      `--start: expected weights of a training run, but ${file} holds no seed\nLeave --start out, or give a checkpoint that 'facegrad train' wrote.`,
    );
  const network = networkOf(metadata, file);
  initialize(network, Number(metadata.seed));
  return embedderOf(network, device, { metadata, owns: { network: true } });
}

const mean = (x: Float64Array): number => {
  const known = x.filter((v) => Number.isFinite(v));
  return known.reduce((s, v) => s + v, 0) / known.length;
};
const numbers = (x: Float64Array): (number | null)[] => Array.from(x, (v) => (Number.isFinite(v) ? v : null));

/** Angles of every weights file's embeddings of the pictures, and one histogram of each. */
export async function angleFigure({ weights, images, start, ...choice }: AngleFlags): Promise<Figure> {
  if (images === undefined)
    throw new UsageError('plot: expected --images with --weights, got none\nGive a folder per person, or a data set.');
  const pictures = (await picturesOf([images])).filter((p) => p.label >= 0);
  const counts = new Map<number, number>();
  for (const { label } of pictures) counts.set(label, (counts.get(label) ?? 0) + 1);
  if (counts.size < 2 || Math.max(...counts.values()) < 2)
    throw new DataError(
      `${images}: expected two people or more, one of them with two pictures, got ${counts.size} and at most ${Math.max(0, ...counts.values())}\nGive a folder per person, or a data set with labels.`,
    );
  const found: (CentreAngles & { readonly name: string })[] = [];
  const measure = async (name: string, embedder: Embedder) => {
    try {
      const { embeddings, dim } = await embedPictures(
        embedder,
        pictures.map((p) => p.source),
        'none',
      );
      const angles = centreAngles(
        embeddings,
        dim,
        pictures.map((p) => p.label),
      );
      found.push({ name, ...angles });
    } finally {
      await embedder.dispose();
    }
  };
  const device = await openDevice(choice);
  try {
    for (const file of weights) {
      const name = weights.filter((w) => basename(w) === basename(file)).length > 1 ? file : basename(file);
      const embedder = await loadEmbedder(file, { device });
      if (start) await measure(`${name}, at the start`, atStart(embedder, file, device));
      await measure(name, embedder);
    }
  } finally {
    await device.dispose();
  }
  // The axis ends at a multiple of 30 degrees, 90 or more.
  let largest = 90;
  for (const { own, other } of found) for (const x of [own, other]) for (const v of x) if (v > largest) largest = v;
  const most = Math.ceil(largest / 30);
  return {
    title: 'Angles to centres of people',
    plots: [
      histogramPlot(
        found.flatMap(({ name, own, other }) => {
          const prefix = found.length > 1 ? `${name}: ` : '';
          return [
            { name: `${prefix}own centre`, values: own },
            { name: `${prefix}nearest other centre`, values: other },
          ];
        }),
        {
          title: 'Angles to centres of people',
          xLabel: 'degrees',
          yLabel: 'share of the pictures',
          xRange: [0, 30 * most],
          xTicks: Array.from({ length: most + 1 }, (_, i) => 30 * i),
        },
        20 * most,
      ),
    ],
    facts: Object.fromEntries(
      found.map(({ name, own, other }) => [
        name,
        `${mean(own).toFixed(1)} degrees to the own centre, ${mean(other).toFixed(1)} to the nearest other (means)`,
      ]),
    ),
    table: [
      ['picture', ...found.flatMap(({ name }) => [`${name} own`, `${name} other`])],
      ...pictures.map((p, i) => [p.name, ...found.flatMap(({ own, other }) => [own[i]!, other[i]!])]),
    ],
    data: {
      pictures: pictures.map((p) => p.name),
      people: counts.size,
      weights: found.map(({ name, own, other }) => ({
        name,
        means: { own: mean(own), other: mean(other) },
        own: numbers(own),
        other: numbers(other),
      })),
    },
  };
}
