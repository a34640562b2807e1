/**
 * PyTorch's files: numbers as PyTorch reads them from every container; whole modules as data; hostile and damaged files
 * refused, with nothing executed and nothing large allocated.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readNpz } from '../../src/weights/npz.ts';
import { readTorch, torchFormat } from '../../src/weights/torch.ts';
import { writeZip } from '../../src/weights/zip.ts';
import { fuzz } from '../helpers/fuzz.ts';

interface File {
  readonly base64: string;
  readonly expected: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly values: readonly number[] }>
  >;
  readonly notes: readonly string[];
}
const reference: Readonly<Record<string, File>> = JSON.parse(
  readFileSync(new URL('../reference/torchFiles.json', import.meta.url), 'utf8'),
);
const bytesOf = (name: string) => new Uint8Array(Buffer.from(reference[name]!.base64, 'base64'));

describe('files that PyTorch wrote', () => {
  it.each(Object.keys(reference))('%s', async (name) => {
    const { expected, notes } = reference[name]!;
    const bytes = bytesOf(name);
    expect(torchFormat.looksLike(bytes.subarray(0, 4096), 'x')).toBe(true);
    const read = await readTorch(bytes, name);
    expect([...read.tensors.keys()]).toEqual(Object.keys(expected));
    for (const [key, { shape, values }] of Object.entries(expected)) {
      const tensor = read.tensors.get(key)!;
      expect(tensor.shape, key).toEqual(shape);
      // As float32 holds them: doubles are rounded.
      expect([...tensor.data], key).toEqual(values.map((v) => (tensor.dtype === 'f32' ? Math.fround(v) : v)));
    }
    for (const note of notes) expect(read.notes).toContain(note);
    expect(read.convention).toBe('pytorch');
  });
  it('element types', async () => {
    const { tensors } = await readTorch(bytesOf('kinds_zip'), 'x');
    const types = Object.fromEntries([...tensors].map(([k, t]) => [k, t.dtype]));
    expect(types).toMatchObject({
      double: 'f32',
      half: 'f32',
      bfloat16: 'f32',
      long: 'i32',
      short: 'i32',
      byte: 'u8',
      bool: 'bool',
    });
    // Tied weights stay one tensor.
    expect(tensors.get('tied.a')).toBe(tensors.get('tied.b'));
    expect(tensors.get('tied.a')!.data).not.toBe(tensors.get('permuted')!.data);
  });
  it('one of several states is chosen by its path', async () => {
    const bytes = bytesOf('checkpoint');
    const [model, ema] = [await readTorch(bytes, 'x'), await readTorch(bytes, 'x', { state: 'ema' })];
    expect(ema.tensors.get('fc.bias')!.data).not.toEqual(model.tensors.get('fc.bias')!.data);
    await expect(readTorch(bytes, 'x', { state: 'teacher' })).rejects.toThrow(
      /^x: expected a state 'teacher', but it holds model, ema\n/,
    );
  });
});

const shared = new URL('../../../shared/data/formats/torch/', import.meta.url);
const present = existsSync(shared);
if (!present) console.log(`skipped: no files of PyTorch under ${shared.pathname}`);
describe.runIf(present)('files of the field', () => {
  const names = present ? readdirSync(shared).filter((n) => n.endsWith('.pth')) : [];
  it.each(names)('%s', async (name) => {
    const file = (n: string) => new Uint8Array(readFileSync(new URL(n, shared)));
    const beside = name.startsWith('views') ? 'views.npz' : name.includes('half') ? 'small_half.npz' : 'small.npz';
    const expected = await readNpz(file(beside), beside);
    const { tensors } = await readTorch(file(name), name);
    expect(new Set(tensors.keys())).toEqual(new Set(expected.keys()));
    for (const [key, want] of expected) {
      const { shape, data, dtype } = tensors.get(key)!;
      expect({ shape, data, dtype }, key).toEqual({ shape: want.shape, data: want.data, dtype: want.dtype });
    }
  });
});

// Pickles put together by opcode: text as BINUNICODE, ints as INT, tuples by MARK.
const text = (s: string) => `X${String.fromCharCode(s.length & 255, s.length >> 8, 0, 0)}${s}`;
const int = (n: number) => `I${n}\n`;
const tuple = (...parts: string[]) => `(${parts.join('')}t`;
const global = (module: string, name: string) => `c${module}\n${name}\n`;
const dict = (entries: Readonly<Record<string, string>>) =>
  `}(${Object.entries(entries)
    .map(([k, v]) => text(k) + v)
    .join('')}u`;
const storage = (key: string, count: number, type = 'FloatStorage') =>
  `${tuple(text('storage'), global('torch', type), text(key), text('cpu'), int(count))}Q`;
const tensor = (shape: number[], strides: number[], { offset = 0, count = 6, key = '0', type = 'FloatStorage' } = {}) =>
  `${global('torch._utils', '_rebuild_tensor_v2')}${tuple(storage(key, count, type), int(offset), tuple(...shape.map(int)), tuple(...strides.map(int)), 'I00\n', '}')}R`;
const code = (s: string) => Uint8Array.from(s, (c) => c.charCodeAt(0));

/** A zip archive of torch.save around a pickle. */
async function archive(pickle: string, files: Readonly<Record<string, Uint8Array>> = {}, compress = false) {
  const parts: Uint8Array[] = [];
  await writeZip(
    { write: async (b) => void parts.push(b.slice()) },
    Object.entries({ 'a/data.pkl': code(`\x80\x02${pickle}.`), ...files }),
    { compress },
  );
  return new Uint8Array(Buffer.concat(parts));
}
/** The older stream around a pickle. */
const stream = (pickle: string, keys: readonly string[] = [], numbers: Uint8Array = new Uint8Array(0)) =>
  Uint8Array.from(
    Buffer.concat([
      Uint8Array.of(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e),
      code(`\x80\x02M\xe9\x03.\x80\x02}.\x80\x02${pickle}.\x80\x02](${keys.map(text).join('')}e.`),
      numbers,
    ]),
  );
const six = { 'a/data/0': new Uint8Array(new Float32Array([1, 2, 3, 4, 5, 6]).buffer) };

describe('hostile files', () => {
  it('the pickles made here are read where nothing is wrong', async () => {
    const { tensors } = await readTorch(await archive(dict({ w: tensor([2, 3], [3, 1]) }), six), 'x');
    expect([...tensors.get('w')!.data]).toEqual([1, 2, 3, 4, 5, 6]);
    const count = new Uint8Array(new BigInt64Array([6n]).buffer);
    const numbers = Uint8Array.from([...count, ...six['a/data/0']]);
    const old = stream(dict({ w: `${tensor([3, 2], [1, 3])}` }).replace('I6\n', 'I6\nN'), ['0'], numbers);
    expect([...(await readTorch(old, 'x')).tensors.get('w')!.data]).toEqual([1, 4, 2, 5, 3, 6]);
  });
  const call = (module: string, name: string) => `${global(module, name)}${tuple(text('echo hacked'))}R`;
  it.each([
    ['os', 'system'],
    ['posix', 'system'],
    ['builtins', 'eval'],
    ['__builtin__', 'exec'],
    ['subprocess', 'Popen'],
    ['torch.hub', 'load'],
    ['torch', 'load'],
    ['builtins', 'getattr'],
  ])('%s.%s is not called', async (module, name) => {
    const refused = new RegExp(
      `^x.*: pickle at offset \\d+: expected a function that may be called, got the global ${module}\\.${name}\n.*nothing was run`,
    );
    for (const pickle of [
      call(module, name),
      dict({ w: call(module, name) }),
      dict({ w: tensor([2], [1]), v: call(module, name) }),
    ]) {
      await expect(readTorch(await archive(pickle, six), 'x')).rejects.toThrow(refused);
      await expect(readTorch(stream(pickle), 'x')).rejects.toThrow(refused);
    }
    // Named, made an instance of or given a state, it stays a name.
    for (const pickle of [
      global(module, name),
      `${global(module, name)}${tuple(text('echo'))}\x81`,
      `${global(module, name)})\x81}b`,
    ])
      await expect(readTorch(await archive(pickle), 'x')).rejects.toThrow(/^x: expected tensors by name, got/);
  });
  it.each<[string, string, RegExp]>([
    ['a view past the storage', tensor([2, 3], [3, 2]), /reaches element 7 of a storage of 6/],
    ['an offset past the storage', tensor([2], [1], { offset: 5 }), /reaches element 6 of a storage of 6/],
    ['a stride past the storage', tensor([2], [2 ** 40]), /reaches element/],
    ['sizes below 0', tensor([-2, -3], [3, 1]), /whole numbers of at least 0/],
    ['strides below 0', tensor([2, 3], [-3, 1]), /whole numbers of at least 0/],
    ['an offset below 0', tensor([2], [1], { offset: -1 }), /whole numbers of at least 0/],
    ['more sizes than strides', tensor([2, 3], [1]), /whole numbers of at least 0/],
    ['65 axes', tensor(new Array(65).fill(1), new Array(65).fill(1)), /whole numbers of at least 0 for up to 64 axes/],
    [
      'a number repeated very often',
      tensor([2 ** 31, 2 ** 20], [0, 0]),
      /repeats the 6 numbers of its storage too often/,
    ],
    ['a storage of less than nothing', tensor([2], [1], { count: -2 }), /expected a storage's number of elements/],
    [
      'complex numbers',
      tensor([2], [1], { type: 'ComplexFloatStorage' }),
      /expected a storage of a type that is read, got torch\.ComplexFloatStorage/,
    ],
    [
      'quantised tensors',
      `${global('torch._utils', '_rebuild_qtensor')}${tuple(int(1))}R`,
      /got the global torch\._utils\._rebuild_qtensor/,
    ],
    [
      'sparse tensors',
      `${global('torch._utils', '_rebuild_sparse_tensor')}${tuple(int(1))}R`,
      /got the global torch\._utils\._rebuild_sparse_tensor/,
    ],
    [
      'a tensor of no storage',
      `${global('torch._utils', '_rebuild_tensor_v2')}${tuple(int(1), int(1), int(1), int(1))}R`,
      /expected a tensor of a storage/,
    ],
  ])('%s', async (_, w, message) => {
    await expect(readTorch(await archive(dict({ w }), six), 'x')).rejects.toThrow(message);
    await expect(readTorch(await archive(dict({ w }), six), 'x')).rejects.toThrow(
      /^x: a\/data\.pkl: pickle at offset \d+/,
    );
  });
  it('storages that the file does not hold', async () => {
    const w = dict({ w: tensor([2], [1]) });
    await expect(readTorch(await archive(w), 'x')).rejects.toThrow(
      /^x: expected 24 bytes in a\/data\/0, got no such entry/,
    );
    await expect(readTorch(await archive(w, { 'a/data/0': new Uint8Array(23) }), 'x')).rejects.toThrow(
      /^x: expected 24 bytes in a\/data\/0, got 23/,
    );
    await expect(readTorch(stream(w), 'x')).rejects.toThrow(
      /^x: tensor "w": expected 24 bytes in storage '0', got none/,
    );
    await expect(readTorch(stream(w, ['1'], new Uint8Array(8)), 'x')).rejects.toThrow(
      /^x: it holds a storage the text '1' that no tensor has/,
    );
    const huge = dict({ w: tensor([2], [1], { count: 2 ** 50 }) });
    await expect(readTorch(await archive(huge, six), 'x')).rejects.toThrow(/^x: expected 4503599627370496 bytes/);
    const count = new Uint8Array(new BigInt64Array([2n ** 50n]).buffer);
    await expect(readTorch(stream(huge, ['0'], count), 'x')).rejects.toThrow(
      /^x: expected storage '0' of 4503599627370496 bytes/,
    );
  });
  it('what does not fit 32 bits', async () => {
    const long = { 'a/data/0': new Uint8Array(new BigInt64Array([1n, 2n ** 40n]).buffer) };
    const w = tensor([2], [1], { count: 2, type: 'LongStorage' });
    await expect(readTorch(await archive(dict({ w }), long), 'x')).rejects.toThrow(
      /^x: tensor "w": element 1 is 1099511627776, which does not fit i32/,
    );
  });
  it('a zip bomb is not unpacked', async () => {
    const count = 2 ** 24;
    const bomb = await archive(
      dict({ w: tensor([count], [1], { count }) }),
      { 'a/data/0': new Uint8Array(4 * count) },
      true,
    );
    expect(bomb.length).toBeLessThan(100_000);
    const before = process.memoryUsage().rss;
    await expect(readTorch(bomb, 'x')).rejects.toThrow(
      /^x: a\/data\/0 and what was read before it unpack to more than 64 times the file/,
    );
    expect(process.memoryUsage().rss - before).toBeLessThan(50e6);
  });
  it('very many views of one storage', async () => {
    const count = 2 ** 18;
    const entries = Object.fromEntries(
      Array.from({ length: 64 }, (_, i) => [`w${i}`, tensor([count], [1], { count })]),
    );
    const file = await archive(dict(entries), { 'a/data/0': new Uint8Array(4 * count) });
    await expect(readTorch(file, 'x')).rejects.toThrow(/^x: its tensors are views of the same numbers/);
  });
  it('dicts and modules that hold themselves', async () => {
    const memo = `}q\x01(${text('self')}h\x01${text('w')}${tensor([2], [1])}u`;
    expect([...(await readTorch(await archive(memo, six), 'x')).tensors.keys()]).toEqual(['w']);
    await expect(readTorch(await archive(`}q\x01(${text('self')}h\x01u`), 'x')).rejects.toThrow(
      /^x: expected tensors by name, got a dict without any/,
    );
    const module = `${global('net', 'Net')})\x81q\x01}(${text('_modules')}}(${text('me')}h\x01${text('w')}${tensor([2], [1])}u${text('_parameters')}}(${text('w')}${tensor([2], [1])}uub`;
    expect([...(await readTorch(await archive(module, six), 'x')).tensors.keys()]).toContain('w');
  });
  it('modules that many paths lead to', async () => {
    // Each module holds the one before it twice: 2^40 paths.
    const leaf = `${global('net', 'Net')})\x81q\x01}(${text('w')}${tensor([2], [1])}ub`;
    let pickle = leaf;
    for (let i = 1; i <= 40; i++)
      pickle += `0${global('net', 'Net')})\x81q${String.fromCharCode(i + 1)}}(${text('a')}h${String.fromCharCode(i)}${text('b')}h${String.fromCharCode(i)}ub`;
    await expect(readTorch(await archive(pickle, six), 'x')).rejects.toThrow(
      /^x: its modules or dicts hold one another too often/,
    );
  });
  it('deep chains of modules', async () => {
    let pickle = `${global('net', 'Net')})\x81}b`;
    for (let i = 0; i < 20_000; i++) pickle = `${global('n', 'N')})\x81}(${text('a')}${pickle}ub`;
    await expect(readTorch(await archive(pickle), 'x')).rejects.toThrow(/^x: (expected tensors by name|its modules)/);
  });
  it('a module without tensors says what to save', async () => {
    await expect(readTorch(await archive(`${global('net', 'Net')})\x81}b`), 'x')).rejects.toThrow(
      /^x: expected tensors by name, got an object of the class net\.Net without any\n.*torch\.save\(model\.state_dict\(\), file\)/,
    );
  });
  it('other files', async () => {
    await expect(readTorch(code('hello'), 'x')).rejects.toThrow(/^x: expected a file of torch\.save/);
    await expect(readTorch(new Uint8Array(0), 'x')).rejects.toThrow(/^x: expected a file of torch\.save/);
    const other = await archive(int(1), {});
    await expect(readTorch(other, 'x')).rejects.toThrow(/^x: expected tensors by name, got 1 without any/);
    expect(torchFormat.looksLike(code('hello'), 'x.pth')).toBe(false);
  });
});

describe('damaged files', () => {
  it.each(['kinds_zip', 'kinds_stream', 'tar', 'big_endian_zip', 'untyped', 'module_zip'])(
    '%s',
    { timeout: 60_000 },
    async (name) => {
      const { refused } = await fuzz((bytes) => readTorch(bytes, 'x'), bytesOf(name), 'x', {
        cuts: 60,
        flips: 80,
        numbers: 80,
      });
      // Much of a tar archive is padding.
      expect(refused).toBeGreaterThan(name === 'tar' ? 15 : 60);
    },
  );
});
