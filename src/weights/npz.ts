/**
 * NumPy's .npz: a zip archive with a .npy file per array, named after it; stored as `numpy.savez` writes it, or deflated.
 *
 * The one idea: arrays are read when they are asked for, and a stored matrix by rows, so an archive of any size can be
 * opened. Browser-safe. Format: https://numpy.org/doc/stable/reference/generated/numpy.savez.html
 */
import { DataError } from '../core/errors.ts';
import { type ByteRanges, rangesOf } from '../core/ranges.ts';
import {
  describeNpy,
  type MatrixRows,
  type NpyArray,
  type NpyDescription,
  openNpy,
  readNpyArray,
  writeNpy,
} from './npy.ts';
import { openZip, writeZip, type ZipOptions, type ZipSink } from './zip.ts';

/** An open archive of arrays. */
export interface Npz {
  /** Names of the arrays, in the order of the archive. */
  readonly names: readonly string[];
  /** Element type and shape of one array; undefined where that takes unpacking more than 64 MiB. */
  describe(name: string): Promise<NpyDescription | undefined>;
  /** One array. Throws DataError naming archive and array where it is damaged, or there is none of this name. */
  read(name: string): Promise<NpyArray>;
  /** One array of numbers to be read by rows: from the archive where it is stored, else unpacked in memory. */
  rows(name: string): Promise<MatrixRows>;
}

const ending = '.npy';
const mostToDescribe = 1 << 26;

/**
 * Opens an archive; files in it that are not .npy are left out.
 * @throws DataError naming the archive where it is damaged, or holds no array
 */
export async function openNpz(source: ByteRanges, options: ZipOptions = {}): Promise<Npz> {
  const entries = await openZip(source, options);
  const names = [...entries.keys()].filter((n) => n.endsWith(ending)).map((n) => n.slice(0, -ending.length));
  const entry = (name: string) => {
    const found = entries.get(name + ending);
    if (found) return found;
    throw new DataError(
      `${source.name}: expected an array ${JSON.stringify(name.slice(0, 100))}, but it has ${names.slice(0, 10).join(', ') || 'none'}\nCheck the name.`,
    );
  };
  const shown = (name: string) => `${source.name}: ${name}${ending}`;
  return {
    names,
    async describe(name) {
      const found = entry(name);
      return found.stored || found.size <= mostToDescribe ? describeNpy(await found.ranges()) : undefined;
    },
    read: async (name) => readNpyArray(await entry(name).read(), shown(name)),
    rows: async (name) => openNpy(await entry(name).ranges()),
  };
}

/**
 * Reads all arrays of an archive.
 * @param bytes the whole file, or what gives its ranges
 * @param name what errors call bytes
 * @throws DataError naming archive and array
 */
export async function readNpz(
  bytes: Uint8Array | ByteRanges,
  name = 'npz file',
  options: ZipOptions = {},
): Promise<Map<string, NpyArray>> {
  const npz = await openNpz(bytes instanceof Uint8Array ? rangesOf(bytes, name) : bytes, options);
  const out = new Map<string, NpyArray>();
  for (const n of npz.names) out.set(n, await npz.read(n));
  return out;
}

/**
 * Writes arrays by name to a sink, one after the other; one array is in memory twice at a time.
 * @throws UsageError where a name comes twice, or an array is not what it says
 */
export function writeNpzTo(
  sink: ZipSink,
  arrays: Iterable<readonly [string, NpyArray]>,
  options: { readonly compress?: boolean } = {},
): Promise<void> {
  function* files() {
    for (const [name, array] of arrays) yield [name + ending, writeNpy(array)] as const;
  }
  return writeZip(sink, files(), options);
}

/**
 * The bytes of an archive of arrays by name. The same content gives the same bytes, everywhere where it is not compressed.
 * @param options `compress`: deflate the arrays. Default false.
 * @throws UsageError as `writeNpzTo`
 */
export async function writeNpz(
  arrays: Iterable<readonly [string, NpyArray]>,
  options: { readonly compress?: boolean } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const sink = { write: async (bytes: Uint8Array) => void parts.push(new Uint8Array(bytes)) };
  await writeNpzTo(sink, arrays, options);
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
