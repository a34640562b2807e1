/**
 * Keras' HDF5 files: weights by name, and the model's configuration where it was saved along.
 *
 * Keras 1 and 2 write a group a layer, and in attributes the order of layers and of their weights; a whole model has them under
 * `model_weights` beside `model_config`. Keras 3 writes `layers/NAME/vars/0`, 1, … without names. Source: keras'
 * legacy_h5_format.py and saving_lib.py.
 *
 * HDF5 is read by jsfive, in plain JavaScript: on damaged files the other choice, the C library as WASM, did not always end.
 */
import type { DType } from '../../core/dtype.ts';
import { DataError } from '../../core/errors.ts';
import { isHdf5 } from '../magic.ts';
import { elementsOf, type HostTensor } from '../safetensors.ts';

export interface KerasWeights {
  /** By `layer/weight`, in the order of the file; of Keras 3 by `layer/0`, `layer/1`, …. */
  readonly tensors: Map<string, HostTensor>;
  /** Whether weights have numbers for names. */
  readonly numbered: boolean;
  /** The model's configuration in JSON. */
  readonly config?: string;
  /** Version of Keras, where the file says: '2.4.0'. */
  readonly version: string;
}

/** Largest number of groups and arrays that are looked at. */
const mostEntries = 100_000;
/** Bytes that one byte of a deflated chunk can stand for. */
const deflateMost = 1032;

type Library = typeof import('jsfive');

/** Text and lists of text of attributes; jsfive gives a number of forms. */
const textOf = (x: unknown): string | undefined => {
  const one = Array.isArray(x) && x.length === 1 ? x[0] : x;
  return typeof one === 'string' ? one.replace(/\0+$/, '') : undefined;
};

class Reading {
  private readonly library: Library;
  private readonly name: string;
  private readonly size: number;
  private entries = 0;
  constructor(library: Library, name: string, size: number) {
    this.library = library;
    this.name = name;
    this.size = size;
  }
  fail(what: string): never {
    throw new DataError(`${this.name}: ${what}\nIt may be cut off or damaged: fetch it again.`);
  }
  group(parent: InstanceType<Library['Group']>, path: string): InstanceType<Library['Group']> {
    const found = parent.get(path);
    return found instanceof this.library.Group ? found : this.fail(`expected a group '${path}', got none`);
  }
  texts(group: InstanceType<Library['Group']>, key: string): string[] | undefined {
    const { attrs } = group;
    // Attributes end at 64 kB: longer lists are cut into key0, key1, ….
    const parts = key in attrs ? [attrs[key]] : [];
    for (let i = 0; parts.length === i && `${key}${i}` in attrs; i++) parts.push(attrs[`${key}${i}`]);
    if (!parts.length) return undefined;
    return parts.flat().map((t) => textOf(t) ?? this.fail(`expected names in ${key}, got ${typeof t}`));
  }
  tensor(found: unknown, path: string): HostTensor {
    if (++this.entries > mostEntries) this.fail(`more than ${mostEntries} arrays`);
    if (!(found instanceof this.library.Dataset)) this.fail(`expected an array '${path}', got none`);
    const { shape, dtype } = found;
    const n = elementsOf([...shape]) ?? this.fail(`${path}: shape ${shape}`);
    const type = typeof dtype === 'string' ? /^[<>|](f|i|u)(\d)$/.exec(dtype) : null;
    if (!type) this.fail(`${path}: expected numbers, got elements of type ${JSON.stringify(dtype)}`);
    if (n * Number(type[2]) > deflateMost * this.size) this.fail(`${path}: ${n} numbers, more than the file can hold`);
    // A chunk is gone through whole, so a damaged size would take as long as it says.
    const { chunks } = (found as { _dataobjects?: { chunks?: readonly number[] | null } })._dataobjects ?? {};
    if (chunks?.some((d, i) => !(d >= 1 && d <= (shape[i] ?? d))))
      this.fail(`${path}: chunks of ${chunks} in [${shape}]`);
    const { value } = found;
    if (!Array.isArray(value) && !ArrayBuffer.isView(value) && typeof value !== 'number')
      this.fail(`${path}: no numbers`);
    const numbers = typeof value === 'number' ? [value] : (value as ArrayLike<number>);
    if (numbers.length !== n) this.fail(`${path}: expected ${n} numbers, got ${numbers.length}`);
    const kind: DType = type[1] === 'f' ? 'f32' : 'i32';
    const data = kind === 'f32' ? new Float32Array(n) : new Int32Array(n);
    for (let i = 0; i < n; i++) {
      if (numbers[i] === undefined) this.fail(`${path}: the part with element ${i} is missing`);
      const v = Number(numbers[i]);
      data[i] = v;
      if (kind === 'i32' && data[i] !== v) this.fail(`${path}: ${v} does not fit 32 bits`);
    }
    return { dtype: kind, shape: [...shape], data };
  }

  /** Keras 1 and 2. */
  byLayer(root: InstanceType<Library['Group']>, layers: readonly string[]): Map<string, HostTensor> {
    const tensors = new Map<string, HostTensor>();
    for (const layer of layers) {
      const group = this.group(root, layer);
      for (const weight of this.texts(group, 'weight_names') ?? []) {
        const short = weight.replace(/:0$/, '');
        const key = short.startsWith(`${layer}/`) ? short : `${layer}/${short}`;
        if (tensors.has(key)) this.fail(`two arrays are named '${key}'`);
        tensors.set(key, this.tensor(group.get(weight), key));
      }
    }
    return tensors;
  }
  /** Keras 3: every `vars` below, the state of the optimizer left out. */
  numbered(root: InstanceType<Library['Group']>): Map<string, HostTensor> {
    const tensors = new Map<string, HostTensor>();
    const walk = (group: InstanceType<Library['Group']>, path: readonly string[]) => {
      if (path.length > 100) this.fail('groups in one another more than 100 deep');
      for (const key of [...group.keys].sort((a, b) => Number(a) - Number(b))) {
        if (++this.entries > mostEntries) this.fail(`more than ${mostEntries} entries`);
        if (path.length === 0 && key.startsWith('optimizer')) continue;
        const found = group.get(key);
        const name = [...path, key].filter((p) => !['layers', 'vars', '_layer_checkpoint_dependencies'].includes(p));
        if (found instanceof this.library.Group) walk(found, [...path, key]);
        else if (path.at(-1) === 'vars') tensors.set(name.join('/'), this.tensor(found, name.join('/')));
      }
    };
    walk(root, []);
    return tensors;
  }
}

interface AttributeReader {
  _attr_value(type: unknown, bytes: ArrayBuffer, count: number, at: number): unknown;
}
const bounded = new WeakSet<object>();

/**
 * jsfive reads as many elements of an attribute as it is told, 2^32 of no size included; none has more than the file has
 * bytes. Where the pinned version is replaced by one without this method, the test on damaged files is to be looked at again.
 */
function boundAttributes(file: object): void {
  const { _dataobjects: objects } = file as { _dataobjects?: AttributeReader };
  const reader = objects && (Object.getPrototypeOf(objects) as AttributeReader);
  if (!reader?._attr_value || bounded.has(reader)) return;
  const read = reader._attr_value;
  reader._attr_value = function (type, bytes, count, at) {
    if (!(count <= bytes.byteLength)) throw new RangeError(`an attribute of ${count} elements`);
    return read.call(this, type, bytes, count, at);
  };
  bounded.add(reader);
}

/**
 * @param name what errors call the file
 * @throws DataError for what is no such file, is damaged, or holds other than numbers
 */
export async function readKerasHdf5(bytes: Uint8Array, name: string): Promise<KerasWeights> {
  const library = await import('jsfive');
  const reading = new Reading(library, name, bytes.length);
  if (!isHdf5(bytes)) reading.fail('expected an HDF5 file, but it does not begin as one');
  // jsfive writes names of attributes that it cannot read to the console; a file's text has no place there. Nothing waits
  // between here and the end, so no one else's words are lost.
  const { warn } = console;
  console.warn = () => {};
  try {
    const file = new library.File(new Uint8Array(bytes).buffer, name);
    boundAttributes(file);
    const { attrs } = file;
    const config = textOf(attrs.model_config);
    const root =
      attrs.layer_names === undefined && file.keys.includes('model_weights')
        ? reading.group(file, 'model_weights')
        : file;
    const layers = reading.texts(root, 'layer_names');
    const tensors = layers ? reading.byLayer(root, layers) : reading.numbered(root);
    const version = textOf(attrs.keras_version) ?? textOf(root.attrs.keras_version) ?? (layers ? '' : '3');
    return { tensors, numbered: !layers, version, ...(config !== undefined && { config }) };
  } catch (error) {
    if (error instanceof DataError) throw error;
    // jsfive throws texts as well as errors, and damaged offsets end in errors of any kind.
    return reading.fail(`expected an HDF5 file, but reading it ends in: ${(error as Error)?.message ?? error}`);
  } finally {
    console.warn = warn;
  }
}
