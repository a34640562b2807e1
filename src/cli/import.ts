/**
 * `facegrad import`: another program's model as a weights file of this one, with how its pictures are prepared; found out by
 * trying on labelled pictures where that is not known.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { imageSize, number } from '../core/options.ts';
import { readPicture } from '../data/readImage.ts';
import { detectPreprocessing, type PreprocessingTrial } from '../evaluate/preprocessing.ts';
import { type Flip, flips } from '../evaluate/verification.ts';
import { fitCrop } from '../image/align.ts';
import { architectureOf } from '../models/index.ts';
import { type FaceNetwork, type Preprocessing, perColour, showPreprocessing } from '../models/network.ts';
import { parameterCount } from '../nn/module.ts';
import { writeAtomically } from '../train/checkpointFile.ts';
import { fileSource } from '../train/modelFile.ts';
import { weightFormats } from '../weights/formats.ts';
import { type ImportedModel, importModel, modelBytes, unknownPreparation } from '../weights/import.ts';
import { layouts } from '../weights/layouts/index.ts';
import { errorBar } from './bar.ts';
import { columns } from './columns.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { type Picture, picturesOf } from './faces.ts';
import { described, oneOf } from './options.ts';
import { count, counted, print, printJson, size } from './output.ts';
import { networkOptions } from './words.ts';

interface ImportFlags extends DeviceChoice {
  readonly out?: string;
  readonly format?: string;
  readonly layout?: string;
  readonly architecture?: string;
  readonly set?: readonly string[];
  readonly input?: readonly [number, number];
  readonly colour?: string;
  readonly mean?: Preprocessing['mean'];
  readonly scale?: Preprocessing['scale'];
  readonly std?: Preprocessing['scale'];
  readonly flip?: string;
  readonly threshold?: number;
  readonly lenient?: boolean;
  readonly detectPreprocessing?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

function preprocessingOf({ colour, mean, scale, std }: ImportFlags): Partial<Preprocessing> {
  if (scale !== undefined && std !== undefined)
    throw new UsageError('import: expected --scale or --std, got both\nA deviation of s is a scale of 1/s.');
  const factor = std === undefined ? scale : typeof std === 'number' ? 1 / std : ([...std].map((s) => 1 / s) as never);
  return {
    ...(colour !== undefined && { colourOrder: oneOf('colour', colour.toUpperCase(), ['RGB', 'BGR'] as const) }),
    ...(mean !== undefined && { mean }),
    ...(factor !== undefined && { scale: factor }),
  };
}

/** Pictures are few: enough to tell preparations apart, evenly over the people. */
const mostPictures = 160;

function someOf(pictures: readonly Picture[]): Picture[] {
  const people = new Map<number, Picture[]>();
  for (const p of pictures) people.set(p.label, [...(people.get(p.label) ?? []), p]);
  const several = [...people.values()].filter((list) => list.length > 1);
  const each = Math.max(2, Math.floor(mostPictures / Math.max(1, several.length)));
  return several.slice(0, mostPictures / 2).flatMap((list) => list.slice(0, each));
}

async function detect(network: FaceNetwork, folder: string, flags: ImportFlags): Promise<PreprocessingTrial[]> {
  const all = await picturesOf([folder]);
  const chosen = someOf(all.filter((p) => p.label >= 0));
  if (chosen.length < 4)
    throw new UsageError(
      `--detect-preprocessing ${folder}: expected aligned pictures in a folder per person, at least two people with two each, got ${counted(all.length, 'picture')} of which ${chosen.length} are of people with several\nTen people with five pictures each tell enough.`,
    );
  const images = [];
  for (const { source } of chosen) images.push(fitCrop(await readPicture(source), network.preprocessing.inputSize));
  const device = await openDevice(flags);
  const bar = errorBar();
  try {
    return await detectPreprocessing(
      network,
      images,
      chosen.map((p) => p.label),
      device,
      (done, total) => bar.show('trying preparations', done, total, `${done}/${total}`),
    );
  } finally {
    bar.stop();
    await device.dispose();
  }
}

/** Trials that are nearly as good as the best, so that chance may have decided. */
const nearest = ([best, ...others]: readonly PreprocessingTrial[]) =>
  others.filter((t) => best!.separation - t.separation < 0.02 * best!.separation);

/** Factors that differ by less than a hundredth give the same embeddings but for a cosine of some millionths. */
const alike = (a: PreprocessingTrial, b: PreprocessingTrial): boolean => {
  const numbers = ({ preprocessing: { mean, scale } }: PreprocessingTrial) => [mean, scale].flat() as number[];
  const [x, y] = [numbers(a), numbers(b)];
  return (
    a.preprocessing.colourOrder === b.preprocessing.colourOrder &&
    x.length === y.length &&
    x.every((v, i) => Math.abs(v - y[i]!) <= 0.01 * Math.abs(v))
  );
};

function showTrials(trials: readonly PreprocessingTrial[]): void {
  print('Preparations tried (area under the ROC of all pairs; distance of same and different people in deviations):');
  for (const t of trials.slice(0, 6)) print(`  ${t.auc.toFixed(4)}  ${t.separation.toFixed(3).padStart(6)}  ${t.name}`);
  const near = nearest(trials);
  const same = near.filter((t) => alike(trials[0]!, t));
  const other = near.filter((t) => !same.includes(t));
  for (const t of same) print(`note: '${t.name}' is the same within a hundredth; either serves.`);
  for (const t of other)
    print(
      `warning: '${t.name}' is as good within 2 %: look up what the network was trained with, or give more pictures.`,
    );
}

function describe({ network, format, layout, notes, missing, unexpected, metadata }: ImportedModel): void {
  const { preprocessing, options } = network;
  const [h, w] = preprocessing.inputSize;
  const nodes = 'graph' in options ? (options.graph as { nodes: unknown[] }).nodes.length : undefined;
  print(
    `${format}${layout ? `, ${layout}` : ''}: ${network.architecture}${nodes === undefined ? '' : ` of ${counted(nodes, 'node')}`}, ${count(parameterCount(network))} parameters, ${metadata.detector ? 'a face detector' : `embeddings of ${options.embeddingSize}`}`,
  );
  print(`input: ${w}x${h} pixels, ${showPreprocessing(preprocessing)}`);
  for (const note of notes) print(`note: ${note}`);
  for (const [what, names] of [
    ['missing, left as in a new network', missing],
    ['in the file but not in the network', unexpected],
  ] as const)
    for (const name of names) print(`${what}: ${name}`);
}

async function run(file: string, flags: ImportFlags): Promise<void> {
  const { out, json, architecture, set } = flags;
  if (out !== undefined && !flags.overwrite && existsSync(out))
    throw new UsageError(`--out ${out}: expected a new file, but it is there\nPass --overwrite to replace it.`);
  if (set && architecture === undefined)
    throw new UsageError('--set: expected --architecture with it, got none\nIts options are those of a network.');
  const options =
    set &&
    networkOptions(
      'import',
      architectureOf(architecture!),
      set.flatMap((s) => `--${s}`),
    );
  const model = await importModel(fileSource(file), {
    format: flags.format,
    layout: flags.layout,
    architecture,
    options,
    inputSize: flags.input,
    lenient: flags.lenient,
    preprocessing: preprocessingOf(flags),
  });
  const { network } = model;
  let trials: PreprocessingTrial[] | undefined;
  if (flags.detectPreprocessing !== undefined) {
    trials = await detect(network, flags.detectPreprocessing, flags);
    network.preprocessing = { ...trials[0]!.preprocessing, ...preprocessingOf(flags) };
  }
  const notes = model.notes.flatMap((note) => {
    if (note !== unknownPreparation) return [note];
    const how = '--detect-preprocessing FOLDER tries what is usual, --colour, --mean and --scale say it';
    return trials ? [] : [`${note}: ${how}`];
  });
  const flip: Flip | undefined = flags.flip === undefined ? undefined : oneOf('flip', flags.flip, flips);
  const use = { ...(flip && { flip }), ...(flags.threshold !== undefined && { threshold: flags.threshold }) };
  const metadata = { ...model.metadata, ...(Object.keys(use).length > 0 && { use: JSON.stringify(use) }) };
  const bytes = await modelBytes(network, metadata);
  if (out !== undefined) await writeAtomically(out, bytes);
  if (json) {
    const { missing, unexpected, format, layout } = model;
    const { architecture: name, preprocessing } = network;
    const told = {
      format,
      ...(layout && { layout }),
      architecture: name,
      preprocessing,
      parameters: parameterCount(network),
    };
    const { embeddingSize } = network.options;
    printJson({
      ...told,
      embeddingSize,
      missing,
      unexpected,
      notes,
      ...(trials && { trials }),
      ...use,
      ...(out && { out, bytes: bytes.length }),
    });
    return;
  }
  if (trials) showTrials(trials);
  describe({ ...model, notes });
  print(out === undefined ? 'nothing written: give --out model.safetensors' : `${out}: ${size(bytes.length)}`);
}

export function register(program: Command): void {
  const normal = perColour({}, 0, 'mean');
  const positive = perColour({ above: 0 }, 1, 'scale');
  const command = program
    .command('import')
    .description("read another program's model: a network to info, embed, eval, train and export")
    .argument('<file>', 'its file; what belongs to it lies beside it')
    .option('--out <file>', 'the weights file to write (.safetensors); without it, the model is only described')
    .option('--format <name>', 'its format (default: told from the file)')
    .option('--layout <name>', 'whose names the tensors of a state have (default: told from the names)')
    .option('--architecture <name>', 'the network that a state is of, where no layout knows its names (facegrad info)')
    .option('--set <option=value...>', 'options of that network, such as width=0.5')
    .option(
      '--input <HxW>',
      'size of the input, where the file leaves it open',
      described('input', imageSize(1, [112, 112])),
    )
    .option('--colour <order>', 'RGB or BGR, the order that the network takes')
    .option(
      '--mean <numbers>',
      'taken from each pixel (0 to 255): one number, or three, one a colour',
      described('mean', normal),
    )
    .option('--scale <numbers>', 'factor after that', described('scale', positive))
    .option('--std <numbers>', 'in place of --scale its inverse', described('std', positive))
    .option('--flip <rule>', `use of the mirror image that verify takes: ${flips.join(', ')}`)
    .option(
      '--threshold <cosine>',
      'same person from here on',
      described('threshold', number({ from: -1, to: 1 }, 0.3, 'threshold')),
    )
    .option('--lenient', 'take what fits of a state that differs, and list the rest')
    .option('--detect-preprocessing <dir>', 'try the usual preparations on aligned pictures in a folder per person')
    .option('--overwrite', 'replace the file that is there')
    .option('--json', 'format, architecture, preprocessing, missing, unexpected, notes, trials as JSON')
    .addHelpText('after', () => {
      const known = weightFormats.map((f) => [f.name, `${f.means} (${f.endings.join(', ')})`] as const);
      const named = layouts.map((l) => [l.name, `${l.means} (${l.project})`] as const);
      return `\nFormats:\n${columns(known)}\n\nLayouts of states:\n${columns(named)}`;
    });
  addDeviceOptions(command).action(run);
}
