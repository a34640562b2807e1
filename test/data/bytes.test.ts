import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { crc32c } from '../../src/core/crc32c.ts';
import { DataError } from '../../src/core/errors.ts';
import { type ByteSink, type ByteSource, blobSource, memorySink, memorySource, Scan } from '../../src/data/bytes.ts';
import { fileSink, fileSource } from '../../src/data/files.ts';
import { safePath } from '../../src/data/pathName.ts';
import { createPool } from '../../src/data/pool.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'facegrad-bytes-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const content = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7) ^ (i >> 3));
const sources: Record<string, () => Promise<ByteSource>> = {
  memory: async () => memorySource(content, 'x'),
  blob: async () => blobSource(new Blob([content]), 'x'),
  file: async () => {
    writeFileSync(join(folder, 'x'), content);
    return fileSource(join(folder, 'x'));
  },
};

describe.each(Object.keys(sources))('byte source: %s', (kind) => {
  it('gives ranges, and a DataError with name and offset past the end', async () => {
    const source = await sources[kind]!();
    expect(source.size).toBe(3000);
    expect(await source.read(100, 50)).toEqual(content.slice(100, 150));
    expect(await source.read(3000, 0)).toHaveLength(0);
    for (const [at, n] of [
      [2990, 11],
      [3001, 0],
      [-1, 2],
      [0, 2 ** 53],
      [0.5, 1],
    ] as const)
      await expect(source.read(at, n)).rejects.toThrow(/x: expected .* bytes at offset .*, but it ends at 3000/);
    await source.close();
  });
  it('scans forward whatever the block size', async () => {
    const source = await sources[kind]!();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.boolean(), fc.nat(200)), { maxLength: 30 }),
        fc.integer({ min: 1, max: 500 }),
        async (moves, block) => {
          const scan = new Scan(source, 0, block);
          let at = 0;
          for (const [skips, n] of moves) {
            if (at + n > 3000) {
              if (skips) expect(() => scan.skip(n)).toThrow(DataError);
              else await expect(scan.take(n)).rejects.toThrow(DataError);
              continue;
            }
            if (skips) scan.skip(n);
            else expect(await scan.take(n)).toEqual(content.slice(at, at + n));
            at += n;
            expect([scan.at, scan.left]).toEqual([at, 3000 - at]);
          }
        },
      ),
      { numRuns: 60 },
    );
    await source.close();
  });
});

describe('byte sinks', () => {
  const run = async (sink: ByteSink) => {
    await sink.write(content);
    await sink.write(new Uint8Array(0));
    await sink.write(new Uint8Array(3 << 20).fill(9));
    await sink.patch(2, Uint8Array.of(1, 2, 3));
    await sink.write(Uint8Array.of(7));
    expect(sink.size).toBe(3000 + (3 << 20) + 1);
    await sink.flush();
    await expect(sink.patch(sink.size - 1, Uint8Array.of(1, 2))).rejects.toThrow(DataError);
    await sink.close();
  };
  it('a file holds what memory holds, and goes on where it was cut', async () => {
    const memory = memorySink();
    const path = join(folder, 'sink');
    await run(memory);
    await run(await fileSink(path));
    expect(Buffer.compare(readFileSync(path), memory.bytes())).toBe(0);
    const again = await fileSink(path, 5);
    await again.write(Uint8Array.of(42));
    expect(again.size).toBe(6);
    await again.close();
    expect([...readFileSync(path)]).toEqual([...memory.bytes().slice(0, 5), 42]);
  });
  it('say which file cannot be written', async () => {
    await expect(fileSink(join(folder, 'no', 'x'))).rejects.toThrow(/no.x: expected to write this file, got ENOENT/);
    await expect(fileSource(folder)).rejects.toThrow(/expected a readable file, got a folder/);
  });
});

describe('crc32c', () => {
  it("gives the check value of its definition and RFC 3720's examples", () => {
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
  });
  it('goes on from the bytes before', () => {
    for (const cut of [0, 1, 7, 8, 9, 1500, 3000])
      expect(crc32c(content.subarray(cut), crc32c(content.subarray(0, cut)))).toBe(crc32c(content));
  });
});

describe('safePath', () => {
  it('keeps names that stay inside', () => {
    expect(safePath('a/b c/ü_0001.jpg', 'x')).toBe('a/b c/ü_0001.jpg');
    expect(safePath('a\\b.jpg', 'x')).toBe('a/b.jpg');
  });
  it('refuses what leads out, or no file system takes', () => {
    for (const bad of [
      '../x',
      'a/../../x',
      '/etc/passwd',
      'C:\\x',
      '\\\\host\\x',
      '',
      'a/..',
      'C:evil.png',
      'a/.',
      'a\0b',
      'a/..',
      'C:evil.png',
      'x'.repeat(300),
      '日'.repeat(81),
    ])
      for (const windows of [false, true])
        expect(() => safePath(bad, 'set.rec', windows), bad).toThrow(
          /^set\.rec: expected a name that stays inside its folder/,
        );
  });
  it('refuses what Windows does not take there alone', () => {
    for (const name of ['con', 'NUL.jpg', 'Robert_Downey_Jr./1.jpg', 'a ', '.. ', 'a?b', 'x"y', '...']) {
      expect(safePath(name, 'x', false)).toBe(name);
      expect(() => safePath(name, 'set.rec', true), name).toThrow(/^set\.rec: expected a name that Windows takes/);
    }
  });
});

describe('worker threads', () => {
  it('are refused by the thousand', () => {
    for (const n of [-1, 1.5, 65, 1000])
      expect(() => createPool(n), String(n)).toThrow(/workers: expected a whole number from 0 to 64, got/);
  });
});
