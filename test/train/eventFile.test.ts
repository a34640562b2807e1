/**
 * Event files: the bytes that TensorBoard's own writer writes (test/reference/eventFile.py), what a plain reading of them
 * finds, kills and restarts, and TensorFlow's histogram buckets.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { fold, keyOf, normal, threefry, uniform } from '../../src/core/random.ts';
import { memorySource } from '../../src/data/bytes.ts';
import { readRecords } from '../../src/data/formats/tfrecord.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { EventFile } from '../../src/train/eventFile.ts';
import { histogramOf } from '../../src/train/histogram.ts';
import { picture } from '../helpers/pictures.ts';

const golden = JSON.parse(readFileSync(new URL('../reference/eventFile.json', import.meta.url), 'utf8')) as {
  file: string;
  png: string;
};
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'facegrad-events-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

/** A message's fields by number, read by hand: numbers of 4 and 8 bytes as they are, bytes, varints. */
function walk(message: Uint8Array): Record<number, (number | Uint8Array)[]> {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const found: Record<number, (number | Uint8Array)[]> = {};
  let at = 0;
  const varint = () => {
    for (let n = 0, scale = 1; ; scale *= 128) {
      const byte = view.getUint8(at++);
      n += (byte & 127) * scale;
      if (byte < 128) return n;
    }
  };
  while (at < message.length) {
    const tag = varint();
    let value: number | Uint8Array;
    if (tag % 8 === 0) value = varint();
    else if (tag % 8 === 1) {
      value = view.getFloat64(at, true);
      at += 8;
    } else if (tag % 8 === 5) {
      value = view.getFloat32(at, true);
      at += 4;
    } else {
      expect(tag % 8).toBe(2);
      const length = varint();
      expect(at + length).toBeLessThanOrEqual(message.length);
      value = message.subarray(at, at + length);
      at += length;
    }
    found[tag >> 3] ??= [];
    found[tag >> 3]!.push(value);
  }
  return found;
}
const one = (message: Uint8Array | number | undefined, ...path: number[]): number | Uint8Array | undefined =>
  path.reduce<number | Uint8Array | undefined>((m, field) => walk(m as Uint8Array)[field]?.[0], message);
const text = (bytes: unknown) => (bytes === undefined ? undefined : Buffer.from(bytes as Uint8Array).toString());
const doubles = (bytes: unknown) => [...new Float64Array(Uint8Array.from(bytes as Uint8Array).buffer)];

/** The events of a file up to where it is cut. */
async function eventsOf(path: string): Promise<{ events: Uint8Array[]; whole: boolean }> {
  const events: Uint8Array[] = [];
  try {
    for await (const { data } of readRecords(memorySource(readFileSync(path)))) events.push(data);
  } catch (error) {
    expect(error).toBeInstanceOf(DataError);
    return { events, whole: false };
  }
  return { events, whole: true };
}
const tagsOf = (events: readonly Uint8Array[]) =>
  events.flatMap((e) => (walk(e)[5] ? [`${text(one(e, 5, 1, 1))} ${one(e, 2) ?? 0}`] : []));

describe('an event file', () => {
  it('is the bytes of TensorBoard’s writer', async () => {
    let now = 1_700_000_000_000;
    vi.spyOn(Date, 'now').mockImplementation(() => {
      now += 250;
      return now - 250;
    });
    // The name takes the time once.
    now -= 250;
    const events = await EventFile.open(folder, { fromStep: 42 });
    events.scalar('loss', 12.34, 50);
    events.scalar('accuracy/lfw', 0, 50);
    events.scalar('loss', Number.NaN, 60);
    events.scalar('loss', 1e39, 2 ** 40);
    events.histogram(
      'scaled',
      uniform(fold(keyOf(1), 'scaled'), 1000).map((x) => Math.fround(x - 0.5) / 8),
      60,
    );
    const bits = Uint32Array.from({ length: 300 }, (_, i) => threefry(fold(keyOf(1), 'bits'), i, 0)[0]);
    events.histogram('bits', new Float32Array(bits.buffer), 60);
    events.histogram('same', new Float32Array(7).fill(0.25), 60);
    events.histogram('zeros', new Float32Array(3), 60);
    events.image('samples/batch', Buffer.from(golden.png, 'base64'), 60);
    await events.close();
    const want = memorySource(Buffer.from(golden.file, 'base64'));
    const { events: got } = await eventsOf(events.path);
    let i = 0;
    for await (const { data } of readRecords(want)) expect(walk(got[i]!), `event ${i++}`).toEqual(walk(data));
    expect(readFileSync(events.path).toString('base64')).toBe(golden.file);
  });
  it('holds what was told, in order, at the time it was told', async () => {
    const before = Date.now() / 1000;
    const events = await EventFile.open(join(folder, 'runs', 'a'));
    const values = normal(keyOf(5), 1000);
    const shown = picture(1, 1, 20);
    events.scalar('loss', 0.1, 1);
    events.histogram('w', values, 1);
    events.image('sheet', shown, 2);
    await events.close();
    const { events: all, whole } = await eventsOf(events.path);
    expect(whole).toBe(true);
    expect(tagsOf(all)).toEqual(['loss 1', 'w 1', 'sheet 2']);
    expect(text(one(all[0], 3))).toBe('brain.Event:2');
    expect([one(all[1], 7, 1), one(all[1], 2)]).toEqual([1, undefined]);
    expect(one(all[2], 5, 1, 2)).toBe(Math.fround(0.1));
    expect(text(one(all[2], 5, 1, 9, 1, 1))).toBe('scalars');
    const [min, max, num, sum, squares] = [1, 2, 3, 4, 5].map((f) => one(all[3], 5, 1, 5, f));
    expect([min, max, num]).toEqual([Math.min(...values), Math.max(...values), 1000]);
    expect(sum).toBe(values.reduce((s, v) => s + v, 0));
    expect(squares).toBe(values.reduce((s, v) => s + v * v, 0));
    expect(doubles(one(all[3], 5, 1, 5, 7)).reduce((s, n) => s + n, 0)).toBe(1000);
    const image = one(all[4], 5, 1, 4);
    expect([1, 2, 3].map((f) => one(image, f))).toEqual([20, 20, 3]);
    expect(decodeImage(one(image, 4) as Uint8Array, 'sheet')).toMatchObject({
      width: 20,
      height: 20,
      data: shown.data,
    });
    const times = all.map((e) => one(e, 1) as number);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times[0]).toBeGreaterThanOrEqual(before);
    expect(times.at(-1)).toBeLessThanOrEqual(Date.now() / 1000);
  });
  it('is whole after every call, and read up to the cut after a kill', async () => {
    const events = await EventFile.open(folder);
    events.scalar('loss', 1, 1);
    expect((await eventsOf(events.path)).events).toHaveLength(3);
    events.histogram('w', normal(keyOf(1), 100), 1);
    const full = readFileSync(events.path);
    expect(tagsOf((await eventsOf(events.path)).events)).toEqual(['loss 1', 'w 1']);
    await events.close();
    truncateSync(events.path, full.length - 7);
    const { events: left, whole } = await eventsOf(events.path);
    expect([tagsOf(left), whole]).toEqual([['loss 1'], false]);
  });
  it('of a resumed run is read after the killed one’s, and voids what lies past the checkpoint', async () => {
    // A clock that went backwards, and two runs within a second.
    writeFileSync(join(folder, 'events.out.tfevents.4000000000.elsewhere'), '');
    const paths: string[] = [];
    for (const fromStep of [0, 7, 7]) {
      const events = await EventFile.open(folder, { fromStep });
      paths.push(events.path);
      await events.close();
      const { events: all } = await eventsOf(events.path);
      // Events of the START's step are void too: step 7 is to stay.
      expect([one(all[1], 7, 1), one(all[1], 2) ?? 0]).toEqual([1, fromStep === 0 ? 0 : 8]);
    }
    const names = readdirSync(folder).sort();
    expect(names.slice(1).map((name) => join(folder, name))).toEqual(paths);
    expect(names[1]).toMatch(/^events\.out\.tfevents\.4000000001\./);
  });
  it('takes numbers that are not finite', async () => {
    const events = await EventFile.open(folder);
    events.scalar('a', Number.NEGATIVE_INFINITY, 1);
    events.histogram('none', Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY), 1);
    events.histogram('empty', new Float32Array(0), 1);
    events.histogram('some', Float32Array.of(Number.NaN, 3, Number.NEGATIVE_INFINITY, -4), 1);
    await events.close();
    const { events: all } = await eventsOf(events.path);
    expect(tagsOf(all)).toEqual(['a 1', 'some 1']);
    expect(one(all[2], 5, 1, 2)).toBe(Number.NEGATIVE_INFINITY);
    expect([1, 2, 3, 4, 5].map((f) => one(all[3], 5, 1, 5, f))).toEqual([-4, 3, 2, -1, 25]);
  });
  it('says what is wrong', async () => {
    const events = await EventFile.open(folder);
    expect(() => events.image('x', Uint8Array.of(1, 2, 3), 1)).toThrow(DataError);
    await events.close();
    await events.close();
    expect(() => events.scalar('x', 1, 1)).toThrow(UsageError);
    await expect(EventFile.open(events.path)).rejects.toThrow(DataError);
  });
});

describe('histogramOf', () => {
  it('finds the bucket of every value around every limit', () => {
    // The limits as TensorFlow's source makes them, and the three floats at each.
    const positive: number[] = [];
    for (let v = 1e-12; v < 1e20; v *= 1.1) positive.push(v);
    const limits = [...positive.map((v) => -v).reverse(), 0, ...positive];
    const values = new Float32Array(3 * limits.length);
    const bits = new Int32Array(values.buffer);
    limits.forEach((limit, i) => {
      values.fill(limit, 3 * i, 3 * i + 3);
      bits[3 * i]! -= 1;
      bits[3 * i + 2]! += 1;
    });
    // Beside zero: the smallest numbers of both signs.
    const zero = 3 * positive.length;
    values.set([-0, 0, 2 ** -149], zero);
    for (const value of [...values, ...Float32Array.of(-(2 ** -149), 3e38, -3e38)]) {
      const { limits: found, counts, min, max } = histogramOf(Float32Array.of(value))!;
      const want = limits.find((limit) => limit > value) ?? Number.MAX_VALUE;
      expect([found, counts, min, max]).toEqual([[want], [1], value, value]);
    }
  });
  it('counts each value once, and makes runs of empty buckets one', () => {
    const { limits, counts, num } = histogramOf(Float32Array.of(1, 1, -5, 1000))!;
    expect(num).toBe(4);
    expect(counts).toEqual([1, 0, 2, 0, 1]);
    expect(limits).toEqual([...limits].sort((a, b) => a - b));
    // The empty ones lie between the lower limit of a value's bucket and the upper one of the value before.
    expect(limits[1]! <= 1 && limits[2]! > 1 && limits[2]! / limits[1]! < 1.1001).toBe(true);
  });
});
