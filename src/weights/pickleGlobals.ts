/**
 * The functions that pickles of plain data name, for `readPickle`: how Python 3 writes bytes, bytearrays and sets in protocols
 * that have no opcode for them, and OrderedDict. Browser-safe.
 */
import { type PickleCall, type PickleContext, type PickleGlobals, pickleKind } from './pickle.ts';

const refuseArguments = (name: string, args: readonly unknown[], pickle: PickleContext) =>
  pickle.refuse(
    `expected arguments as pickle gives them to ${name}, got ${args.map(pickleKind).slice(0, 4).join(', ')}`,
  );

/** `_codecs.encode(text, 'latin1')` is how Python 3 writes bytes in protocols 0 to 2. */
const encode: PickleCall = (args, pickle) => {
  const [text, encoding = 'utf-8'] = args;
  if (typeof text !== 'string' || typeof encoding !== 'string' || args.length > 2)
    return refuseArguments('_codecs.encode', args, pickle);
  const utf = /^utf-?8$/i.test(encoding);
  if (!utf && !/^(latin-?1|iso-?8859-1)$/i.test(encoding))
    return pickle.refuse(`expected the encoding latin1, got ${pickleKind(encoding)}`);
  pickle.spend(0, text.length);
  if (utf) return new TextEncoder().encode(text);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 255) pickle.refuse(`expected text of latin1 characters, got character ${c}`);
    out[i] = c;
  }
  return out;
};

const setOf: PickleCall = (args, pickle) => {
  const [items = []] = args;
  if (!Array.isArray(items) || args.length > 1) return refuseArguments('set', args, pickle);
  pickle.spend(items.length);
  return new Set(items);
};
/** Of nothing, of bytes, or of text with its encoding. */
const bytesOf: PickleCall = (args, pickle) => {
  if (args.length === 0) return new Uint8Array(0);
  if (args.length === 1 && args[0] instanceof Uint8Array) return args[0];
  return args.length === 2 ? encode(args, pickle) : refuseArguments('bytes', args, pickle);
};
const orderedDict: PickleCall = (args, pickle) => {
  const [items = []] = args;
  const isPair = (p: unknown) => Array.isArray(p) && p.length === 2;
  if (!Array.isArray(items) || args.length > 1 || !items.every(isPair))
    return refuseArguments('OrderedDict', args, pickle);
  pickle.spend(items.length);
  return new Map(items as [unknown, unknown][]);
};

/** Bytes, bytearrays and sets of old protocols, and OrderedDict. */
export const plainGlobals: PickleGlobals = {
  '_codecs.encode': encode,
  '__builtin__.set': setOf,
  'builtins.set': setOf,
  '__builtin__.frozenset': setOf,
  'builtins.frozenset': setOf,
  '__builtin__.bytes': bytesOf,
  'builtins.bytes': bytesOf,
  '__builtin__.bytearray': bytesOf,
  'builtins.bytearray': bytesOf,
  'collections.OrderedDict': orderedDict,
};
