/** Packed files that are damaged, hostile, huge or from the future. */
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/core/crc32c.ts';
import { DataError } from '../../../src/core/errors.ts';
import { type ByteSource, checkRange, memorySink, memorySource } from '../../../src/data/bytes.ts';
import type { NewImage } from '../../../src/data/formats/format.ts';
import { packedDamage, packedDataset } from '../../../src/data/formats/packed.ts';
import { packedState, packedWriter } from '../../../src/data/formats/packedWriter.ts';
import { imageBytes } from '../../../src/data/source.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { jointsOf, pack, readAll, reseal } from '../../helpers/packedFiles.ts';

const image = (k: number): NewImage => ({
  name: `person ${k % 3}/${k}`,
  label: (k % 4) - 1,
  identity: k % 4 === 0 ? '' : `person ${k % 3}`,
  bytes: new Uint8Array(12 + 5 * (k % 2)).fill(k + 1),
  ...(k % 2 === 0 && { raw: { width: 1, height: 4 } }),
  ...(k === 3 && { landmarks: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] }),
});
const images = Array.from({ length: 6 }, (_, k) => image(k));
const pairs = {
  folds: 2,
  left: Int32Array.of(0, 1),
  right: Int32Array.of(4, 5),
  same: Uint8Array.of(1, 0),
  fold: Int32Array.of(0, 1),
};
const make = () => pack({ images, pairs }, { shardImages: 2, metadata: { source: 'x' } });

describe('damage', () => {
  it('of any bit is found, and of the right image', async () => {
    const file = await make();
    const { shards, directory } = jointsOf(file);
    const set = await packedDataset(file, { name: 'x.faces' });
    const data = Array.from({ length: set.length }, (_, i) => (set.source(i) as { pieces?: number[] }).pieces!);
    for (let at = 0; at < file.length; at++) {
      const bad = file.slice();
      bad[at] = bad[at]! ^ (1 << (at % 8));
      if (at < 8) {
        await expect(packedDamage(bad, { name: 'x.faces' })).rejects.toThrow(/^x\.faces: expected a facegrad packed/);
        continue;
      }
      const found = await packedDamage(bad, { name: 'x.faces' });
      const i = data.findIndex(([from, length]) => at >= from! && at < from! + length!);
      const k = shards.findIndex((s) => at >= s.at && at < s.end);
      const [where, size] = data[i] ?? [0, 0];
      const expected =
        at < 64
          ? { what: 'header', at: 0, bytes: 64 }
          : i >= 0
            ? { what: 'image', at: where, bytes: size, image: i, name: images[i]!.name }
            : k >= 0
              ? { what: 'shard', at: shards[k]!.at, bytes: shards[k]!.end - shards[k]!.at, image: 2 * k }
              : { what: 'end' };
      expect(found, `bit at ${at}`).toMatchObject([expected]);
      if (at < directory) continue;
      const { set: rest, images: all } = await readAll(bad);
      expect([rest.note !== undefined, all.length]).toEqual([true, 6]);
    }
  });
  it('of an index names the shard and what to do, and that is true', async () => {
    const file = await make();
    const second = jointsOf(file).shards[1]!;
    const bad = file.slice();
    bad[second.at + 70]! ^= 1;
    await expect(packedDataset(bad, { name: 'x.faces' })).rejects.toThrow(
      new RegExp(
        `^x\\.faces: at offset ${second.at}, expected an index with checksum .*, got .*\n.*Cut off at ${second.at}`,
      ),
    );
    expect((await readAll(bad.slice(0, second.at))).images).toHaveLength(2);
    // Without its footer too, what is before the damage is read.
    const { set } = await readAll(bad.slice(0, -40));
    expect([set.length, set.note?.includes(`the last ${file.length - 40 - second.at} bytes`)]).toEqual([2, true]);
  });
  it('of several images is told of each', async () => {
    const file = await make();
    const { shards } = jointsOf(file);
    file[shards[0]!.dataAt] = 99;
    file[shards[0]!.dataAt + 12] = 99;
    file[shards[2]!.dataAt + 12] = 99;
    const done: number[] = [];
    const found = await packedDamage(file, { onProgress: (bytes) => done.push(bytes) });
    expect(found.map((d) => d.image)).toEqual([0, 1, 5]);
    expect(done).toEqual(shards.map((s) => s.end));
  });
  it('never does harm', async () => {
    const file = await make();
    const read = async (bytes: Uint8Array) => {
      await packedDamage(bytes, { name: 'x.faces' });
      await packedState(memorySource(bytes, 'x.faces'));
      await readAll(bytes);
    };
    const { refused } = await fuzz(read, file, 'x.faces', { cuts: file.length });
    expect(refused).toBeGreaterThan(50);
  });
  it('made with care, so that checksums fit, does no harm either', async () => {
    const file = await make();
    const joints = jointsOf(file);
    const read = async (bytes: Uint8Array) => {
      reseal(bytes, joints);
      await packedDamage(bytes, { name: 'x.faces' });
      await packedState(memorySource(bytes, 'x.faces'));
      await readAll(bytes);
    };
    const { read: good, refused } = await fuzz(read, file, 'x.faces', { cuts: 20, flips: 1500, numbers: 3000 });
    expect([good > 100, refused > 100]).toEqual([true, true]);
  });
});

describe('versions', () => {
  const changed = async (at: number, value: number) => {
    const file = await make();
    file[at] = value;
    return reseal(file, jointsOf(file));
  };
  it('a newer major version or an unknown feature is refused, a newer minor one read', async () => {
    for (const [at, value] of [
      [8, 2],
      [12, 1],
    ] as const) {
      const file = await changed(at, value);
      await expect(packedDataset(file, { name: 'x' })).rejects.toThrow(/^x: expected packed format 1 .*\n.*update/);
      await expect(packedDamage(file)).rejects.toThrow(DataError);
    }
    expect((await readAll(await changed(10, 3))).images).toHaveLength(6);
  });
  it('unknown flags of a shard are refused', async () => {
    await expect(readAll(await changed(64 + 24, 2))).rejects.toThrow(/flags known here, got 2/);
  });
});

/** A source of given pieces with zeros between. */
function sparse(size: number, pieces: readonly (readonly [at: number, bytes: Uint8Array])[]): ByteSource {
  return {
    name: 'far.faces',
    size,
    container: 'far.faces',
    async read(at, length) {
      checkRange(this, at, length);
      const out = new Uint8Array(length);
      for (const [from, bytes] of pieces) {
        const [a, b] = [Math.max(at, from), Math.min(at + length, from + bytes.length)];
        if (a < b) out.set(bytes.subarray(a - from, b - from), a - at);
      }
      return out;
    },
    async close() {},
  };
}

it('offsets beyond 4 GiB', async () => {
  const file = await pack(
    { images: [0, 1, 2].map((k) => ({ ...image(2 * k + 1), landmarks: undefined })) },
    { shardImages: 1 },
  );
  const { shards, directory } = jointsOf(file);
  // The first two images become as large as can be.
  const huge = 2 ** 32 - 64;
  const pieces: [number, Uint8Array][] = [[0, file.slice(0, 64)]];
  let at = 64;
  const starts = shards.map((s, k) => {
    const part = file.slice(s.at, k < 2 ? s.dataAt : s.end);
    const tables = s.dataAt - s.at;
    const v = new DataView(part.buffer);
    if (k < 2) {
      v.setBigUint64(8, BigInt(tables + huge), true);
      v.setUint32(64, huge, true);
      v.setUint32(48, crc32c(part.subarray(64)), true);
      v.setUint32(60, crc32c(part.subarray(0, 60)), true);
    }
    const start = at;
    pieces.push([start, part]);
    at += k < 2 ? tables + huge : part.length;
    return start;
  });
  const tail = file.slice(directory);
  const t = new DataView(tail.buffer);
  starts.forEach((start, k) => {
    t.setBigUint64(64 + 16 * k, BigInt(start), true);
  });
  t.setUint32(56, crc32c(tail.subarray(64, -32)), true);
  t.setUint32(60, crc32c(tail.subarray(0, 60)), true);
  t.setBigUint64(tail.length - 32, BigInt(at), true);
  t.setUint32(tail.length - 12, crc32c(tail.subarray(-32, -12)), true);
  pieces.push([at, tail]);

  const whole = sparse(at + tail.length, pieces);
  expect(whole.size).toBeGreaterThan(2 ** 33);
  const cut = sparse(at, pieces);
  for (const source of [whole, cut]) {
    const set = await packedDataset(source);
    expect([set.length, set.note === undefined]).toEqual([3, source === whole]);
    expect(set.source(1)).toMatchObject({ pieces: [starts[1]! + shards[1]!.dataAt - shards[1]!.at, huge] });
    expect(await imageBytes(set.source(2), async () => source)).toEqual({ bytes: image(5).bytes });
  }
  // The writer that goes on there writes this very end.
  const state = (await packedState(cut))!;
  expect(state.end).toBe(at);
  const sink = memorySink();
  const writer = await packedWriter(sink, { resume: state });
  await writer.finish({ identities: [] });
  expect(Buffer.compare(sink.bytes(), tail)).toBe(0);
});

it('opens 100,000 images in 16 bytes an image and their names', async () => {
  const count = 100_000;
  const sink = memorySink();
  const writer = await packedWriter(sink);
  const pixel = { bytes: Uint8Array.of(1, 2, 3), raw: { width: 1, height: 1 } };
  const name = (i: number) => `m.0${i >> 4}/${i}.jpg`;
  let named = 0;
  for (let i = 0; i < count; i++) {
    named += name(i).length;
    await writer.add({ name: name(i), label: i >> 4, identity: `m.0${i >> 4}`, ...pixel });
  }
  await writer.finish({ identities: [] });
  const source = memorySource(sink.bytes());
  const used = () => {
    globalThis.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const before = used();
  const set = await packedDataset(source);
  // 6,250 identities take their names and an offset each; 1 MB is for what else the process does.
  expect(used() - before).toBeLessThan(16 * count + named + 6250 * 16 + 1e6);
  expect([set.length, set.classes, set.imageName(99_999), set.identityName(6249)]).toEqual([
    count,
    6250,
    'm.06249/99999.jpg',
    'm.06249',
  ]);
});
