/**
 * Verification sets as InsightFace distributes them (`lfw.bin`, `agedb_30.bin` …): a Python pickle of (images, flags), where
 * pair k is images 2k and 2k+1 and flag k says whether they show the same person. An image is a JPEG or PNG file as bytes,
 * a byte string of Python 2 or a numpy uint8 array.
 *
 * The one idea: the pickle is read once, by an interpreter that runs nothing (weights/pickle.ts), and the images stay where
 * they are in the file; only those that it holds escaped, as text, are kept in memory. Folds are ten contiguous ones, as the
 * protocols have them, since the format holds none. Browser-safe.
 */
import { DataError, UsageError } from '../../core/errors.ts';
import { pictureKind } from '../../image/pictureKind.ts';
import { pickleKind, readPickle } from '../../weights/pickle.ts';
import { NumpyArray, numpyGlobals } from '../../weights/pickleNumpy.ts';
import { asSource, type ByteSink, type ByteSource, type Readable } from '../bytes.ts';
import type { Dataset, PairTable } from '../dataset.ts';
import { contiguousFolds } from '../pairs.ts';

const advice = 'It may be another kind of file; a verification set is a pickle of (encoded images, flags).';
/** Read at once: a whole file has to be in memory while it is interpreted. */
const block = 1 << 26;
const mostBytes = 2 ** 32 - 1;

export interface VerificationBinOptions {
  /** What errors call the set. Default: the source's name. */
  readonly name?: string;
  /** Called while the file is read, with bytes done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

async function readWhole(file: ByteSource, onProgress?: (done: number, total: number) => void): Promise<Uint8Array> {
  if (file.size <= block) return file.read(0, file.size);
  if (file.size > mostBytes)
    throw new DataError(
      `${file.name}: expected a verification set of less than 4 GiB, got ${file.size} bytes\n${advice}`,
    );
  let whole: Uint8Array;
  try {
    whole = new Uint8Array(file.size);
  } catch {
    throw new DataError(
      `${file.name}: expected ${file.size} bytes of memory to read it, got none\nClose other programs or use a smaller set.`,
    );
  }
  for (let at = 0; at < file.size; at += block) {
    whole.set(await file.read(at, Math.min(block, file.size - at)), at);
    onProgress?.(Math.min(at + block, file.size), file.size);
  }
  return whole;
}

/** The bytes of an item, or what it is instead. */
function imageOf(item: unknown): Uint8Array | string {
  if (item instanceof Uint8Array) return item;
  if (!(item instanceof NumpyArray)) return pickleKind(item);
  if (item.dtype !== '|u1' || item.shape.filter((n) => n !== 1).length > 1)
    return `a numpy array of type ${item.dtype} and shape (${item.shape})`;
  return item.data;
}

/** What is kept of a file once it is interpreted; no view of its bytes among it, so that they are freed. */
interface Facts {
  /** Offset in the file, and length. */
  readonly at: Float64Array;
  readonly length: Uint32Array;
  readonly png: Uint8Array;
  /** Images that the file does not hold as they are. */
  readonly apart: ReadonlyMap<number, Uint8Array>;
  readonly same: Uint8Array;
}

function interpret(bytes: Uint8Array, name: string): Facts {
  const fail = (what: string): never => {
    throw new DataError(`${name}: ${what}\n${advice}`);
  };
  const { value } = readPickle(bytes, { name, globals: numpyGlobals });
  if (!Array.isArray(value) || value.length !== 2)
    return fail(`expected a pickle of (images, flags), got ${pickleKind(value)}`);
  const [items, second] = value as [unknown, unknown];
  const flags = second instanceof NumpyArray ? Array.from({ length: second.length }, (_, k) => second.get(k)) : second;
  if (!Array.isArray(items) || !Array.isArray(flags))
    return fail(`expected a list of images and one of flags, got ${pickleKind(items)} and ${pickleKind(second)}`);
  if (flags.length < 1 || items.length !== 2 * flags.length)
    fail(`expected two images for each flag, got ${items.length} images and ${flags.length} flags`);

  const n = items.length;
  const at = new Float64Array(n);
  const length = new Uint32Array(n);
  const png = new Uint8Array(n);
  const apart = new Map<number, Uint8Array>();
  for (let i = 0; i < n; i++) {
    const image = imageOf(items[i]);
    if (typeof image === 'string')
      return fail(`expected image ${i + 1} as the bytes of a JPEG or PNG file, got ${image}`);
    if (image.buffer === bytes.buffer) at[i] = image.byteOffset - bytes.byteOffset;
    else apart.set(i, image);
    length[i] = image.length;
    png[i] = pictureKind(image) === 'png' ? 1 : 0;
  }
  const same = Uint8Array.from(flags, (flag, k) => {
    if (flag === true || flag === 1) return 1;
    return flag === false || flag === 0
      ? 0
      : fail(`expected flag ${k + 1} to be True or False, got ${pickleKind(flag)}`);
  });
  return { at, length, png, apart, same };
}

/**
 * Reads a verification `.bin`. Images are numbered as in the file and named `00001.jpg` and so on (`.png` by their content);
 * their people are not known. `pairs` is always there. The source is not closed: its images are read from it.
 * @throws DataError naming file and offset where it is none, or where its pickle asks for anything but plain data; nothing in
 * it is ever executed
 */
export async function verificationBinDataset(file: Readable, options: VerificationBinOptions = {}): Promise<Dataset> {
  const source = asSource(file);
  const name = options.name ?? source.name;
  const { at, length, png, apart, same } = interpret(await readWhole(source, options.onProgress), name);
  const imageName = (i: number) => `${String(i + 1).padStart(5, '0')}.${png[i] ? 'png' : 'jpg'}`;
  return {
    name,
    classes: 0,
    length: length.length,
    label: () => -1,
    identityName: () => '',
    imageName,
    source(i) {
      const bytes = apart.get(i);
      const called = `${name}: image ${imageName(i)}`;
      return bytes
        ? { kind: 'bytes', name: called, bytes }
        : { kind: 'part', name: called, container: source.container, pieces: [at[i]!, length[i]!] };
    },
    pairs: {
      folds: Math.min(10, same.length),
      left: Int32Array.from(same, (_, k) => 2 * k),
      right: Int32Array.from(same, (_, k) => 2 * k + 1),
      same,
      fold: contiguousFolds(same.length),
    },
  };
}

export interface VerificationBinForm {
  /** Images as bytes, or as numpy uint8 arrays of shape (n,), which some packs hold. Default bytes. */
  readonly items?: 'bytes' | 'numpy';
  /** Pickle protocol. 2 writes byte strings of Python 2, which Python 3 loads with `encoding='bytes'`. Default 3. */
  readonly protocol?: 2 | 3 | 4;
}

/** Opcodes and their arguments, a byte per character. */
const code = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const u32 = (n: number) => String.fromCharCode(n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24);
/** Python's own pickler adds to a list in such batches. */
const batch = 1000;

/** What stands before and behind an item's bytes; the first array leaves function, arguments and type in the memo. */
function around(
  items: 'bytes' | 'numpy',
  protocol: 2 | 3 | 4,
  first: boolean,
  length: number,
): [Uint8Array, Uint8Array] {
  const data = `${protocol === 2 ? 'T' : 'B'}${u32(length)}`;
  if (items === 'bytes') return [code(data), code('')];
  const made = first
    ? `cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nK\x00\x85${protocol === 2 ? 'U' : 'C'}\x01b\x87q\x01R`
    : 'h\x00h\x01R';
  const none = u32(-1);
  const type = first
    ? `cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R(K\x03X\x01\x00\x00\x00|NNNJ${none}J${none}K\x00tbq\x02`
    : 'h\x02';
  return [code(`${made}(K\x01J${u32(length)}\x85${type}\x89${data}`), code('tb')];
}

/**
 * Writes a verification `.bin` that CPython's pickle loads. An image is asked for as often as pairs have it, in their order,
 * one at a time. The folds of the pairs are not kept: a reader takes ten contiguous ones.
 * @param read the JPEG or PNG file of an image of `pairs`
 * @throws UsageError without pairs, and for an image of no bytes or of 2 GiB
 */
export async function writeVerificationBin(
  sink: ByteSink,
  pairs: PairTable,
  read: (image: number) => Promise<Uint8Array>,
  { items = 'bytes', protocol = 3 }: VerificationBinForm = {},
): Promise<void> {
  const n = pairs.same.length;
  if (n === 0)
    throw new UsageError(`${sink.name}: a verification set is pairs, got none\nWrite from a set that has pairs.`);
  await sink.write(code(`\x80${String.fromCharCode(protocol)}]`));
  for (let i = 0; i < 2 * n; i++) {
    if (i % batch === 0) await sink.write(code('('));
    const image = (i % 2 ? pairs.right : pairs.left)[i >> 1]!;
    const bytes = await read(image);
    if (bytes.length === 0 || bytes.length >= 2 ** 31)
      throw new UsageError(
        `${sink.name}: expected image ${image} to be 1 byte to 2 GiB, got ${bytes.length} bytes\nWrite JPEG or PNG files.`,
      );
    const [before, behind] = around(items, protocol, i === 0, bytes.length);
    await sink.write(before);
    await sink.write(bytes);
    await sink.write(behind);
    if (i % batch === batch - 1 || i === 2 * n - 1) await sink.write(code('e'));
  }
  await sink.write(code(']'));
  for (let k = 0; k < n; k += batch) {
    const flags = [...pairs.same.subarray(k, k + batch)].map((same) => (same ? '\x88' : '\x89'));
    await sink.write(code(`(${flags.join('')}e`));
  }
  await sink.write(code('\x86.'));
}
