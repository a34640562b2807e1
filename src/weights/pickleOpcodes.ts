/** The opcodes of Python's pickle, protocols 0 to 5, as steps of the machine of pickle.ts. What is not here is refused. */
import type { Machine } from './pickle.ts';

/** Each opcode by its byte as a character. */
export const opcodes: Readonly<Record<string, (m: Machine) => void>> = {
  // None, booleans, numbers
  N: (m) => m.push(null),
  '\x88': (m) => m.push(true), // NEWTRUE
  '\x89': (m) => m.push(false), // NEWFALSE
  // INT
  I: (m) => {
    const text = m.shortLine('an int');
    m.push(text === '01' ? true : text === '00' ? false : m.decimal(text));
  },
  L: (m) => m.push(m.decimal(m.shortLine('an int').replace(/L\s*$/, ''))), // LONG
  J: (m) => m.push(m.i32()), // BININT
  K: (m) => m.push(m.byte()), // BININT1
  M: (m) => m.push(m.u16()), // BININT2
  '\x8a': (m) => m.push(m.long(m.byte())), // LONG1
  '\x8b': (m) => m.push(m.long(m.i32())), // LONG4
  F: (m) => m.push(m.float(m.shortLine('a float'))), // FLOAT
  G: (m) => m.push(m.f64()), // BINFLOAT

  // Byte strings of Python 2, bytes, text
  S: (m) => m.pushString(m.quotedBytes()), // STRING
  T: (m) => m.pushString(m.raw(m.i32())), // BINSTRING
  U: (m) => m.pushString(m.raw(m.byte())), // SHORT_BINSTRING
  B: (m) => m.pushBytes(m.raw(m.u32())), // BINBYTES
  C: (m) => m.pushBytes(m.raw(m.byte())), // SHORT_BINBYTES
  '\x8e': (m) => m.pushBytes(m.raw(m.u64())), // BINBYTES8
  '\x96': (m) => m.pushBytes(m.raw(m.u64())), // BYTEARRAY8
  V: (m) => m.push(m.escapedText()), // UNICODE
  X: (m) => m.push(m.text(m.raw(m.u32()))), // BINUNICODE
  '\x8c': (m) => m.push(m.text(m.raw(m.byte()))), // SHORT_BINUNICODE
  '\x8d': (m) => m.push(m.text(m.raw(m.u64()))), // BINUNICODE8

  // Lists and tuples
  ']': (m) => m.push([], 2), // EMPTY_LIST
  ')': (m) => m.push([], 2), // EMPTY_TUPLE
  l: (m) => m.push(m.popMark(), 2), // LIST
  t: (m) => m.push(m.popMark(), 2), // TUPLE
  '\x85': (m) => m.push(m.popMany(1), 2), // TUPLE1
  '\x86': (m) => m.push(m.popMany(2), 2), // TUPLE2
  '\x87': (m) => m.push(m.popMany(3), 2), // TUPLE3
  a: (m) => m.append(m.popMany(1)), // APPEND
  e: (m) => m.append(m.popMark()), // APPENDS

  // Dicts and sets
  '}': (m) => m.push(new Map(), 4), // EMPTY_DICT
  d: (m) => m.push(m.filled(new Map(), m.popMark()), 4), // DICT
  s: (m) => m.setItems(m.popMany(2)), // SETITEM
  u: (m) => m.setItems(m.popMark()), // SETITEMS
  '\x8f': (m) => m.push(new Set(), 4), // EMPTY_SET
  '\x90': (m) => m.addItems(m.popMark()), // ADDITEMS
  '\x91': (m) => m.push(new Set(m.popMark()), 4), // FROZENSET

  // The stack itself, and the memo
  '(': (m) => m.mark(), // MARK
  '0': (m) => m.drop(), // POP
  '1': (m) => m.popMark(), // POP_MARK
  '2': (m) => m.push(m.top()), // DUP
  p: (m) => m.remember(m.memoIndex()), // PUT
  q: (m) => m.remember(m.byte()), // BINPUT
  r: (m) => m.remember(m.u32()), // LONG_BINPUT
  '\x94': (m) => m.remember(m.memo.size), // MEMOIZE
  g: (m) => m.recall(m.memoIndex()), // GET
  h: (m) => m.recall(m.byte()), // BINGET
  j: (m) => m.recall(m.u32()), // LONG_BINGET

  // Globals, calls, what stands outside
  c: (m) => m.push(m.findByLines()), // GLOBAL
  '\x93': (m) => m.push(m.find(m.popMany(2))), // STACK_GLOBAL
  R: (m) => m.call(m.popMany(2)), // REDUCE
  '\x81': (m) => m.instance(m.popMany(2)), // NEWOBJ
  '\x92': (m) => m.call(m.popMany(3)), // NEWOBJ_EX
  i: (m) => m.call([m.findByLines(), m.popMark()]), // INST
  // OBJ
  o: (m) => {
    const [target, ...args] = m.popMark();
    m.call([target, args]);
  },
  b: (m) => m.build(), // BUILD
  P: (m) => m.persistent(m.shortLine('a persistent id')), // PERSID
  Q: (m) => m.persistent(m.pop()), // BINPERSID
  '\x97': (m) => m.refuse('it keeps data in buffers outside of the file', 'Save it again without buffer_callback.'), // NEXT_BUFFER
  // EXT1
  '\x82': (m) => m.refuse('it names a global by its number in an extension registry, which is not read'),

  // PROTO
  '\x80': (m) => {
    const version = m.byte();
    if (version > 5) m.refuse(`expected protocol 0 to 5, got ${version}`);
  },
  // FRAME: its bytes follow as they would without it.
  '\x95': (m) => {
    const length = m.u64();
    if (length > m.left) m.refuse(`expected a frame of ${length} bytes, but the file ends ${m.left} on`);
  },
};
