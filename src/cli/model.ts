/** What commands that take a whole model share: opening it, whoever wrote it, and pictures in its input size. */
import { readFile } from 'node:fs/promises';
import { type HostTensor, host } from '../core/tensor.ts';
import { readPicture } from '../data/readImage.ts';
import { fitCrop } from '../image/align.ts';
import { inferenceState, networkOf } from '../models/index.ts';
import type { FaceNetwork } from '../models/network.ts';
import { loadState, variablesOf } from '../nn/module.ts';
import { ioError } from '../train/checkpointFile.ts';
import { fileSource } from '../train/modelFile.ts';
import { parseCheckpoint } from '../weights/checkpoint.ts';
import { importModel } from '../weights/import.ts';
import { errorBar } from './bar.ts';
import type { Picture } from './faces.ts';

export interface OpenModel {
  readonly network: FaceNetwork;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Whether a file is this program's own, by the header of its safetensors. */
export function isOwn(bytes: Uint8Array): boolean {
  if (bytes.length < 9 || bytes[8] !== 0x7b) return false;
  const header = new TextDecoder().decode(
    bytes.subarray(8, 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)),
  );
  return /"format"\s*:\s*"facegrad"/.test(header);
}

/** The bytes of a model's file. */
export const readBytes = (path: string): Promise<Uint8Array> =>
  readFile(path).catch((e) => {
    throw ioError(`reading weights ${path}`, e);
  });

/**
 * The network of a file: this program's own, or another's that is imported on the way.
 * @param bytes of the file, where they were read already
 */
export async function readModel(path: string, bytes?: Uint8Array): Promise<OpenModel> {
  bytes ??= await readBytes(path);
  if (!isOwn(bytes)) return importModel(fileSource(path, bytes));
  const { tensors, metadata } = parseCheckpoint(bytes, path);
  const network = networkOf(metadata, path);
  loadState(variablesOf(network), inferenceState(tensors, metadata), path, { allowExtra: true });
  return { network, metadata };
}

/** At most so many of a list, evenly taken. */
export function evenly<T>(all: readonly T[], most: number): T[] {
  const step = Math.max(1, all.length / most);
  return Array.from({ length: Math.min(all.length, most) }, (_, i) => all[Math.floor(i * step)]!);
}

const perBatch = 16;

/** Pictures as uint8 RGB batches of the network's input size. */
export async function pictureBatches(pictures: readonly Picture[], network: FaceNetwork): Promise<HostTensor[]> {
  const [h, w] = network.preprocessing.inputSize;
  const bar = errorBar();
  const out: HostTensor[] = [];
  try {
    for (let from = 0; from < pictures.length; from += perBatch) {
      const part = pictures.slice(from, from + perBatch);
      const bytes = new Uint8Array(part.length * h * w * 3);
      for (const [i, { source }] of part.entries())
        bytes.set(fitCrop(await readPicture(source), [h, w]).data, i * h * w * 3);
      out.push(host(bytes, [part.length, h, w, 3]));
      bar.show('reading', from + part.length, pictures.length, `${from + part.length}/${pictures.length} pictures`);
    }
  } finally {
    bar.stop();
  }
  return out;
}
