/** `facegrad augment`: what the augmentation of a training run does to pictures, as one picture to look at. */
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { syntheticSet } from '../../datasets/synthetic.ts';
import { DataError, UsageError } from '../core/errors.ts';
import { fold, type Key, keyOf, permutation } from '../core/random.ts';
import type { ImageSource } from '../data/dataset.ts';
import { fileError } from '../data/files.ts';
import { openDataset } from '../data/open.ts';
import { closeContainers, readPicture } from '../data/readImage.ts';
import {
  type AugmentSpec,
  augment,
  augmentPresets,
  formatAugment,
  operationNames,
  operations,
  parseAugment,
} from '../image/augment.ts';
import { encodePng } from '../image/encode.ts';
import type { RgbImage } from '../image/jpeg.ts';
import { resize } from '../image/resize.ts';
import { contactSheet } from '../image/sheet.ts';
import { picturesOf } from './faces.ts';
import { whole } from './options.ts';
import { print, printJson } from './output.ts';

interface AugmentFlags {
  readonly preview: string;
  readonly augment: string;
  readonly data?: string;
  readonly size: number;
  readonly count: number;
  readonly seed: number;
  readonly json?: boolean;
}

/** Tiles per row: a picture as it is, and up to six changes of it. */
const columns = 7;
/** Faces that are shown; each row of operations takes the next. */
const mostFaces = 4;

/** Where the faces come from, and what to call that. */
async function facesOf(
  pictures: readonly string[],
  flags: AugmentFlags,
  side: number,
  key: Key,
): Promise<ImageSource[]> {
  if (pictures.length && flags.data !== undefined)
    throw new UsageError('augment: expected pictures or --data, got both\nLeave one of them out.');
  if (pictures.length) return (await picturesOf(pictures)).slice(0, mostFaces).map(({ source }) => source);
  const set =
    flags.data === undefined
      ? syntheticSet({ identities: 100, imagesPerIdentity: 1, size: side })
      : await openDataset(flags.data);
  if (set.length === 0) throw new DataError(`${set.name}: expected pictures, found none\nCheck the path.`);
  return Array.from(permutation(fold(key, 'faces'), set.length).subarray(0, mostFaces), (i) => set.source(i));
}

/** A number in a caption, as short as it can be. */
const short = (x: number): string => String(Math.round(x * 100) / 100);

/** The sheet: a row for each operation with amounts of it, then what the spec makes of each face. */
function previewOf(faces: readonly RgbImage[], spec: AugmentSpec, count: number, key: Key): RgbImage {
  const tiles: RgbImage[] = [];
  const captions: string[] = [];
  const side = faces[0]!.width;
  const blank: RgbImage = { width: side, height: side, data: new Uint8Array(3 * side * side).fill(255) };
  const add = (image: RgbImage, caption: string) => {
    tiles.push(image);
    captions.push(caption);
  };
  const endRow = () => {
    while (tiles.length % columns) add(blank, '');
  };
  operationNames.forEach((name, row) => {
    const face = faces[row % faces.length]!;
    add(face, 'as it is');
    operations[name].shown.forEach((amount, i) => {
      const label = operations[name].probability === undefined ? name : `${name} ${short(amount)}`;
      add(operations[name].apply(face, amount, fold(fold(key, name), i)), label);
    });
    endRow();
  });
  faces.forEach((face, f) => {
    add(face, 'as it is');
    for (let i = 0; i < count; i++) add(augment(face, spec, fold(fold(key, f), i)), `draw ${i + 1}`);
    endRow();
  });
  return contactSheet(tiles, { columns, tile: side, captions });
}

async function preview(pictures: readonly string[], flags: AugmentFlags): Promise<void> {
  const spec = parseAugment(flags.augment);
  const { count, size: side } = flags;
  const key = fold(keyOf(flags.seed), 'preview');
  const sources = await facesOf(pictures, flags, side, key);
  const faces: RgbImage[] = [];
  try {
    for (const source of sources) faces.push(resize(await readPicture(source), side, side, 'area'));
  } finally {
    await closeContainers();
  }
  const sheet = previewOf(faces, spec, count, key);
  await writeFile(flags.preview, encodePng(sheet)).catch((error) => {
    throw fileError(flags.preview, 'a place to write a PNG file', error);
  });
  const text = formatAugment(spec);
  if (flags.json)
    printJson({
      preview: flags.preview,
      width: sheet.width,
      height: sheet.height,
      augment: text,
      faces: faces.length,
      draws: count * faces.length,
      operations: operationNames.map((name) => {
        const { means, range, probability = null } = operations[name];
        return { name, means, range, probability };
      }),
    });
  else
    print(
      `${flags.preview}: ${sheet.width}x${sheet.height}, each operation by itself, then ${count} draw${count > 1 ? 's' : ''} of '${text}' for each of ${faces.length} face${faces.length > 1 ? 's' : ''}`,
    );
}

const help = (): string =>
  [
    '',
    'A spec is none, a preset, or operations and their strengths x, such as crop=8,rotate=10,blur=1.5@0.2 (after @ the',
    'probability); strong,jpeg=50 changes a preset. Operations, in the order in which they are applied, each with what x',
    'may be and how often it happens:',
    ...operationNames.map((name) => {
      const { means, range, probability } = operations[name];
      const often = probability === undefined ? 'x' : probability;
      return `  ${name.padEnd(12)}${`${range[0]} to ${range[1]}`.padEnd(11)}${`p ${often}`.padEnd(7)}${means}`;
    }),
    '',
    'Presets, for faces of about 112 pixels:',
    ...Object.entries(augmentPresets).map(([name, spec]) => `  ${name.padEnd(12)}${formatAugment(spec)}`),
    '',
    'Training takes the same spec: facegrad train --augment light. Mirroring is its --flip.',
  ].join('\n');

export function register(program: Command): void {
  program
    .command('augment')
    .description('show what random changes of the pictures a training run would see')
    .argument('[pictures...]', 'pictures, folders of them or data sets (default: synthetic faces)')
    .requiredOption('--preview <file>', 'the PNG file to write')
    .option('--augment <spec>', 'what to draw from: none, a preset, or operations', 'strong')
    .option('--data <path>', 'a data set of any format to take faces from')
    .option('--size <pixels>', 'side that faces are scaled to, in pixels', whole('size', 16, 512), 112)
    .option('--count <n>', 'draws for each face', whole('count', 1, 1000), 13)
    .option('--seed <n>', 'of the draws, and of the faces that are taken', whole('seed', 0), 1)
    .option('--json', 'what was written, and the operations, as JSON')
    .addHelpText('after', help())
    .action(preview);
}
