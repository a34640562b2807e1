/**
 * The weights of TFJS: a manifest that lists tensors in order, and files ("shards") that hold them one after the other.
 *
 * The one idea: the shards of a group are one run of bytes. Tensors may be stored in fewer bits and are made float32 again:
 * halves, or whole numbers q that mean min + q·scale.
 * Source: tfjs-core's io/types.ts and io_utils.ts (decodeWeights).
 */
import * as v from 'valibot';
import { DataError } from '../../core/errors.ts';
import { sizeOf } from '../../core/shape.ts';
import type { WeightSource } from '../format.ts';
import { type Constant, fromBytes } from './wire.ts';

const types = ['float32', 'int32', 'uint8', 'bool', 'float16', 'string', 'complex64'] as const;
const entrySchema = v.object({
  name: v.string(),
  shape: v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  dtype: v.picklist(types),
  quantization: v.optional(
    v.object({
      dtype: v.picklist(['uint8', 'uint16', 'float16']),
      min: v.optional(v.number()),
      scale: v.optional(v.number()),
    }),
  ),
});
const manifestSchema = v.array(v.object({ weights: v.array(entrySchema), paths: v.array(v.string()) }));
export type Manifest = v.InferOutput<typeof manifestSchema>;
type Entry = Manifest[number]['weights'][number];

/** How a dtype of TFJS is called in wire.ts. */
const stored = {
  float32: 'float',
  int32: 'int32',
  uint8: 'uint8',
  bool: 'bool',
  float16: 'half',
  uint16: 'uint16',
} as const;

export function manifestOf(data: unknown, source: string): Manifest {
  const result = v.safeParse(manifestSchema, data);
  if (result.success) return result.output;
  const { message, path } = result.issues[0];
  throw new DataError(
    `${source}: expected a weights manifest, but ${(path ?? []).map((p) => String(p.key)).join('.')}: ${message}\nFetch or convert the model again.`,
  );
}

/**
 * The tensors of a manifest by name. Whole numbers stay whole.
 * @param source reads the shards, which lie beside the manifest
 * @throws DataError naming the shard or tensor that is missing or cut off
 */
export async function readManifest(manifest: Manifest, source: WeightSource): Promise<Map<string, Constant>> {
  const out = new Map<string, Constant>();
  const named = new Set<string>();
  for (const { weights, paths } of manifest) {
    const shards: Uint8Array[] = [];
    for (const path of paths) {
      // A path is a name in the same folder: what leads out of it is not followed.
      const shard = /^[^/\\]+$/.test(path) && path !== '..' ? await source.beside(path) : undefined;
      if (!shard)
        throw new DataError(
          `${source.name}: expected its weights in '${path}' beside it, but there is no such file\nPut all files of the model into one folder.`,
        );
      if (named.has(path))
        throw new DataError(
          `${source.name}: expected each of its files once, but it names '${path}' twice\nFetch or convert the model again.`,
        );
      named.add(path);
      shards.push(shard);
    }
    const bytes = shards.length === 1 ? shards[0]! : joinBytes(shards);
    let at = 0;
    for (const entry of weights) {
      if (entry.dtype === 'string' || entry.dtype === 'complex64')
        throw new DataError(
          `${source.name}: expected tensors of numbers, but ${entry.name} is of ${entry.dtype}\nConvert a model without it.`,
        );
      const type = stored[entry.quantization?.dtype ?? entry.dtype];
      const width = type === 'float' || type === 'int32' ? 4 : type === 'uint8' || type === 'bool' ? 1 : 2;
      const length = sizeOf(entry.shape) * width;
      if (!(at + length <= bytes.length))
        throw new DataError(
          `${source.name}: expected ${length} bytes of ${entry.name} at ${at} of ${paths.join(', ')}, which end at ${bytes.length}\nFetch the files again: one is cut off, or of another model.`,
        );
      if (out.has(entry.name))
        throw new DataError(`${source.name}: ${entry.name} is listed twice\nFetch or convert the model again.`);
      out.set(entry.name, decode(entry, type, bytes.subarray(at, at + length)));
      at += length;
    }
    if (at !== bytes.length)
      throw new DataError(
        `${source.name}: expected ${at} bytes in ${paths.join(', ')}, got ${bytes.length}\nThe files are of another model: fetch them together.`,
      );
  }
  return out;
}

function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

function decode({ shape, dtype, quantization }: Entry, type: string, bytes: Uint8Array): Constant {
  const raw = fromBytes(type, shape, bytes);
  if (!quantization || quantization.dtype === 'float16') return raw;
  const { scale = 1, min = 0 } = quantization;
  const whole = dtype === 'int32';
  const data = whole ? new Float64Array(raw.data.length) : new Float32Array(raw.data.length);
  raw.data.forEach((q, i) => {
    data[i] = whole ? Math.round(q * scale + min) : q * scale + min;
  });
  return { kind: whole ? 'int' : 'float', shape, data };
}
