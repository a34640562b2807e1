import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { PickleName, PickleObject, type PickleOptions, readPickle } from '../../src/weights/pickle.ts';
import { plainGlobals } from '../../src/weights/pickleGlobals.ts';
import { NumpyArray, numpyGlobals } from '../../src/weights/pickleNumpy.ts';
import { fuzz } from '../helpers/fuzz.ts';
import reference from '../reference/pickles.json' with { type: 'json' };

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
/** A byte per character. */
const code = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const read = (bytes: Uint8Array | string, options: Partial<PickleOptions> = {}) =>
  readPickle(typeof bytes === 'string' ? code(bytes) : bytes, { name: 'x', globals: numpyGlobals, ...options });

/** Values as test/reference/pickles.py writes them. */
function plain(v: unknown): unknown {
  if (typeof v === 'bigint') return { int: String(v) };
  if (typeof v === 'number' && !Number.isFinite(v)) return { float: Number.isNaN(v) ? 'nan' : v > 0 ? 'inf' : '-inf' };
  if (v instanceof Uint8Array) return { bytes: hex(v) };
  if (v instanceof Map) return { dict: [...v].map(([a, b]) => [plain(a), plain(b)]) };
  if (v instanceof Set)
    return { set: [...v].map(plain).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) };
  if (v instanceof NumpyArray) {
    const values = Array.from({ length: v.length }, (_, i) => plain(v.get(i)));
    return { array: v.dtype, shape: v.shape, fortran: v.fortran, values };
  }
  return Array.isArray(v) ? v.map(plain) : v;
}
const cases = Object.entries(reference.cases) as [string, { pickle: string; value: unknown }][];
const caseBytes = (name: string) => {
  const found = cases.find(([n]) => n === name);
  if (!found) throw new Error(name);
  return Uint8Array.from(Buffer.from(found[1].pickle, 'hex'));
};

describe('pickles that Python wrote', () => {
  it('are many, of every protocol', () => {
    expect(cases.length).toBeGreaterThan(150);
  });
  it.each(cases)('%s', (_name, { pickle, value }) => {
    const bytes = Uint8Array.from(Buffer.from(pickle, 'hex'));
    const got = read(bytes);
    expect(got.end).toBe(bytes.length);
    // -0.0 and 0.0 are told apart; JSON does not.
    expect(JSON.parse(JSON.stringify(plain(got.value)))).toEqual(value);
  });
  it('in the middle of other bytes, one behind the other', () => {
    const one = caseBytes('nested, protocol 2');
    const both = new Uint8Array(7 + 2 * one.length);
    both.set(one, 3);
    both.set(one, 3 + one.length);
    const first = read(both, { at: 3 });
    expect(first.end).toBe(3 + one.length);
    const second = read(both.subarray(1), { at: first.end - 1 });
    expect(second.end).toBe(first.end - 1 + one.length);
    expect(second.value).toEqual(first.value);
  });
});

describe('values', () => {
  it('raw bytes are views of the file, at their offset', () => {
    for (const [bytes, at] of [
      [code('C\x03abc.'), 2],
      [code('B\x03\0\0\0abc.'), 5],
      [code('\x8e\x03\0\0\0\0\0\0\0abc.'), 9],
      [code('\x96\x03\0\0\0\0\0\0\0abc.'), 9],
      [code('U\x03abc.'), 2],
      [code('T\x03\0\0\0abc.'), 5],
      [code("S'abc'\n."), 2],
    ] as const) {
      const value = read(bytes).value as Uint8Array;
      expect(hex(value)).toBe('616263');
      expect(value.buffer).toBe(bytes.buffer);
      expect(value.byteOffset).toBe(at);
    }
    const array = caseBytes('array <f4, protocol 3');
    expect((read(array).value as NumpyArray).data.buffer).toBe(array.buffer);
  });
  it('keys of a dict reach no prototype', () => {
    const value = read(caseBytes('nested, protocol 4')).value as Map<string, unknown>;
    expect(value.get('__proto__')).toEqual(new Map([['polluted', true]]));
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect(() => read('c__proto__\nx\n.')).toThrow(/'__proto__.x'/);
    expect(() => read('cconstructor\nname\n.', { globals: {} })).toThrow(DataError);
  });
  it('shared and circular references stay', () => {
    const [a, b] = read(caseBytes('shared, protocol 0')).value as unknown[][];
    expect(a).toBe(b);
    const loop = read(']q\0h\0a.').value as unknown[];
    expect(loop[0]).toBe(loop);
    const dict = read('}q\0(K\x01h\0u.').value as Map<number, unknown>;
    expect(dict.get(1)).toBe(dict);
  });
  it('strings of Python 2 are text on request, where they are', () => {
    expect(read('(U\x02u1T\x02\0\0\0\xff\xd8S"a\\n"\nl.', { strings: 'text' }).value).toEqual([
      'u1',
      Uint8Array.of(255, 216),
      'a\n',
    ]);
    const array = read(caseBytes('python 2, numpy'), { strings: 'text' }).value as NumpyArray;
    expect(hex(array.data)).toBe('ffd800');
  });
  it('escapes that Python does not know stay as they are', () => {
    expect(read("S'a\\qb'\n.").value).toEqual(code('a\\qb'));
    expect(read('Va\\qb\\\\u0041\n.').value).toBe('a\\qb\\\\u0041');
  });
  it('ints and floats of all sizes come back', () => {
    const int = (n: bigint) => {
      const bytes: number[] = [];
      let rest = n;
      do {
        bytes.push(Number(rest & 255n));
        rest >>= 8n;
      } while (rest !== 0n && rest !== -1n);
      bytes.push(n < 0n ? 255 : 0);
      return bytes;
    };
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }), fc.double(), (n, x) => {
        const small = Number.isSafeInteger(Number(n)) ? Number(n) : n;
        const bytes = int(n);
        expect(read(Uint8Array.of(0x8a, bytes.length, ...bytes, 46)).value).toBe(small);
        expect(read(`L${n}L\n.`).value).toBe(small);
        const float = new DataView(new ArrayBuffer(8));
        float.setFloat64(0, x);
        expect(read(Uint8Array.of(0x47, ...new Uint8Array(float.buffer), 46)).value).toBe(x);
        if (Number.isFinite(x)) expect(read(`F${x}\n.`).value).toBe(Object.is(x, -0) ? 0 : x);
      }),
    );
  });
  it('what stands outside comes by persistentLoad', () => {
    const seen: unknown[] = [];
    const persistentLoad = (id: unknown) => {
      seen.push(id);
      return seen.length;
    };
    expect(read('(Pabc\nX\x01\0\0\0zK\x05\x86Ql.', { persistentLoad }).value).toEqual([1, 2]);
    expect(seen).toEqual(['abc', ['z', 5]]);
    expect(() => read('Pabc\n.')).toThrow(/x: pickle at offset 0: it refers to something outside of itself/);
  });
  it('own classes take arguments and state; names stay names', () => {
    class Point extends PickleObject {
      state: unknown;
      readonly args: readonly unknown[];
      constructor(args: readonly unknown[]) {
        super();
        this.args = args;
      }
      setState(state: unknown): void {
        this.state = state;
      }
    }
    const globals = { 'geo.Point': (args: readonly unknown[]) => new Point(args), 'geo.Kind': null };
    for (const text of [
      'cgeo\nPoint\n(K\x01cgeo\nKind\nt\x81}b.',
      'cgeo\nPoint\n(K\x01cgeo\nKind\ntR}b.',
      'cgeo\nPoint\n(K\x01cgeo\nKind\nt}\x92}b.',
      '\x8c\x03geo\x8c\x05Point\x93(K\x01cgeo\nKind\nt\x81}b.',
      '(K\x01cgeo\nKind\nigeo\nPoint\n}b.',
      '(cgeo\nPoint\nK\x01cgeo\nKind\no}b.',
    ]) {
      const point = read(text, { globals }).value as Point;
      expect(point).toBeInstanceOf(Point);
      expect(point.args).toEqual([1, new PickleName('geo.Kind', null)]);
      expect(point.state).toEqual(new Map());
    }
    expect(() => read('cgeo\nKind\n)R.', { globals })).toThrow(
      /a function that may be called, got the global geo.Kind/,
    );
  });
});

describe('hostile pickles', () => {
  const system = '\x8c\x02os\x8c\x06system\x93';
  it.each([
    ['GLOBAL and REDUCE', 'cos\nsystem\n(S"touch x"\ntR.', 'os.system', 0],
    ['posix', "cposix\nsystem\n(S'id'\ntR.", 'posix.system', 0],
    ['STACK_GLOBAL', `\x80\x04${system}\x8c\x02id\x85R.`, 'os.system', 14],
    ['builtins.eval', 'cbuiltins\neval\n(V1+1\ntR.', 'builtins.eval', 0],
    ['__builtin__.exec', 'c__builtin__\nexec\n(V1+1\ntR.', '__builtin__.exec', 0],
    ['INST', "(S'id'\nios\nsystem\n.", 'os.system', 7],
    ['OBJ', "(cos\nsystem\nS'id'\no.", 'os.system', 1],
    ['NEWOBJ', 'csubprocess\nPopen\n(Vid\nt\x81.', 'subprocess.Popen', 0],
    ['inside of data', `(lK\x01a(dVa\n(lcos\nsystem\n(Vid\ntRasa.`, 'os.system', 12],
    ['an attribute of an allowed module', 'cnumpy\nload\n(Vx\ntR.', 'numpy.load', 0],
    ['a dotted name', '\x80\x04\x8c\x05numpy\x8c\x0ecore.os.system\x93.', 'numpy.core.os.system', 25],
    ['getattr', 'c__builtin__\ngetattr\n(Vx\nVy\ntR.', '__builtin__.getattr', 0],
  ])('%s is refused by name and offset', (_, text, name, at) => {
    let caught: Error | undefined;
    try {
      read(text);
    } catch (error) {
      caught = error as Error;
    }
    expect(caught).toBeInstanceOf(DataError);
    const [first, last] = caught!.message.split('\n');
    expect(first).toBe(
      `x: pickle at offset ${at}: it asks for the Python global '${name}', which is not one of those allowed`,
    );
    expect(last).toMatch(/A pickle can call any function of Python.*nothing was run/);
  });
  it('without a list nothing at all is allowed', () => {
    expect(() => readPickle(code('c_codecs\nencode\n.'), { name: 'x' })).toThrow(/'_codecs.encode'.*not one of those/);
  });
  it('names in errors are made harmless', () => {
    expect(() => read('cos\x1b[2J\nsy\x9bstem\n.')).toThrow(DataError);
    try {
      read('\x8c\x04os\x1b[\x8c\x02\xc2\x9b\x93.');
    } catch (error) {
      expect((error as Error).message).toMatch(/'os\\u001b\[\.\\u009b'/);
    }
    expect(() => read(`c${'a'.repeat(2000)}\nb\n.`)).toThrow(/expected a module, got a line of 2000 bytes/);
  });
  it.each([
    ['BINBYTES8 of 2^60', '\x8e\0\0\0\0\0\0\0\x10.', /expected 1152921504606847000 more bytes at offset 9.*ends at 10/],
    ['BYTEARRAY8 of 2^64-1', `\x96${'\xff'.repeat(8)}.`, /more bytes at offset 9/],
    ['BINUNICODE8', `\x8d${'\xff'.repeat(8)}.`, /more bytes/],
    ['BINBYTES', 'B\xff\xff\xff\xff.', /expected 4294967295 more bytes/],
    ['a negative length', 'T\xff\xff\xff\xff.', /expected -1 more bytes/],
    ['a negative LONG4', '\x8b\xff\xff\xff\xff.', /int of 0 to 2048 bytes, got -1/],
    ['a long int', `L${'9'.repeat(5000)}L\n.`, /got a line of 5001 bytes/],
    ['a frame', `\x95\xff\xff\0\0\0\0\0\0.`, /a frame of 65535 bytes/],
    ['no opcode', '\xff', /expected an opcode, got byte 0xff/],
    ['nothing', '', /expected 1 more bytes at offset 0, but the file ends at 0/],
    ['no STOP', 'N', /expected 1 more bytes at offset 1/],
    ['STOP without a value', '.', /expected a value on the stack, got none/],
    ['values left over', 'NN.', /1 values left over/],
    ['an open mark', '(N.', /left over/],
    ['POP of nothing', '0', /a value on the stack, got none/],
    ['pop below a mark', 'N(R.', /expected 2 values on the stack, got fewer/],
    ['APPENDS without a mark', ']e.', /expected a MARK/],
    ['TUPLE3 of two', 'NN\x87.', /expected 3 values/],
    ['APPEND to a number', 'K\x01Na.', /expected a list to add to, got 1/],
    ['SETITEM of a list', ']NNs.', /expected a dict to add to, got a list or tuple of 0/],
    ['SETITEMS of three', '}(NNNu.', /expected keys and values, got 3/],
    ['ADDITEMS to a dict', '}(N\x90.', /expected a set to add to, got a dict/],
    ['a memo entry that is not there', 'h\x05.', /expected memo entry 5 to be set/],
    ['a huge memo index', 'Np99999999999999999999\n.', /expected a memo index/],
    ['a negative memo index', 'Np-1\n.', /expected a memo index/],
    ['protocol 6', '\x80\x06N.', /expected protocol 0 to 5, got 6/],
    ['out-of-band buffers', '\x97.', /buffers outside of the file/],
    ['the extension registry', '\x82\x01.', /extension registry/],
    ['text that is none', 'X\x02\0\0\0\xff\xd8.', /expected text in UTF-8/],
    ['a broken escape', 'V\\u12\n.', /broken/],
    ['a character beyond Unicode', 'V\\U00110000\n.', /character 1114112/],
    ['a string without quotes', 'Sabc\n.', /a string in quotes/],
    ['a string with one quote', "S'\n.", /a string in quotes/],
    ['a string that ends in a backslash', "S'\\'\n.", /broken escape/],
    ['an int that is none', 'I0x\n.', /expected an int, got '0x'/],
    ['a float that is none', 'F1e\n.', /expected a float, got '1e'/],
    ['a name that is no text', 'NN\x93.', /expected the name of a global, got None and None/],
    ['a call of data', ')]R.', /a function that may be called, got a list/],
    ['arguments that are no tuple', 'c_codecs\nencode\nNR.', /a tuple of arguments, got None/],
    ['arguments by name', 'c_codecs\nencode\n)}(NNu\x92.', /no arguments by name/],
    ['another encoding', 'c_codecs\nencode\n(Vx\nVrot13\ntR.', /expected the encoding latin1, got the text 'rot13'/],
    ['text beyond latin1', 'c_codecs\nencode\n(V\\u0100\nVlatin1\ntR.', /latin1 characters, got character 256/],
    ['state of a number', 'K\x01Nb.', /an object that takes a state, got 1/],
    ['numpy of objects', 'cnumpy\ndtype\n(VO8\nI00\nI01\ntR.', /numpy array of one of the types .* got the text 'O8'/],
    [
      'numpy with a shape that does not fit',
      'cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(K\x05tcnumpy\ndtype\n(Vf4\ntR\x89C\x03abctb.',
      /shape \(5\) and type <f4 is 20 bytes, got 3/,
    ],
    [
      'numpy with a huge shape',
      'cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\n(Vf4\ntR\x89C\x03abctb.',
      /is \d.*bytes, got 3/,
    ],
  ])('%s', (_, text, message) => {
    let caught: Error | undefined;
    try {
      read(text);
    } catch (error) {
      caught = error as Error;
    }
    expect(caught?.name, caught?.stack).toBe('DataError');
    expect(caught!.message).toMatch(message);
    expect(caught!.message).toMatch(/^x: pickle at offset \d+: /);
  });
  it('a bomb of doubled references is small, as references are', () => {
    // Each list holds the one before twice: 2^100 leaves, 100 lists.
    const value = read(`]${'q\x00]h\x00ah\x00aq\x0100h\x01'.repeat(100)}.`).value as unknown[];
    expect(value[0]).toBe(value[1]);
  });
  it('deep nesting overflows no stack', () => {
    const deep = 200_000;
    let value = read(`${'('.repeat(deep)}${'l'.repeat(deep)}.`).value as unknown[];
    let n = 0;
    for (; value.length > 0; n++) value = value[0] as unknown[];
    expect(n).toBe(deep - 1);
  });
  it('values are counted', () => {
    const many = ']'.repeat(1000);
    expect(() => read(`(${many}l.`, { most: 500 })).toThrow(/expected at most 500 values, got more/);
    expect(read(`(${many}l.`, { most: 2100 }).value).toHaveLength(1000);
    const before = process.memoryUsage().rss;
    expect(() => read(new Uint8Array(30_000_000).fill(0x7d))).toThrow(/at most 10000000 values/);
    expect(() => read(new Uint8Array(30_000_000).fill(0x28))).toThrow(/at most 10000000 values/);
    expect(() => read(new Uint8Array(30_000_001).fill(0x32).fill(0x4e, 0, 1))).toThrow(/at most 10000000 values/);
    expect(process.memoryUsage().rss - before).toBeLessThan(1.2e9);
  });
  it('calls cannot copy one value over and over', () => {
    const text = `V${'a'.repeat(100_000)}\np0\n0`;
    const again = '(g0\nVlatin1\ntR0';
    const globals = plainGlobals;
    expect(read(`${text}c_codecs\nencode\np1\n0${`g1\n${again}`.repeat(3)}N.`, { globals }).value).toBe(null);
    expect(() => read(`${text}c_codecs\nencode\np1\n0${`g1\n${again}`.repeat(100)}N.`, { globals })).toThrow(
      /its calls copy more bytes than a file of \d+ bytes has use for/,
    );
    const list = `(${'N'.repeat(10_000)}lp0\n0`;
    expect(() => read(`${list}${'(c__builtin__\nset\ng0\no0'.repeat(2000)}N.`, { globals })).toThrow(
      /at most 10000000 values/,
    );
  });
});

describe('damaged pickles', () => {
  it.each([
    'nested, protocol 0',
    'nested, protocol 4',
    'texts, protocol 0',
    'bytes, protocol 2',
    'sets, protocol 5',
    'ordered, protocol 2',
    'array <f4, protocol 0',
    'array <i8, protocol 3',
    'array >f8, protocol 5',
    'scalars, protocol 4',
    'python 2, protocol 0',
    'python 2, numpy',
  ])('%s', async (name) => {
    const result = await fuzz((bytes) => plainOnce(read(bytes).value), caseBytes(name), 'x');
    expect(result.refused).toBeGreaterThan(100);
  });
  it('any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          read(bytes);
        } catch (error) {
          expect((error as Error).name, (error as Error).stack).toBe('DataError');
        }
      }),
      { numRuns: 5000 },
    );
  });
  it('any opcodes', () => {
    const opcodes = [
      ...'NI1\n|K\x05|]|(|l|t|)|}|d|s|u|\x8f|(\x90|\x91|0|1|2|q\0|h\0|\x94|\x85|\x86|\x87|a|e|R|b|\x81|o|U\x01b|Vu1\n|C\x02ab'.split(
        '|',
      ),
      ...Object.keys(numpyGlobals).map(
        (g) => `c${g.slice(0, g.lastIndexOf('.'))}\n${g.slice(g.lastIndexOf('.') + 1)}\n`,
      ),
      '\x88',
      '\x89',
    ];
    let whole = 0;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...opcodes), { maxLength: 30 }), (parts) => {
        try {
          plainOnce(read(`${parts.join('')}.`).value);
          whole++;
        } catch (error) {
          expect((error as Error).name, (error as Error).stack).toBe('DataError');
        }
      }),
      { numRuns: 5000 },
    );
    expect(whole).toBeGreaterThan(50);
  });
});

/** Touches all of a value, each object once. */
function plainOnce(value: unknown): void {
  const seen = new Set<unknown>();
  const todo = [value];
  while (todo.length) {
    const v = todo.pop();
    if (typeof v !== 'object' || v === null || seen.has(v)) continue;
    seen.add(v);
    if (v instanceof NumpyArray) for (let i = 0; i < v.length; i++) v.get(i);
    else if (v instanceof Map) todo.push(...v.keys(), ...v.values());
    else if (v instanceof Set || Array.isArray(v)) todo.push(...v);
  }
}
