/** `facegrad embed`: pictures to embeddings, as a matrix, an archive, a feature file per picture, or JSON. */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { type Flip, flips, unitRows } from '../evaluate/verification.ts';
import { loadEmbedder } from '../node.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { embeddingWriter, outEndings } from './embeddingFiles.ts';
import { embedPictures, picturesOf } from './faces.ts';
import { oneOf } from './options.ts';
import { print, printJson } from './output.ts';

interface EmbedFlags extends DeviceChoice {
  readonly weights: string;
  readonly out?: string;
  readonly suffix?: string;
  readonly flip: string;
  readonly unit?: boolean;
  readonly landmarks?: string;
  readonly json?: boolean;
}

async function embed(files: readonly string[], flags: EmbedFlags): Promise<void> {
  const flip: Flip = oneOf('flip', flags.flip, flips);
  if (flags.out === undefined && !flags.json)
    throw new UsageError(
      'embed: expected --out FILE.npy (or .npz, .feat, .bin, or FOLDER/), or --json to print the embeddings, got neither\nExample: facegrad embed --weights w.safetensors faces/ --out faces.npy',
    );
  if (flags.suffix !== undefined && !/[/\\]$/.test(flags.out ?? ''))
    throw new UsageError(
      `--suffix: expected --out FOLDER/, got ${flags.out ?? 'none'}\nIt ends the names of feature files.`,
    );
  const pictures = await picturesOf(files);
  const paths = pictures.map((p) => p.name);
  const write = flags.out === undefined ? undefined : embeddingWriter(flags.out, pictures, flags.suffix);
  const device = await openDevice(flags);
  const embedder = await loadEmbedder(flags.weights, { device });
  try {
    const found = await embedPictures(
      embedder,
      pictures.map((p) => p.source),
      flip,
      flags.landmarks,
    );
    const { dim } = found;
    const embeddings = flags.unit ? unitRows(found.embeddings, dim) : found.embeddings;
    const written = await write?.(embeddings, dim);
    if (written !== undefined && !flags.json) print(written);
    if (flags.json)
      printJson({
        dim,
        flip,
        unit: flags.unit ?? false,
        ...(flags.out !== undefined
          ? { out: flags.out, names: paths }
          : {
              embeddings: paths.map((name, i) => ({
                name,
                embedding: [...embeddings.subarray(i * dim, (i + 1) * dim)],
              })),
            }),
      });
  } finally {
    await embedder.dispose();
    await device.dispose();
  }
}

export function register(program: Command): void {
  const command = program
    .command('embed')
    .description('turn pictures of aligned faces into embeddings')
    .argument('<files...>', 'JPEG or PNG pictures, folders of them, or data sets of any format')
    .requiredOption('--weights <file>', 'weights that facegrad wrote')
    .option('--out <path>', `float32 [n, d] in the order given, to a path that ends in ${outEndings}`)
    .option('--suffix <text>', "with --out FOLDER/: how its files end after the picture's name (default .feat)")
    .option(
      '--landmarks <file>',
      'five points a picture, to align photographs by (without it pictures are crops already)',
    )
    .option('--flip <rule>', `use of the mirror image: ${flips.join(', ')}`, 'none')
    .option('--unit', 'scale every embedding to length 1')
    .option('--json', 'the embeddings (or, with --out, what was written) as JSON on standard output');
  addDeviceOptions(command).action(embed);
}
