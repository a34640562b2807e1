/**
 * Zip archives as containers of arrays (.npz, PyTorch's .pt): entries by name, read whole and checked, or by range where they
 * are stored.
 *
 * The one idea: nothing that an archive says is believed before the file can hold it. Entries may not overlap, a stored one
 * has the size of its bytes, and deflate packs at most 1032 to 1, so a small file cannot ask for much memory. Names are
 * keys only; nothing is written by them.
 *
 * Read and written through zip.js: ranges instead of whole files, zip64, CRC-32, and archives that two programs would read
 * differently are refused. (fflate, which is smaller, wants the whole file in memory and checks no CRC.) It is loaded with the
 * first archive, since that takes 60 ms. Browser-safe.
 */
import { DataError, UsageError } from '../core/errors.ts';
import { type ByteRanges, rangesOf, rangesWithin } from '../core/ranges.ts';

export interface ZipOptions {
  /** Largest unpacked entry in bytes that is read into memory. Default 4 GiB. */
  readonly mostBytes?: number;
}

/** A file in an archive. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes unpacked. */
  readonly size: number;
  /** Whether it lies in the archive as it is, so that parts of it can be read. */
  readonly stored: boolean;
  /** All its bytes, unpacked, in memory of their own; CRC-32 is checked. Throws DataError naming archive and entry. */
  read(): Promise<Uint8Array<ArrayBuffer>>;
  /** Its bytes by range: of the archive where it is stored (no CRC-32 is checked then), else unpacked in memory. */
  ranges(): Promise<ByteRanges>;
}

/** More than this deflate cannot pack: 258 bytes in two bits. */
const deflateMost = 1032;
const localHeader = 30;
const shown = (name: string) => JSON.stringify(name.length > 100 ? `${name.slice(0, 97)}...` : name);

type Library = typeof import('@zip.js/zip.js/lib/zip-core-native.js');
const library = (): Promise<Library> => import('@zip.js/zip.js/lib/zip-core-native.js');

/** What zip.js reads from. */
function readerOf({ Reader }: Library, whole: ByteRanges) {
  class RangesReader extends Reader<ByteRanges> {
    override async readUint8Array(at: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
      // zip.js asks for more than there is near the end, and may keep or change what it gets.
      const from = Math.min(at, whole.size);
      return new Uint8Array(await whole.read(from, Math.min(length, whole.size - from)));
    }
  }
  const reader = new RangesReader(whole);
  reader.size = whole.size;
  return reader;
}

/**
 * The entries of an archive, without folders, by name.
 * @throws DataError naming the archive where it is damaged, encrypted or ambiguous, or holds a name twice
 */
export async function openZip(
  source: ByteRanges,
  { mostBytes = 2 ** 32 }: ZipOptions = {},
): Promise<Map<string, ZipEntry>> {
  const fail = (what: string, advice = 'It is damaged or hostile: fetch or write it again.'): never => {
    throw new DataError(`${source.name}: ${what}\n${advice}`);
  };
  const guard = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof DataError) throw error;
      return fail(`expected ${what}, got: ${(error as Error)?.message ?? error}`);
    }
  };
  const zipjs = await library();
  const zip = new zipjs.ZipReader(readerOf(zipjs, source), {
    useWebWorkers: false,
    checkCrc32: true,
    // 'strict' refuses what PyTorch writes: its zip64 record counts otherwise.
    strictness: 'balanced',
    // Names are keys.
    filenameValidation: 'tolerant',
  });
  const found = await guard('a whole zip archive', () => zip.getEntries());
  found.sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const e of found) {
    if (e.offset < end) fail(`entry ${shown(e.filename)} at offset ${e.offset} overlaps the one before it`);
    end = e.offset + localHeader + e.rawFilename.length + e.compressedSize;
    if (end > source.size) fail(`entry ${shown(e.filename)} ends at ${end}, but the archive has ${source.size} bytes`);
  }
  const entries = new Map<string, ZipEntry>();
  for (const e of found) {
    if (e.directory) continue;
    const what = `entry ${shown(e.filename)}`;
    if (entries.has(e.filename)) fail(`${what} is there twice`);
    const { uncompressedSize: size, compressedSize: packed } = e;
    const stored = e.compressionMethod === 0;
    if (e.encrypted) fail(`${what} is encrypted`, 'Write the archive without a password.');
    if (!stored && e.compressionMethod !== 8)
      fail(
        `${what} is packed by method ${e.compressionMethod}; stored and deflated entries are read`,
        'Pack it again, for example with numpy.savez_compressed.',
      );
    if (stored ? size !== packed : size > deflateMost * packed)
      fail(`${what} claims ${size} bytes, which ${packed} ${stored ? 'stored' : 'deflated'} bytes cannot hold`);
    const read = () => {
      if (size > mostBytes)
        fail(`${what} unpacks to ${size} bytes, the limit is ${mostBytes}`, 'Raise mostBytes, or store it unpacked.');
      return guard(`${what} to be whole`, async () => {
        const out = new Uint8Array(size);
        let at = 0;
        const into = new WritableStream<Uint8Array>({
          write(chunk) {
            // zip.js stops where more comes than the entry claims.
            out.set(chunk, at);
            at += chunk.length;
          },
        });
        await e.getData(into);
        if (at !== size) throw new Error(`${at} bytes in place of ${size}`);
        return out;
      });
    };
    const ranges = async () => {
      const name = `${source.name}: ${e.filename}`;
      if (!stored) return rangesOf(await read(), name);
      // The name and extra field before the data may be longer than the directory says.
      const head = await source.read(e.offset, localHeader);
      const view = new DataView(head.buffer, head.byteOffset, localHeader);
      if (view.getUint32(0, true) !== 0x04034b50) fail(`expected ${what} at offset ${e.offset}, got other bytes there`);
      const start = e.offset + localHeader + view.getUint16(26, true) + view.getUint16(28, true);
      if (start + size > source.size) fail(`${what} ends at ${start + size}, but the archive has ${source.size} bytes`);
      return rangesWithin(source, start, size, name);
    };
    entries.set(e.filename, { name: e.filename, size, stored, read, ranges });
  }
  return entries;
}

/** Where an archive is written, in order. */
export interface ZipSink {
  write(bytes: Uint8Array): Promise<void>;
}

/**
 * Writes an archive of files, one after the other. The same content gives the same bytes, everywhere where it is not compressed.
 * @param compress deflate them. Default false: stored, so that they can be read by range.
 * @throws UsageError where a name comes twice
 */
export async function writeZip(
  sink: ZipSink,
  files: Iterable<readonly [string, Uint8Array]> | AsyncIterable<readonly [string, Uint8Array]>,
  { compress = false }: { readonly compress?: boolean } = {},
): Promise<void> {
  const { Uint8ArrayReader, ZipWriter } = await library();
  const zip = new ZipWriter(new WritableStream<Uint8Array>({ write: (chunk) => sink.write(chunk) }), {
    useWebWorkers: false,
    level: compress ? 6 : 0,
    extendedTimestamp: false,
    lastModDate: new Date(1980, 0, 1),
  });
  const names = new Set<string>();
  for await (const [name, bytes] of files) {
    if (names.has(name))
      throw new UsageError(`writeZip: expected names of their own, got ${shown(name)} twice\nRename one.`);
    names.add(name);
    await zip.add(name, new Uint8ArrayReader(bytes as Uint8Array<ArrayBuffer>));
  }
  await zip.close();
}
