/**
 * Reads TensorFlow checkpoints of version 2: `NAME.index` and `NAME.data-00000-of-00001` beside it.
 *
 * The one idea: the index is a sorted table from the variable's name to where its bytes lie in which data file. What training
 * keeps beside the weights (the optimizer's slots, counters, averages) is left out and told.
 * Source: tensorflow/core/protobuf/tensor_bundle.proto; tensorflow/core/util/tensor_bundle.
 *
 *     '' → BundleHeaderProto { num_shards = 1, endianness = 2 }
 *     name → BundleEntryProto { dtype = 1, shape = 2, shard_id = 3, offset = 4, size = 5, crc32c = 6, slices = 7 }
 */
import { WireType } from '@bufbuild/protobuf/wire';
import { crc32c } from '../../core/crc32c.ts';
import { DataError } from '../../core/errors.ts';
import { showShape } from '../../core/shape.ts';
import type { HostTensor } from '../../core/tensor.ts';
import { fileName, type StateFile, type WeightSource } from '../format.ts';
import { readSortedTable, unmasked } from './sortedTable.ts';
import { asHostTensor } from './state.ts';
import { elements, fields, fromBytes, int64, shapeProto, typeName } from './wire.ts';

interface Entry {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly number[];
  readonly shard: number;
  readonly offset: number;
  readonly size: number;
  /** Masked CRC-32C of the tensor's bytes. */
  readonly checksum: number;
  readonly sliced: boolean;
}

/** Files a checkpoint may be cut into. */
const mostShards = 10_000;

/** Throws DataError for a file that is damaged, of another version, or lacks its data. */
export async function readCheckpoint(source: WeightSource): Promise<StateFile> {
  const prefix = source.name.replace(/\.(index|meta|data-\d{5}-of-\d{5})$/, '');
  const index = `${prefix}.index`;
  const bytes =
    source.name.endsWith('.index') || prefix === source.name ? await source.bytes() : await besides(source, index);
  const name = source.name === prefix ? prefix : index;
  return readIndex(bytes, { name, bytes: () => source.bytes(), beside: (other) => source.beside(other) }, prefix);
}

async function besides(source: WeightSource, name: string): Promise<Uint8Array> {
  const bytes = await source.beside(fileName(name));
  if (bytes) return bytes;
  throw new DataError(
    `${source.name}: expected '${fileName(name)}' beside it, but there is no such file\nA checkpoint is a .index file and its .data files: put them into one folder.`,
  );
}

async function readIndex(bytes: Uint8Array, source: WeightSource, prefix: string) {
  const { name } = source;
  const damaged = (what: string, cause?: unknown): never => {
    throw new DataError(`${name}: expected a TensorFlow checkpoint's index, but ${what}\nFetch the checkpoint again.`, {
      cause,
    });
  };
  const table = readSortedTable(bytes, name);
  const header = table[0]?.[0] === '' ? table[0][1] : damaged('it has no header');
  const shards = readHeader(header, name, damaged);
  const entries = table.slice(1).map(([key, value]) => readEntry(key, value, damaged));
  const { kept, notes } = sorted(entries);
  if (kept.length === 0)
    damaged(`it holds no weights${entries.length ? `: ${entries.slice(0, 10).map((e) => e.name)}` : ''}`);
  const sliced = kept.filter((e) => e.sliced);
  if (sliced.length > 0)
    throw new DataError(
      `${name}: expected whole variables, got partitioned ones: ${sliced.slice(0, 10).map((e) => e.name)}\nSave the checkpoint without a partitioner.`,
    );
  const data = new Map<number, Uint8Array>();
  const taken = new Map<number, number>();
  const tensors = new Map<string, HostTensor>();
  for (const entry of kept) {
    const { shard, offset, size, type, shape } = entry;
    if (shard >= shards) damaged(`${entry.name} is in file ${shard} of ${shards}`);
    const five = (n: number) => String(n).padStart(5, '0');
    const file = `${prefix}.data-${five(shard)}-of-${five(shards)}`;
    if (!data.has(shard)) data.set(shard, await besides(source, file));
    const all = data.get(shard)!;
    if (!(offset >= 0 && size >= 0 && offset + size <= all.length))
      throw new DataError(
        `${name}: expected ${size} bytes of ${entry.name} at ${offset} of ${fileName(file)}, which ends at ${all.length}\nThe file is cut off, or of another checkpoint: fetch all of them again.`,
      );
    taken.set(shard, (taken.get(shard) ?? 0) + size);
    if (taken.get(shard)! > all.length) damaged(`its variables share bytes of ${fileName(file)}`);
    const part = all.subarray(offset, offset + size);
    if (crc32c(part) !== unmasked(entry.checksum))
      throw new DataError(
        `${name}: the checksum of ${entry.name} differs in ${fileName(file)}\nThe file is damaged, or of another checkpoint: fetch all of them again.`,
      );
    try {
      tensors.set(variableName(entry.name), asHostTensor(fromBytes(type, shape, part)));
    } catch (error) {
      damaged(`${entry.name} ${showShape(shape)}: ${(error as Error).message}`, error);
    }
  }
  return { kind: 'state', tensors, convention: 'tensorflow', notes } as const;
}

/** The number of data files. */
function readHeader(message: Uint8Array, name: string, damaged: (what: string, cause?: unknown) => never): number {
  let shards = 1;
  let old = false;
  let big = false;
  try {
    fields(message, (field, wire, r) => {
      if (field === 1 && wire === WireType.LengthDelimited) {
        old = true;
        return false;
      }
      if (wire !== WireType.Varint || (field !== 1 && field !== 2)) return false;
      if (field === 1) shards = r.int32();
      else big = r.int32() !== 0;
      return true;
    });
  } catch (error) {
    damaged(`its header is damaged: ${(error as Error).message}`, error);
  }
  if (old)
    throw new DataError(
      `${name}: expected a TensorFlow checkpoint of version 2, got one of version 1 (before TensorFlow 0.12)\nRestore and save it again in TensorFlow: tf.compat.v1.train.Saver writes version 2.`,
    );
  if (big)
    throw new DataError(
      `${name}: expected little-endian numbers, got a checkpoint written on a big-endian machine\nSave it again on another.`,
    );
  if (!(shards >= 1 && shards <= mostShards)) damaged(`it says to be ${shards} files`);
  return shards;
}

function readEntry(name: string, message: Uint8Array, damaged: (what: string, cause?: unknown) => never): Entry {
  const entry = {
    name,
    type: 'float',
    shape: [] as readonly number[],
    shard: 0,
    offset: 0,
    size: 0,
    checksum: 0,
    sliced: false,
  };
  try {
    fields(message, (field, wire, r) => {
      if (field === 1 && wire === WireType.Varint) entry.type = typeName(r.int32());
      else if (field === 2 && wire === WireType.LengthDelimited) entry.shape = shapeProto(r.bytes()) ?? [];
      else if (field === 3 && wire === WireType.Varint) entry.shard = r.int32();
      else if (field === 4 && wire === WireType.Varint) entry.offset = int64(r);
      else if (field === 5 && wire === WireType.Varint) entry.size = int64(r);
      else if (field === 6 && wire === WireType.Bit32) entry.checksum = r.fixed32();
      else if (field === 7 && wire === WireType.LengthDelimited) {
        entry.sliced = true;
        return false;
      } else return false;
      return true;
    });
  } catch (error) {
    damaged(`the entry of ${name} is damaged: ${(error as Error).message}`, error);
  }
  return entry;
}

/** Names of Keras and of tf.train.Checkpoint end in this. */
const attribute = '/.ATTRIBUTES/VARIABLE_VALUE';
const variableName = (name: string) => (name.endsWith(attribute) ? name.slice(0, -attribute.length) : name);

/** What training keeps beside the weights, by its name. */
const leftOut: readonly { readonly what: string; readonly names: RegExp }[] = [
  {
    what: "the optimizer's slots",
    names: /\/(Momentum|Adam|Adam_1|RMSProp|RMSProp_1|Adagrad|Adadelta|Adadelta_1|Ftrl|Ftrl_1)$/,
  },
  { what: "the optimizer's slots", names: /\.OPTIMIZER_SLOT|(^|\/)_?optimizer\//i },
  { what: 'moving averages', names: /\/ExponentialMovingAverage(_\d+)?$/ },
  { what: 'counters', names: /(^|\/)(global_step|beta1_power|beta2_power|save_counter|step)$/ },
  { what: 'objects of Keras', names: /^_CHECKPOINTABLE_OBJECT_GRAPH$/ },
];

function sorted(entries: readonly Entry[]): { kept: Entry[]; notes: string[] } {
  const kept: Entry[] = [];
  const counts = new Map<string, number>();
  for (const entry of entries) {
    const name = variableName(entry.name);
    const what =
      leftOut.find((l) => l.names.test(name) || l.names.test(entry.name))?.what ??
      (Object.hasOwn(elements, entry.type) ? undefined : `tensors of ${entry.type}`);
    if (what === undefined) kept.push(entry);
    else counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return { kept, notes: [...counts].map(([what, n]) => `left out: ${what} (${n})`) };
}
