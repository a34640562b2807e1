/**
 * tf.train.Example messages: the features of one image as TensorFlow's programs store them.
 *
 * The one idea: a feature is found by its name and left where it lies; only what an image needs is read, so neither
 * unknown features nor long lists cost anything.
 * Source: tensorflow/core/example/{example,feature}.proto; the wire format is read by @bufbuild/protobuf.
 *
 *     Example { Features = 1 }    Features { map<string, Feature> = 1 }
 *     Feature { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }, each list with its values in field 1
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { DataError } from '../../core/errors.ts';
import { decodeImage } from '../../image/decode.ts';
import { encodePng } from '../../image/encode.ts';
import { pictureKind } from '../../image/pictureKind.ts';
import type { RawSize } from '../dataset.ts';
import { mostClasses } from '../people.ts';
import type { NewImage } from './format.ts';

/**
 * How images are stored in Examples:
 * `jpeg`: `image_raw` (an image file) and `label`; `sized`: those with `height`, `width`, `depth`;
 * `raw`: `img` (uint8 pixels [height, width, 3], RGB), `shape` (3 numbers) and `label`.
 */
export type ExampleSchema = 'jpeg' | 'sized' | 'raw';

/** What an Example says of its image. */
export interface ExampleImage {
  /** Where the image's bytes begin in the message, and how many there are. */
  readonly at: number;
  readonly length: number;
  /** Where the bytes are pixels. */
  readonly raw?: RawSize;
  readonly label: number;
  /** Names as UTF-8, where the Example holds them. */
  readonly name?: Uint8Array;
  readonly identity?: Uint8Array;
}

/** Features read here. The first of a row that an Example holds counts. */
const roles = {
  file: ['image_raw', 'image/encoded'],
  label: ['label', 'image/class/label'],
  name: ['name', 'image/filename'],
  identity: ['identity', 'image/class/text'],
  pixels: ['img'],
  shape: ['shape'],
} as const;
const sizeNames = ['height', 'width', 'depth'] as const;
const wanted: ReadonlySet<string> = new Set([...Object.values(roles).flat(), ...sizeNames]);
/** Features that an error lists; a hostile file may hold millions. */
const mostListed = 20;

const kinds = ['', 'bytes', 'floats', 'int64'] as const;

// What is decoded is copied before: memory shared between threads cannot be decoded everywhere.
const utf8 = new TextDecoder();

/** Goes over the fields of a message; those that `visit` does not take (false) are skipped. The reader checks bounds. */
function fields(message: Uint8Array, visit: (field: number, type: WireType, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (!visit(field, type, reader)) reader.skip(type, field);
  }
}

/** Values of one kind's list: calls `visit` for each value in field 1. */
function list(feature: Uint8Array, kind: 1 | 3, visit: (type: WireType, reader: BinaryReader) => boolean): void {
  fields(feature, (field, type, reader) => {
    if (field !== kind || type !== WireType.LengthDelimited) return false;
    fields(reader.bytes(), (inner, innerType, innerReader) => inner === 1 && visit(innerType, innerReader));
    return true;
  });
}

function bytesValues(feature: Uint8Array, most: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  list(feature, 1, (type, reader) => {
    if (type !== WireType.LengthDelimited || out.length > most) return false;
    out.push(reader.bytes());
    return true;
  });
  return out;
}

/** Packed and unpacked values; one more than `most` at the most. */
function intValues(feature: Uint8Array, most: number): bigint[] {
  const out: bigint[] = [];
  list(feature, 3, (type, reader) => {
    if (out.length > most) return false;
    if (type === WireType.Varint) out.push(BigInt(reader.int64()));
    else if (type === WireType.LengthDelimited) {
      const packed = new BinaryReader(reader.bytes());
      while (packed.pos < packed.len && out.length <= most) out.push(BigInt(packed.int64()));
    } else return false;
    return true;
  });
  return out;
}

/** What a feature holds, for an error. */
function kindOf(feature: Uint8Array): string {
  let kind = '';
  fields(feature, (field) => {
    kind = kinds[field] ?? '';
    return false;
  });
  return kind || 'nothing';
}

/**
 * Finds image, label and names in an Example.
 * @param where what an error begins with: file and offset
 * @throws DataError where the message is damaged, or holds no image or label that can be used; it lists the features
 */
export function parseExample(message: Uint8Array, where: string): ExampleImage {
  try {
    return imageOf(message, where);
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(
      `${where}: expected a tf.train.Example, got damaged protobuf data (${(error as Error).message})\nCheck that the file holds Examples with one image each, or write it again.`,
    );
  }
}

function imageOf(message: Uint8Array, where: string): ExampleImage {
  const held = new Map<string, Uint8Array>();
  const all: string[] = [];
  let count = 0;
  fields(message, (field, type, example) => {
    if (field !== 1 || type !== WireType.LengthDelimited) return false;
    fields(example.bytes(), (number, entryType, features) => {
      if (number !== 1 || entryType !== WireType.LengthDelimited) return false;
      let key = '';
      let value = new Uint8Array(0);
      fields(features.bytes(), (part, partType, entry) => {
        if ((part !== 1 && part !== 2) || partType !== WireType.LengthDelimited) return false;
        const bytes = entry.bytes() as Uint8Array<ArrayBuffer>;
        if (part === 1) key = utf8.decode(bytes.slice(0, 200));
        else value = bytes;
        return true;
      });
      if (wanted.has(key)) held.set(key, value);
      if (count++ < mostListed) all.push(key);
      return true;
    });
    return true;
  });

  const find = (keys: readonly string[]) => keys.find((k) => held.has(k));
  const refuse = (expected: string, got: string): never => {
    throw new DataError(
      `${where}: expected ${expected}, got ${got}\nAn Example needs image_raw or image/encoded (JPEG or PNG), or img and shape (pixels), and label or image/class/label.`,
    );
  };
  const listed = () =>
    count === 0 ? 'no features' : `${all.map((k) => JSON.stringify(k)).join(', ')}${count > mostListed ? ' …' : ''}`;
  const ints = (key: string, n: number): number[] => {
    const values = intValues(held.get(key)!, n);
    const safe = (v: bigint) => v >= -(2n ** 31n) && v < 2n ** 31n;
    if (values.length !== n || !values.every(safe)) {
      const shown = values.length > 0 ? values.join(', ') : kindOf(held.get(key)!);
      refuse(`${n} whole number${n > 1 ? 's' : ''} of 32 bits in feature ${key}`, shown);
    }
    return values.map(Number);
  };
  const bytes = (key: string): Uint8Array => {
    const values = bytesValues(held.get(key)!, 1);
    if (values.length !== 1)
      refuse(`one bytes value in feature ${key}`, values.length > 1 ? 'several' : kindOf(held.get(key)!));
    return values[0]!;
  };

  const labelKey = find(roles.label);
  if (labelKey === undefined) return refuse('a feature label', listed());
  const label = ints(labelKey, 1)[0]!;
  if (label < -1 || label >= mostClasses) refuse(`a label from −1 (unknown) to ${mostClasses - 1}`, `${label}`);
  const fileKey = find(roles.file);
  const imageKey = fileKey ?? find(roles.pixels);
  if (imageKey === undefined) return refuse('a feature with an image', listed());
  const image = bytes(imageKey);
  if (image.length === 0) refuse(`an image in feature ${imageKey}`, '0 bytes');
  let raw: RawSize | undefined;
  // In image_raw, numbers may disagree with the JPEG, which counts; without a JPEG they tell what pixels there are.
  if (fileKey === undefined || (!pictureKind(image) && sizeNames.every((k) => held.has(k)))) {
    if (fileKey === undefined && !held.has('shape')) refuse('a feature shape beside img', listed());
    const [height, width, depth] = fileKey === undefined ? ints('shape', 3) : sizeNames.map((k) => ints(k, 1)[0]!);
    const most = 65535;
    if (depth !== 3 || height! < 1 || width! < 1 || height! > most || width! > most)
      refuse('pixels of shape [height, width, 3]', `[${height}, ${width}, ${depth}]`);
    if (image.length !== height! * width! * 3)
      refuse(`${height! * width! * 3} bytes of pixels [${height}, ${width}, 3] in ${imageKey}`, `${image.length}`);
    raw = { width: width!, height: height! };
  }
  // A feature of that name which holds no text is something else.
  const text = (keys: readonly string[]) => {
    const key = find(keys);
    return key === undefined ? undefined : bytesValues(held.get(key)!, 1)[0];
  };
  const name = text(roles.name);
  const identity = text(roles.identity);
  return {
    at: image.byteOffset - message.byteOffset,
    length: image.length,
    label,
    ...(raw && { raw }),
    ...(name && { name }),
    ...(identity && { identity }),
  };
}
/** An Example of features: numbers become an int64 list (packed), bytes and text a bytes list of one. */
export function encodeExample(features: Readonly<Record<string, Uint8Array | string | readonly number[]>>): Uint8Array {
  const w = new BinaryWriter();
  const open = (field: number) => w.tag(field, WireType.LengthDelimited).fork();
  open(1);
  for (const [key, value] of Object.entries(features)) {
    open(1);
    w.tag(1, WireType.LengthDelimited).string(key);
    open(2);
    if (typeof value === 'string' || value instanceof Uint8Array) {
      open(1).tag(1, WireType.LengthDelimited);
      if (typeof value === 'string') w.string(value);
      else w.bytes(value);
    } else {
      open(3).tag(1, WireType.LengthDelimited).fork();
      for (const v of value) w.int64(v);
      w.join();
    }
    w.join().join().join();
  }
  return w.join().finish();
}

/**
 * The Example of an image.
 * @param names adds the features `name` and `identity` where the image has them: programs that do not know them ignore
 * them. Default true.
 * @throws DataError naming the image where `sized` or `raw` must decode it and cannot
 */
export function imageExample(image: NewImage, schema: ExampleSchema, names = true): Uint8Array {
  const { bytes, raw, label, name, identity } = image;
  const more = names ? { ...(name && { name }), ...(identity && { identity }) } : {};
  const pixels = () => (raw ? { ...raw, data: bytes } : decodeImage(bytes, name));
  if (schema === 'raw') {
    const { width, height, data } = pixels();
    return encodeExample({ img: data, shape: [height, width, 3], label: [label], ...more });
  }
  const file = raw ? encodePng(pixels()) : bytes;
  if (schema === 'jpeg') return encodeExample({ image_raw: file, label: [label], ...more });
  const { width, height } = pixels();
  const size = { height: [height], width: [width], depth: [3] };
  return encodeExample({ ...size, label: [label], image_raw: file, ...more });
}
