/**
 * What pickles of PyTorch name, for `readPickle`: the functions that rebuild tensors from their storages, and the plain values
 * that checkpoints carry beside them. Objects of other classes (whole modules, options of a training program) come as data,
 * by name, with what they hold; their code is not there and nothing of it runs.
 * Format: torch/_utils.py, torch/_tensor.py; torch/csrc/jit/serialization/pickler.cpp for TorchScript.
 */
import { type PickleCall, type PickleGlobals, PickleName, PickleObject, pickleKind } from '../pickle.ts';
import { numpyGlobals } from '../pickleNumpy.ts';
import { dtypeNames, storageNames, TorchTensor, tensorOf } from './tensors.ts';

/** An object of a class that is not known here: what its pickle says of it. */
export class TorchObject extends PickleObject {
  readonly className: string;
  readonly attributes = new Map<string, unknown>();
  override readonly dict = new Map<unknown, unknown>();
  override readonly list: unknown[] = [];
  constructor(className: string) {
    super();
    this.className = className;
  }
  /** A dict of attributes, or (dict, dict of slots), or whatever the class makes of it. */
  setState(state: unknown): void {
    for (const part of Array.isArray(state) ? state : [state])
      if (part instanceof Map) for (const [k, v] of part) if (typeof k === 'string') this.attributes.set(k, v);
  }
}

const tensorAt =
  (count: number, dtypeAt?: number): PickleCall =>
  (args, pickle) => {
    const given = args.slice(0, 4);
    if (args.length < count) return pickle.refuse(`expected ${count} arguments of a tensor, got ${args.length}`);
    const dtype = dtypeAt === undefined ? undefined : args[dtypeAt];
    if (dtypeAt !== undefined && !(dtype instanceof PickleName))
      return pickle.refuse(`expected a tensor's dtype, got ${pickleKind(dtype)}`);
    return tensorOf(dtype instanceof PickleName ? [...given, dtype.name] : given, pickle);
  };

/** A Parameter is its tensor. */
const firstTensor: PickleCall = ([tensor], pickle) =>
  tensor instanceof TorchTensor ? tensor : pickle.refuse(`expected a tensor, got ${pickleKind(tensor)}`);

/** _rebuild_from_type_v2(function, type, args, state): a tensor of a subclass. */
const fromType: PickleCall = ([rebuild, , args], pickle) => {
  if (!(rebuild instanceof PickleName) || !rebuild.call || !Array.isArray(args))
    return pickle.refuse(`expected a function that rebuilds a tensor, got ${pickleKind(rebuild)}`);
  return rebuild.call(args, pickle);
};

const listOf: PickleCall = ([items = []], pickle) => {
  if (!Array.isArray(items)) return pickle.refuse(`expected a list or tuple, got ${pickleKind(items)}`);
  pickle.spend(items.length);
  return [...items];
};
const first: PickleCall = ([value]) => value;
const joined =
  (by: string): PickleCall =>
  (args, pickle) => {
    const parts = args.filter((a) => typeof a === 'string' || typeof a === 'number').map(String);
    const text = parts.join(by);
    pickle.spend(1, text.length);
    return text;
  };
const emptyDict: PickleCall = () => new Map();
/** Counter(dict) */
const dictOf: PickleCall = ([items], pickle) => {
  if (!(items instanceof Map)) return new Map();
  pickle.spend(items.size);
  return new Map(items);
};

const none = (names: readonly string[]) => Object.fromEntries(names.map((n) => [n, null]));
const path = joined('/');

export const torchGlobals: PickleGlobals = {
  ...numpyGlobals,
  ...none(storageNames),
  ...none(dtypeNames),
  'torch._utils._rebuild_tensor': tensorAt(4),
  'torch._utils._rebuild_tensor_v2': tensorAt(4),
  'torch._utils._rebuild_tensor_v3': tensorAt(7, 6),
  'torch._utils._rebuild_parameter': firstTensor,
  'torch._utils._rebuild_parameter_with_state': firstTensor,
  'torch._tensor._rebuild_from_type_v2': fromType,
  'torch._tensor._rebuild_from_type': fromType,
  'torch.nn.parameter.Parameter': firstTensor,
  'torch.Size': listOf,
  'torch.device': joined(':'),
  'torch.serialization._get_layout': first,
  'torch.jit._pickle.build_intlist': listOf,
  'torch.jit._pickle.build_doublelist': listOf,
  'torch.jit._pickle.build_boollist': listOf,
  'torch.jit._pickle.build_tensorlist': listOf,
  'torch.jit._pickle.restore_type_tag': first,
  'collections.defaultdict': emptyDict,
  'collections.Counter': dictOf,
  'pathlib.PosixPath': path,
  'pathlib.PurePosixPath': path,
  'pathlib.WindowsPath': path,
};
