/** `facegrad embed`: pictures to embeddings, as a .npy file with the names beside it, or as JSON. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { DataError, UsageError } from '../core/errors.ts';
import type { Flip } from '../evaluate/verification.ts';
import { unitRows } from '../evaluate/verification.ts';
import { loadEmbedder } from '../node.ts';
import { writeAtomically } from '../train/checkpointFile.ts';
import { writeNpy } from '../weights/npy.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { embedPictures, flips, oneOf, picturesOf } from './faces.ts';
import { print, printJson } from './output.ts';

interface EmbedFlags extends DeviceChoice {
  readonly weights: string;
  readonly out?: string;
  readonly flip: string;
  readonly unit?: boolean;
  readonly json?: boolean;
}

async function embed(files: readonly string[], flags: EmbedFlags): Promise<void> {
  const flip: Flip = oneOf('flip', flags.flip, flips);
  if (flags.out === undefined && !flags.json)
    throw new UsageError(
      'embed: expected --out FILE.npy, or --json to print the embeddings, got neither\nExample: facegrad embed --weights w.safetensors faces/ --out faces.npy',
    );
  if (flags.out !== undefined && !flags.out.endsWith('.npy'))
    throw new UsageError(`--out: expected a name that ends in .npy, got '${flags.out}'\nNames go beside it.`);
  if (flags.out !== undefined && !existsSync(dirname(flags.out)))
    throw new DataError(`--out ${flags.out}: expected its folder to be there, found none\nMake it, or check the path.`);
  const pictures = await picturesOf(files);
  const paths = pictures.map((p) => p.name);
  const device = await openDevice(flags);
  const embedder = await loadEmbedder(flags.weights, { device });
  try {
    const found = await embedPictures(
      embedder,
      pictures.map((p) => p.source),
      flip,
    );
    const { dim } = found;
    const embeddings = flags.unit ? unitRows(found.embeddings, dim) : found.embeddings;
    if (flags.out !== undefined) {
      const names = flags.out.replace(/\.npy$/, '.names.txt');
      await writeAtomically(flags.out, writeNpy({ data: embeddings, shape: [paths.length, dim], dtype: 'f32' }));
      await writeAtomically(names, new TextEncoder().encode(paths.map((p) => `${p}\n`).join('')));
      if (!flags.json) print(`${flags.out}: ${paths.length} embeddings of ${dim} numbers; names in ${names}`);
    }
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
    .option('--out <file.npy>', 'float32 [n, d] in the order given; names go to FILE.names.txt')
    .option('--flip <rule>', `use of the mirror image: ${flips.join(', ')}`, 'none')
    .option('--unit', 'scale every embedding to length 1')
    .option('--json', 'the embeddings (or, with --out, what was written) as JSON on standard output');
  addDeviceOptions(command).action(embed);
}
