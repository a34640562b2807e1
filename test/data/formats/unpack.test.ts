/** gzip files of any number of members, against zlib's own gunzip. */
import { randomBytes } from 'node:crypto';
import { deflateSync, gunzipSync, gzipSync, crc32 as zlibCrc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../../src/core/crc32.ts';
import { memorySource } from '../../../src/data/bytes.ts';
import { packingOf, unpack, unpackedMembers } from '../../../src/data/formats/unpack.ts';
import { fuzz } from '../../helpers/fuzz.ts';

async function members(bytes: Uint8Array, most?: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of unpackedMembers(memorySource(bytes, 'x.gz'), most)) parts.push(part);
  return Buffer.concat(parts);
}

/** A member with every optional field of RFC 1952 in its header. */
function dressed(content: Uint8Array, extra: number): Buffer {
  const plain = gzipSync(content);
  const head = Buffer.from(plain.subarray(0, 10));
  head[3] = 4 | 8 | 16 | 2;
  const field = Buffer.alloc(2 + extra, 7);
  field.writeUInt16LE(extra, 0);
  const fields = Buffer.concat([head, field, Buffer.from('name\0comment\0')]);
  const check = Buffer.alloc(2);
  check.writeUInt16LE(zlibCrc32(fields) & 0xffff, 0);
  return Buffer.concat([fields, check, plain.subarray(10)]);
}

/** Content of both kinds: what packs well and what does not. */
const content = fc
  .array(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.tuple(fc.nat(255), fc.nat(70_000))), { maxLength: 5 })
  .map((runs) =>
    Buffer.concat(runs.map((r) => (r instanceof Uint8Array ? r : Buffer.alloc(r[1]!, Buffer.from([r[0]!, 1, 2]))))),
  );
const member = fc.record({ content, level: fc.constantFrom(0, 1, 6, 9), extra: fc.option(fc.nat(300)) });

describe('members of gzip files', () => {
  it('are what zlib unpacks, however they are cut into reads', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(member, { minLength: 1, maxLength: 6 }),
        fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constant(1 << 14)),
        async (all, most) => {
          const file = Buffer.concat(
            all.map((m) => (m.extra === null ? gzipSync(m.content, { level: m.level }) : dressed(m.content, m.extra))),
          );
          const wanted = gunzipSync(file);
          expect(Buffer.compare(wanted, Buffer.concat(all.map((m) => m.content)))).toBe(0);
          expect(Buffer.compare(await members(file, most), wanted)).toBe(0);
          expect(Buffer.compare(await unpack(memorySource(file), 'gzip', wanted.length), wanted)).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });
  it('may be thousands', async () => {
    const file = Buffer.concat(Array.from({ length: 20_000 }, (_, i) => gzipSync(i % 2 ? '' : 'ab')));
    expect((await members(file)).length).toBe(20_000);
  });
  it('of a file that is cut, damaged, or goes on with something else are refused', async () => {
    const file = Buffer.concat([
      gzipSync(randomBytes(90)),
      gzipSync('some text, some text, some text'),
      dressed(randomBytes(40), 5),
    ]);
    const whole = gunzipSync(file);
    const starts = [...file.keys()].filter((i) => file[i] === 0x1f && file[i + 1] === 0x8b && file[i + 2] === 8);
    for (let n = 0; n < file.length; n++) {
      if (starts.includes(n) && n > 0) continue;
      await expect(members(file.subarray(0, n)), `cut at ${n}`).rejects.toThrow(
        /^x\.gz: expected whole gzip data, got .*\n.*again\.$/,
      );
    }
    for (const after of [[0], [0, 0, 0, 0, 0, 0, 0, 0], [0x1f, 0x8b], [1, 2, 3, 4], Array(100).fill(9)])
      await expect(members(Buffer.concat([file, Buffer.from(after)])), `${after}`).rejects.toThrow(
        /^x\.gz: expected whole/,
      );
    for (let i = 0; i < file.length; i++) {
      const broken = Buffer.from(file);
      broken[i]! ^= 1 << (i % 8);
      // Headers hold times and names, which change nothing.
      const got = await members(broken).catch((e: Error) => e);
      if (got instanceof Error) expect(got.message, `byte ${i}`).toMatch(/^x\.gz: expected whole gzip data/);
      else expect(Buffer.compare(got, whole), `byte ${i}`).toBe(0);
    }
  });
  it('name the offset of a wrong checksum', async () => {
    const first = gzipSync('abc');
    const file = Buffer.concat([first, gzipSync('def')]);
    file[first.length - 8]! ^= 1;
    await expect(members(file)).rejects.toThrow(`a wrong checksum or size at offset ${first.length - 8}\n`);
    file[first.length - 8]! ^= 1;
    file[file.length - 1]! ^= 1;
    await expect(unpack(memorySource(file, 'x.gz'), 'gzip', 100)).rejects.toThrow(/^x\.gz: expected whole gzip data/);
  });
  it('and whole files take any damage', async () => {
    const file = Buffer.concat([gzipSync(randomBytes(300)), gzipSync(Buffer.alloc(3000, 'abc')), gzipSync('')]);
    await fuzz((b) => members(b), file, 'x.gz');
    await fuzz((b) => unpack(memorySource(b, 'x.gz'), 'gzip', 1e6), file, 'x.gz', {
      cuts: 60,
      flips: 100,
      numbers: 60,
    });
    const zlib = deflateSync(Buffer.alloc(3000, 'abc'));
    await fuzz((b) => unpack(memorySource(b, 'x.gz'), 'deflate', 1e6), zlib, 'x.gz', { flips: 100, numbers: 60 });
  });
});

it('packing is told by the first bytes', () => {
  expect([gzipSync('x'), deflateSync('x'), Buffer.from('x'), Buffer.alloc(0)].map(packingOf)).toEqual([
    'gzip',
    'deflate',
    undefined,
    undefined,
  ]);
});

it('CRC-32 is that of zlib, at once and in parts', () => {
  // Node 20.15 on
  expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
      expect(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut)))).toBe(zlibCrc32(bytes));
    }),
  );
});
