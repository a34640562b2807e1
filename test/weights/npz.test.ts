import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { type ByteRanges, rangesOf } from '../../src/core/ranges.ts';
import { type NpyArray, readNpyArray, writeNpy } from '../../src/weights/npy.ts';
import { openNpz, readNpz, writeNpz } from '../../src/weights/npz.ts';
import { openZip } from '../../src/weights/zip.ts';
import { fuzz } from '../helpers/fuzz.ts';
import golden from '../reference/npz.json' with { type: 'json' };
import { npzArrays } from './npzArrays.ts';

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const numpy = (name: 'stored.npz' | 'compressed.npz') => new Uint8Array(Buffer.from(golden.numpy[name], 'base64'));
const content = new Map(npzArrays);

interface Part {
  name: string;
  /** As they lie in the archive. */
  bytes: Uint8Array;
  size?: number;
  method?: number;
  crc?: number;
  at?: number;
}
/** An archive with directory entries as told, true or not. */
function archive(parts: readonly Part[]): Uint8Array {
  const out: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const { name, bytes, size = bytes.length, method = 0, crc = 0, at: told = at } of parts) {
    const text = new TextEncoder().encode(name);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(20, 4);
    head.writeUInt16LE(method, 8);
    head.writeUInt32LE(crc, 14);
    head.writeUInt32LE(bytes.length, 18);
    head.writeUInt32LE(size, 22);
    head.writeUInt16LE(text.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(20, 4);
    entry.writeUInt16LE(20, 6);
    head.copy(entry, 10, 8, 30);
    entry.writeUInt16LE(text.length, 28);
    entry.writeUInt32LE(told, 42);
    out.push(head, text, bytes);
    directory.push(entry, text);
    at += 30 + text.length + bytes.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(parts.length, 8);
  end.writeUInt16LE(parts.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(at, 16);
  return new Uint8Array(Buffer.concat([...out, listed, end]));
}

describe('NumPy', () => {
  it.each(['stored.npz', 'compressed.npz'] as const)('wrote %s, which is read', async (name) => {
    const found = await readNpz(numpy(name), name);
    expect([...found.keys()]).toEqual([...content.keys()]);
    for (const [key, array] of found) expect(array, key).toEqual(content.get(key));
  });
  it('read what is written here', async () => {
    for (const [name, array] of npzArrays)
      expect(sha(writeNpy(array)), name).toBe(golden.written[name as keyof typeof golden.written]);
    expect(sha(await writeNpz(npzArrays))).toBe(golden.written['stored.npz']);
  });
});

it('what is written is read back, stored and deflated', async () => {
  const array: fc.Arbitrary<NpyArray> = fc.oneof(
    fc.float32Array({ maxLength: 40 }).map((data) => ({ dtype: 'f32' as const, shape: [data.length, 1], data })),
    fc.int32Array({ maxLength: 40 }).map((data) => ({ dtype: 'i32' as const, shape: [data.length], data })),
    fc.array(fc.string(), { maxLength: 5 }).map((data) => ({ dtype: 'text' as const, shape: [data.length], data })),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.string({ minLength: 1, maxLength: 20 }), array, { maxKeys: 5 }),
      fc.boolean(),
      async (arrays, compress) => {
        const bytes = await writeNpz(Object.entries(arrays), { compress });
        const back = await readNpz(bytes);
        expect([...back.keys()].sort()).toEqual(Object.keys(arrays).sort());
        for (const [name, a] of back) expect(a).toEqual(arrays[name]);
      },
    ),
    { numRuns: 40, seed: 1 },
  );
  const twice = [npzArrays[0]!, npzArrays[0]!];
  await expect(writeNpz(twice)).rejects.toThrow(UsageError);
});

it('reads a stored matrix by rows, and nothing else of the archive', async () => {
  const data = Float32Array.from({ length: 30_000 }, (_, i) => i);
  const bytes = await writeNpz([
    ['other', { dtype: 'f32', shape: [100_000], data: new Float32Array(100_000) }],
    ['m', { dtype: 'f32', shape: [3000, 10], data }],
  ]);
  const whole = rangesOf(bytes, 'a.npz');
  let read = 0;
  const source: ByteRanges = {
    ...whole,
    read(at, n) {
      read += n;
      return whole.read(at, n);
    },
  };
  const npz = await openNpz(source);
  const m = await npz.rows('m');
  expect([...(await m.rows(2999, 1))]).toEqual([...data.subarray(29_990)]);
  expect(await npz.describe('m')).toEqual({ type: '<f4', shape: [3000, 10] });
  expect(read).toBeLessThan(70_000);
  const packed = await openNpz(
    rangesOf(await writeNpz([['m', { dtype: 'f32', shape: [3000, 10], data }]], { compress: true }), 'p'),
  );
  expect([...(await (await packed.rows('m')).rows(1, 1))]).toEqual([...data.subarray(10, 20)]);
  await expect(npz.read('n')).rejects.toThrow(/a\.npz: expected an array "n", but it has other, m/);
});

it('an archive beyond 4 GiB (zip64) is read by rows', async () => {
  const rows = 2_500_000;
  const start = writeNpy({ dtype: 'f32', shape: [0, 512], data: new Float32Array(0) });
  const header = Buffer.from(start).toString('latin1').replace('(0, 512)', `(${rows}, 512)`);
  const npy = Buffer.from(header.slice(0, 127 - String(rows).length + 1).padEnd(127) + header.slice(-1), 'latin1');
  const size = npy.length + rows * 2048;
  const name = Buffer.from('embeddings.npy');
  const wide = (...parts: [number | bigint, number][]) =>
    Buffer.concat(
      parts.map(([v, n]) => {
        const b = Buffer.alloc(8);
        b.writeBigUInt64LE(BigInt(v));
        return b.subarray(0, n);
      }),
    );
  const none = 0xffffffff;
  const sizes: [number, number][] = [
    [size, 8],
    [size, 8],
  ];
  const common: [number, number][] = [
    [45, 2],
    [0, 2],
    [0, 2],
    [0, 2],
    [33, 2],
    [0, 4],
    [none, 4],
    [none, 4],
    [name.length, 2],
  ];
  const local = Buffer.concat([wide([0x04034b50, 4], ...common, [20, 2]), name, wide([1, 2], [16, 2], ...sizes)]);
  const directory = Buffer.concat([
    wide([0x02014b50, 4], [45, 2], ...common, [20, 2], [0, 2], [0, 2], [0, 2], [0, 4], [0, 4]),
    name,
    wide([1, 2], [16, 2], ...sizes),
  ]);
  const from = local.length + size;
  const end = wide(
    [0x06064b50, 4],
    [44, 8],
    [45, 2],
    [45, 2],
    [0, 4],
    [0, 4],
    [1, 8],
    [1, 8],
    [directory.length, 8],
    [from, 8],
    [0x07064b50, 4],
    [0, 4],
    [from + directory.length, 8],
    [1, 4],
    [0x06054b50, 4],
    [0, 2],
    [0, 2],
    [1, 2],
    [1, 2],
    [directory.length, 4],
    [none, 4],
    [0, 2],
  );
  const parts: [number, Buffer][] = [
    [0, Buffer.concat([local, npy])],
    [from - 4, Buffer.concat([wide([0x40490fdb, 4]), directory, end])],
  ];
  const total = from + directory.length + end.length;
  // Zeros but for the beginning and the end.
  const source: ByteRanges = {
    name: 'big.npz',
    size: total,
    async read(at, length) {
      expect(at + length).toBeLessThanOrEqual(total);
      expect(length).toBeLessThan(1 << 20);
      const out = new Uint8Array(length);
      for (const [start, bytes] of parts)
        for (let i = Math.max(at, start); i < Math.min(at + length, start + bytes.length); i++)
          out[i - at] = bytes[i - start]!;
      return out;
    },
  };
  const npz = await openNpz(source);
  const m = await npz.rows('embeddings');
  expect([m.length, m.width]).toEqual([rows, 512]);
  expect([...(await m.rows(rows - 1, 1)).subarray(510)]).toEqual([0, Math.fround(Math.PI)]);
  await expect(npz.read('embeddings')).rejects.toThrow(/unpacks to 5120000128 bytes, the limit is 4294967296/);
});

describe('hostile and damaged archives', () => {
  const array = writeNpy({ dtype: 'f32', shape: [2], data: Float32Array.of(1, 2) });
  const crc = 0x12345678;
  const packed = new Uint8Array(deflateRawSync(new Uint8Array(1_000_000)));
  const refused = (bytes: Uint8Array, message: RegExp, options = {}) =>
    expect(readNpz(bytes, 'a.npz', options)).rejects.toThrow(message);

  it('a small file that claims gigabytes is refused before memory is taken', async () => {
    await refused(
      archive([{ name: 'a.npy', bytes: new Uint8Array(42_000), method: 8, size: 4_200_000_000 }]),
      /^a\.npz: entry "a\.npy" claims 4200000000 bytes, which 42000 deflated bytes cannot hold/,
    );
    await refused(
      archive([{ name: 'a.npy', bytes: array, size: 4_200_000_000 }]),
      /claims 4200000000 bytes, which 136 stored/,
    );
    await refused(
      archive([{ name: 'a.npy', bytes: packed, method: 8, size: 1_000_000 }]),
      /entry "a\.npy" unpacks to 1000000 bytes, the limit is 999999/,
      { mostBytes: 999_999 },
    );
  });
  it('an entry that unpacks to more or less than it claims is refused', async () => {
    await refused(
      archive([{ name: 'a.npy', bytes: packed, method: 8, size: 900_000 }]),
      /entry "a\.npy" to be whole, got: Invalid uncompressed size/,
    );
    await refused(
      archive([{ name: 'a.npy', bytes: packed, method: 8, size: 1_000_001 }]),
      /entry "a\.npy" to be whole/,
    );
  });
  it('entries that share bytes, lie outside or come twice are refused', async () => {
    await refused(
      archive([
        { name: 'a.npy', bytes: array },
        { name: 'b.npy', bytes: array, at: 0 },
      ]),
      /overlaps the one before/,
    );
    await refused(archive([{ name: 'a.npy', bytes: array, at: 1000 }]), /ends at 1171, but the archive has/);
    await refused(
      archive([
        { name: 'a.npy', bytes: array },
        { name: 'a.npy', bytes: array },
      ]),
      /"a\.npy" is there twice/,
    );
    await refused(archive([{ name: 'a.npy', bytes: array, method: 12 }]), /packed by method 12/);
  });
  it('a wrong CRC-32 is found, naming file and entry', async () => {
    await refused(
      archive([{ name: 'x/a.npy', bytes: array, crc }]),
      /^a\.npz: expected entry "x\/a\.npy" to be whole, got: .*CRC/i,
    );
    const bytes = await writeNpz(npzArrays.slice(0, 1));
    bytes[200]! ^= 1;
    await refused(bytes, /^a\.npz: expected entry "embeddings\.npy" to be whole/);
  });
  it('a file that is no archive, or an array of objects in one', async () => {
    await refused(new Uint8Array(100), /^a\.npz: expected a whole zip archive, got/);
    await refused(new Uint8Array(0), /^a\.npz: expected a whole zip archive, got/);
    const objects = new Uint8Array(Buffer.from(golden.numpy['objects.npy'], 'base64'));
    const { crc32 } = await import('node:zlib');
    const bytes = archive([{ name: 'o.npy', bytes: objects, crc: crc32(objects) }]);
    await refused(bytes, /^a\.npz: o\.npy: element type \|O[\s\S]*never read/);
  });
  it('damaged copies give arrays or a DataError', async () => {
    for (const name of ['stored.npz', 'compressed.npz'] as const)
      await fuzz(
        async (bytes) => {
          const npz = await openNpz(rangesOf(bytes, 'a.npz'));
          for (const n of npz.names) {
            const array = await npz.read(n);
            if (array.dtype === 'text') continue;
            const m = await npz.rows(n);
            await m.rows(0, m.length);
          }
        },
        numpy(name),
        'a.npz',
        { cuts: 100, flips: 150, numbers: 150 },
      );
  }, 60_000);
});

const shared = new URL('../../../shared/data/formats/', import.meta.url);
const present = existsSync(shared);
if (!present) console.log(`skipped: no archives of NumPy and PyTorch under ${shared.pathname}`);
describe.skipIf(!present)('archives of NumPy 1.24 and PyTorch 1.13', () => {
  const fileOf = (name: string) => new Uint8Array(readFileSync(new URL(name, shared)));
  it.each(['stored', 'compressed'])('%s.npz', async (name) => {
    const npz = await readNpz(fileOf(`numpy/${name}.npz`));
    expect(npz.get('embeddings')).toEqual(readNpyArray(fileOf('numpy/f4_c.npy')));
    expect(npz.get('labels')).toMatchObject({
      dtype: 'i32',
      shape: [5],
      data: Int32Array.of(0, 1, 2, 3, 4),
      storage: '<i8',
    });
    expect(npz.get('names')).toEqual({ dtype: 'text', shape: [5], data: ['a', 'b', 'c', 'd', 'e'] });
  });
  it('many arrays by name', async () => {
    const npz = await readNpz(fileOf('torch/small.npz'));
    expect(npz.size).toBe(113);
    for (const a of npz.values()) expect(a.data.length).toBe(a.shape.reduce((x, y) => x * y, 1));
  });
  it('PyTorch files: whole entries and ranges of them agree', async () => {
    const entries = await openZip(rangesOf(fileOf('torch/small_zip.pth'), 'small_zip.pth'));
    expect(entries.size).toBe(115);
    for (const e of entries.values()) {
      expect(e.stored).toBe(true);
      const ranges = await e.ranges();
      expect(await ranges.read(0, e.size)).toEqual(await e.read());
      await expect(ranges.read(1, e.size)).rejects.toThrow(DataError);
    }
  });
});
