/**
 * facegrad's own weights files: safetensors whose metadata says what they are. Browser-safe; files are read and written
 * in train/checkpointFile.ts.
 */
import { DataError } from '../core/errors.ts';
import { type HostTensor, readSafetensors } from './safetensors.ts';

/** The version of facegrad's checkpoints that this code writes; it reads this one and all before it. */
export const checkpointVersion = 1;

export interface Checkpoint {
  tensors: Map<string, HostTensor>;
  /** Strings; what has structure is JSON. Without `format` and `version`, which reading checks and writing adds. */
  metadata: Record<string, string>;
}

/**
 * A checkpoint from its bytes.
 * @param source what errors call the file
 * @throws DataError when it is cut off or damaged, it is a safetensors file of something else, or it was written by a newer
 * facegrad
 */
export function parseCheckpoint(bytes: Uint8Array, source: string): Checkpoint {
  // The header is JSON, which begins behind the 8 bytes of its length.
  if (bytes.length > 8 && bytes[8] !== 0x7b)
    throw new DataError(
      `${source}: expected weights that facegrad wrote (safetensors), got another kind of file.\nTo use another program's weights, import them: facegrad import FILE --out model.safetensors.`,
    );
  const { tensors, metadata } = readSafetensors(bytes, source);
  const { format, version, ...rest } = metadata;
  if (format !== 'facegrad') {
    throw new DataError(
      `${source}: expected format facegrad, came ${format === undefined ? 'a safetensors file without one' : format}.\n` +
        "To use another program's weights, import them (facegrad import FILE --out model.safetensors); to resume, give a file that facegrad wrote.",
    );
  }
  const number = /^[1-9]\d*$/.test(version ?? '') ? Number(version) : Number.NaN;
  if (!(number <= checkpointVersion)) {
    throw new DataError(
      `${source}: expected format version 1 to ${checkpointVersion}, came ${version ?? 'none'}.\n` +
        (number > checkpointVersion ? 'A newer facegrad wrote it: update this one.' : 'Write the checkpoint again.'),
    );
  }
  return { tensors, metadata: rest };
}
