/** `facegrad inspect`: what a data set holds, whether it is sound, and a look at it. */
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { fileError } from '../data/files.ts';
import { type InspectProgress, inspect } from '../data/inspect/inspect.ts';
import { setSheet } from '../data/inspect/setSheet.ts';
import { openDataset } from '../data/open.ts';
import { closeContainers } from '../data/readImage.ts';
import { encodePng } from '../image/encode.ts';
import { errorBar } from './bar.ts';
import { matrixText, setText } from './inspectText.ts';
import { whole } from './options.ts';
import { count, exitCodes, print, printJson, size } from './output.ts';

interface Flags {
  readonly sample: number;
  readonly all?: boolean;
  readonly seed: number;
  readonly sheet?: string;
  readonly rows: number;
  readonly columns: number;
  readonly tile: number;
  readonly verify?: boolean;
  readonly repair?: boolean;
  readonly workers?: number;
  readonly json?: boolean;
}

/** Shows progress with its rates. */
function progress(): { show(e: InspectProgress): void; stop(): void } {
  const bar = errorBar();
  let what = '';
  let started = 0;
  return {
    show(e) {
      if (e.what !== what) {
        what = e.what;
        started = performance.now();
      }
      const seconds = Math.max(1e-3, (performance.now() - started) / 1000);
      const text =
        e.unit === 'bytes'
          ? `${size(e.done / seconds)}/s`
          : `${count(e.done)}/${count(e.total)} | ${count(Math.round(e.done / seconds))} images/s, ${size((e.bytes ?? 0) / seconds)}/s`;
      bar.show(what, e.done, e.total, text);
    },
    stop: bar.stop,
  };
}

async function run(path: string, flags: Flags): Promise<void> {
  const { json = false, repair = false, sheet } = flags;
  if (sheet !== undefined && !/\.png$/i.test(sheet))
    throw new UsageError(`--sheet: expected the name of a .png file, got '${sheet}'\nExample: --sheet sheet.png.`);
  const bar = progress();
  try {
    const found = await inspect(path, {
      sample: flags.all ? Number.POSITIVE_INFINITY : flags.sample,
      seed: flags.seed,
      verify: (flags.verify ?? false) || repair,
      repair,
      ...(flags.workers === undefined ? {} : { workers: flags.workers }),
      onProgress: (e) => bar.show(e),
    });
    bar.stop();
    if (found.kind === 'matrix') {
      if (sheet !== undefined || repair || flags.verify)
        throw new UsageError(
          `${path}: expected a data set of pictures for this option, got arrays of numbers\nLeave the option out.`,
        );
      if (json) printJson(found);
      else print(matrixText(found));
      return;
    }
    if (json) printJson(sheet === undefined ? found : { ...found, sheet });
    else print(setText(found, repair));
    if (sheet !== undefined) {
      const { rows, columns, tile, seed } = flags;
      const picture = await setSheet(await openDataset(path), { rows, columns, tile, seed });
      await writeFile(sheet, encodePng(picture)).catch((error) => {
        throw fileError(sheet, 'to write this picture', error);
      });
      if (!json) print(`\nwrote ${sheet} (${picture.width}x${picture.height} pixels)`);
    }
    const wrong = (found.verified?.bad ?? 0) + (found.verified?.damage.length ?? 0);
    if (wrong > 0) process.exitCode = exitCodes.failure;
  } finally {
    bar.stop();
    await closeContainers();
  }
}

export function register(program: Command): void {
  program
    .command('inspect')
    .description('say what a data set holds and whether it is sound')
    .argument(
      '<path>',
      'a data set of any format (folder, list, .rec, .tfrecord, .bin, .faces …), or arrays (.npy, .npz, .feat)',
    )
    .option('--sample <n>', 'pictures to look at, from all over the set', whole('sample', 1), 1000)
    .option('--all', 'look at all pictures')
    .option(
      '--verify',
      'decode every picture; find copies and odd sizes; compare checksums (exit code 1: some are bad)',
    )
    .option('--repair', 'with --verify: save what can be read of damaged files in place, originals kept as NAME.bad')
    .option('--sheet <file>', 'write a contact sheet as PNG: people in rows, or pairs side by side')
    .option('--rows <n>', 'people or pairs on the sheet', whole('rows', 1, 200), 10)
    .option('--columns <n>', 'pictures of a person on the sheet', whole('columns', 1, 100), 8)
    .option('--tile <n>', 'side of a picture on the sheet, in pixels', whole('tile', 16, 1024), 112)
    .option('--seed <n>', 'of what is chosen to be looked at and shown', whole('seed', 0), 1)
    .option('--workers <n>', 'threads that read and decode (default: the cores, at most 8)', whole('workers', 0, 64))
    .option('--json', 'all of it as one JSON object')
    .addHelpText(
      'after',
      `
Labels and pairs are counted whole; pictures are looked at in a sample, so a set of millions takes seconds.
Lines that begin with ! are worth a second look.

Examples:
  facegrad inspect people/
  facegrad inspect lfw.bin --sheet lfw.png
  facegrad inspect train.rec --verify
  facegrad inspect people/ --repair`,
    )
    .action(run);
}
