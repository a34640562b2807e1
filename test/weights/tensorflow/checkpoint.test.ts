/** Checkpoints that TensorFlow wrote, and damaged ones. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../src/core/crc32c.ts';
import { formatOf } from '../../../src/weights/import.ts';
import { tensorflowCheckpoint } from '../../../src/weights/tensorflow/checkpoint.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { sourceOf } from '../../helpers/published.ts';
import { bytesOf, floats, models } from './models.ts';

const { index, data, old, tensors } = models.checkpoint;
const files: Record<string, Uint8Array> = {
  'model.ckpt.index': bytesOf(index),
  'model.ckpt.data-00000-of-00001': bytesOf(data),
  'model.ckpt.meta': Uint8Array.of(0x0a, 0),
};
const read = (name = 'model.ckpt.index', changed: Record<string, Uint8Array> = {}) =>
  tensorflowCheckpoint.read(sourceOf({ ...files, ...changed }, name), {});

/** A block's kind and checksum as they should be after a change within it; the first data block begins the file. */
function resealed(bytes: Uint8Array, size: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const crc = crc32c(bytes.subarray(0, size + 1));
  view.setUint32(size + 1, (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0, true);
  return bytes;
}

describe('checkpoints of version 2', () => {
  test('every variable with its numbers; the optimizer, averages and counters left out', async () => {
    const file = await read();
    if (file.kind !== 'state') throw new Error('expected a state');
    for (const [name, expected] of Object.entries(tensors)) {
      const found = file.tensors.get(name);
      expect(found?.shape, name).toEqual(expected.shape);
      expect(Array.from(found!.data), name).toEqual([...floats(expected)]);
    }
    expect(file.tensors.get('net/count')!.dtype).toBe('i32');
    for (let i = 0; i < 300; i++) expect(file.tensors.get(`net/many/unit_${i}/bias`)!.data[0]).toBe(i);
    expect(file.tensors.size).toBe(Object.keys(tensors).length + 300);
    expect(file.notes).toEqual([
      'left out: counters (1)',
      'left out: moving averages (1)',
      "left out: the optimizer's slots (1)",
    ]);
  });

  test('any of its files names it', async () => {
    for (const name of Object.keys(files)) {
      expect((await formatOf(sourceOf(files, name))).name, name).toBe('tensorflow-checkpoint');
      expect((await read(name)).kind, name).toBe('state');
    }
  });

  test('version 1 is refused, and what to do is said', async () => {
    const source = sourceOf({ 'model.ckpt': bytesOf(old) }, 'model.ckpt');
    expect((await formatOf(source)).name).toBe('tensorflow-checkpoint');
    await expect(tensorflowCheckpoint.read(source, {})).rejects.toThrow(
      /^model\.ckpt: expected a TensorFlow checkpoint of version 2, got one of version 1.*\nRestore and save it again/s,
    );
  });

  test('a missing data file, one of another checkpoint, and a changed number', async () => {
    const { 'model.ckpt.index': alone } = files;
    const source = sourceOf({ 'model.ckpt.index': alone! }, 'model.ckpt.index');
    await expect(tensorflowCheckpoint.read(source, {})).rejects.toThrow(
      /expected 'model\.ckpt\.data-00000-of-00001' beside it, but there is no such file/,
    );
    const name = 'model.ckpt.data-00000-of-00001';
    await expect(read(undefined, { [name]: files[name]!.slice(0, 40) })).rejects.toThrow(/which ends at 40\n/);
    const changed = files[name]!.slice();
    changed[100]! ^= 1;
    await expect(read(undefined, { [name]: changed })).rejects.toThrow(
      /the checksum of .* differs in model\.ckpt\.data/,
    );
  });

  test('a compressed index is refused with advice', async () => {
    const bytes = files['model.ckpt.index']!.slice();
    // The index block, which is read first, lies where the footer says.
    const footer = bytes.length - 48;
    let at = footer;
    const varint = () => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = bytes[at++]!;
        value += (byte & 127) * scale;
        if (byte < 128) return value;
      }
    };
    varint();
    varint();
    const [offset, size] = [varint(), varint()];
    bytes[offset + size] = 1;
    await expect(read(undefined, { 'model.ckpt.index': bytes })).rejects.toThrow(
      /got one compressed by snappy\nSave the checkpoint again/,
    );
  });
});

describe('hostile checkpoints', () => {
  test('damaged indexes', async () => {
    const bytes = files['model.ckpt.index']!;
    const result = await fuzz((b) => read(undefined, { 'model.ckpt.index': b }), bytes, 'model.ckpt.index', {
      cuts: 60,
      flips: 150,
      numbers: 150,
    });
    expect(result.read).toBe(0);
  });

  test('entries damaged behind a right checksum', async () => {
    const bytes = files['model.ckpt.index']!;
    // The first block ends with its restarts; its size is where kind and checksum fit.
    let size = 0;
    for (let n = 8; n < bytes.length - 53 && !size; n++) {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const crc = crc32c(bytes.subarray(0, n + 1));
      if (view.getUint32(n + 1, true) === (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0) size = n;
    }
    expect(size).toBeGreaterThan(0);
    const block = bytes.slice(0, size);
    const result = await fuzz(
      (b) => {
        const whole = bytes.slice();
        whole.set(b);
        return read(undefined, { 'model.ckpt.index': resealed(whole, size) });
      },
      block,
      'model.ckpt.index',
      { cuts: 0, flips: 100, numbers: 100 },
    );
    expect(result.refused).toBeGreaterThan(50);
  });

  test('an index that names a block, or a byte of the data, more than once', async () => {
    // A table of one block, and an index block that names it so often.
    const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))]);
    const entry = (key: string, value: readonly number[]) => [
      0,
      key.length,
      ...varint(value.length),
      ...new TextEncoder().encode(key),
      ...value,
    ];
    const block = (entries: readonly number[][]) => {
      const bytes = Uint8Array.from([...entries.flat(), 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
      return resealed(bytes, bytes.length - 5);
    };
    const table = (entries: readonly number[][], times: number) => {
      const data = block(entries);
      const handle = [0, ...varint(data.length - 5)];
      const list = block(Array.from({ length: times }, (_, i) => entry(String(i).padStart(3, '0'), handle)));
      const footer = [0, 0, ...varint(data.length), ...varint(list.length - 5)];
      const magic = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
      return Uint8Array.from([...data, ...list, ...footer, ...Array(40 - footer.length).fill(0), ...magic]);
    };
    const data = Uint8Array.of(0, 0, 0x80, 0x3f);
    const crc = crc32c(data);
    const masked = new Uint8Array(Uint32Array.of((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0).buffer);
    // DT_FLOAT, shape [1], 4 bytes.
    const variable = [8, 1, 18, 4, 18, 2, 8, 1, 40, 4, 53, ...masked];
    const first = [...entry('', [8, 1])];
    const from = (index: Uint8Array) =>
      read('model.ckpt.index', { 'model.ckpt.index': index, 'model.ckpt.data-00000-of-00001': data });
    const good = await from(table([first, entry('a', variable)], 1));
    expect(good.kind === 'state' && [...good.tensors.values()][0]!.data).toEqual(Float32Array.of(1));
    await expect(from(table([first, entry('a', variable)], 2))).rejects.toThrow(/the block at 0 begins before the end/);
    await expect(from(table([first, entry('a', variable), entry('b', variable)], 1))).rejects.toThrow(
      /its variables share bytes of model\.ckpt\.data/,
    );
  });

  test('a source that is an object of a class', async () => {
    class Folder {
      readonly name = 'model.ckpt.meta';
      async bytes() {
        return files[this.name]!;
      }
      async beside(name: string) {
        return files[name];
      }
    }
    expect((await tensorflowCheckpoint.read(new Folder(), {})).kind).toBe('state');
  });
});
