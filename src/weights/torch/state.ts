/**
 * Finding the state dict in what a PyTorch file holds: itself, under a name (`state_dict`, `model` …) beside an epoch and an
 * optimizer, or as the parameters and buffers of a pickled module.
 *
 * The one idea: every dict or module with tensors under text keys is a candidate; the best-known name wins, else the one with
 * the most tensors, and the notes name the others.
 */
import { pickleKind } from '../pickle.ts';
import { NumpyArray } from '../pickleNumpy.ts';
import { TorchObject } from './globals.ts';
import { TorchTensor } from './tensors.ts';

export interface FoundState {
  /** Where it is: '' for the file's own value, else 'state_dict' or 'model.backbone'. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TorchTensor | NumpyArray>;
}

/** Names under which trainers keep the network, the likeliest first. */
const usual = [
  'net_state_dict',
  'state_dict',
  'model_state_dict',
  'state_dict_backbone',
  'backbone',
  'model',
  'model_state',
  'net',
  'network',
  'weights',
  'params',
];
/** What is no network, however many tensors it has. */
const others = /optim|sched|scaler|criterion|^loss/i;
const mostDepth = 5;
/** Modules inside one another, and entries looked at: shared ones could be reached by very many paths. */
const mostModules = 64;
const mostEntries = 500_000;

type Tensors = Map<string, TorchTensor | NumpyArray>;
const isTensor = (x: unknown): x is TorchTensor | NumpyArray =>
  x instanceof TorchTensor || (x instanceof NumpyArray && !x.dtype.includes('O'));

/** Tensors of a module by dotted name: `_parameters`, `_buffers` and `_modules`, or (TorchScript) plain attributes. */
function moduleTensors(root: TorchObject, count: () => void): Tensors {
  const out: Tensors = new Map();
  const open = new Set<unknown>();
  const walk = (module: TorchObject, prefix: string): void => {
    if (open.has(module) || open.size >= mostModules) return;
    open.add(module);
    const { attributes } = module;
    const groups = ['_parameters', '_buffers', '_modules'].map((name) => attributes.get(name));
    const hidden = attributes.get('_non_persistent_buffers_set');
    const skip = hidden instanceof Set ? hidden : new Set();
    const entries = groups.some((g) => g instanceof Map)
      ? groups.flatMap((g) => (g instanceof Map ? [...g] : []))
      : [...attributes];
    for (const [key, value] of entries) {
      count();
      if (typeof key !== 'string' || skip.has(key)) continue;
      if (isTensor(value)) out.set(prefix + key, value);
      else if (value instanceof TorchObject) walk(value, `${prefix}${key}.`);
    }
    open.delete(module);
  };
  walk(root, '');
  return out;
}

/** Tensors of a dict; dicts inside it that hold tensors too belong to it (`{block: {weight: …}}`). */
function dictTensors(root: ReadonlyMap<unknown, unknown>, depth: number, count: () => void): Tensors {
  const out: Tensors = new Map();
  for (const [key, value] of root) {
    count();
    if (typeof key === 'string' && isTensor(value)) out.set(key, value);
  }
  if (out.size && depth < mostDepth)
    for (const [key, value] of root)
      if (typeof key === 'string' && value instanceof Map && value !== root && !others.test(key))
        for (const [name, tensor] of dictTensors(value, depth + 1, count)) out.set(`${key}.${name}`, tensor);
  return out;
}

/** Every candidate, the likeliest first. `tooMany` throws, where the file is hostile. */
export function findStates(value: unknown, tooMany: () => never): FoundState[] {
  let left = mostEntries;
  const count = () => {
    if (--left < 0) tooMany();
  };
  const found: FoundState[] = [];
  const seen = new Set<unknown>();
  const look = (x: unknown, path: string, depth: number): void => {
    if (seen.has(x) || depth > mostDepth) return;
    seen.add(x);
    count();
    if (x instanceof TorchObject) {
      const tensors = moduleTensors(x, count);
      if (tensors.size) found.push({ path, tensors });
      else if (x.dict.size) look(x.dict, path, depth);
      else for (const [k, v] of x.attributes) look(v, path ? `${path}.${k}` : k, depth + 1);
    } else if (x instanceof Map) {
      const tensors = dictTensors(x, 0, count);
      if (tensors.size) found.push({ path, tensors });
      else
        for (const [k, v] of x)
          if (typeof k === 'string' && !others.test(k)) look(v, path ? `${path}.${k}` : k, depth + 1);
    } else if (Array.isArray(x) && x.length < 100)
      for (const [i, v] of x.entries()) look(v, path ? `${path}.${i}` : `${i}`, depth + 1);
  };
  look(value, '', 0);
  const rank = ({ path }: FoundState) => {
    const at = usual.indexOf(path.slice(path.lastIndexOf('.') + 1));
    return at < 0 ? usual.length : at;
  };
  return found.sort((a, b) => rank(a) - rank(b) || b.tensors.size - a.tensors.size);
}

/** What a checkpoint says beside its tensors, as notes: 'epoch 68'. */
export function otherValues(value: unknown, states: readonly FoundState[]): string[] {
  const root = value instanceof TorchObject ? (value.dict.size ? value.dict : undefined) : value;
  if (!(root instanceof Map)) return [];
  const notes: string[] = [];
  for (const [key, x] of root) {
    if (typeof key !== 'string' || isTensor(x) || states.some((s) => s.path === key || s.path.startsWith(`${key}.`)))
      continue;
    if (states.some((s) => s.path === '') && x instanceof Map) continue;
    const shown = typeof x === 'number' || typeof x === 'boolean' ? String(x) : pickleKind(x);
    notes.push(`beside the weights: ${key} = ${shown}`);
  }
  return notes.length > 12 ? [...notes.slice(0, 12), `beside the weights: ${notes.length - 12} more`] : notes;
}

/** Prefixes that wrappers put before every name: DataParallel's, torch.compile's. */
const wrappers = ['module.', '_orig_mod.'];

/** Names without wrappers' prefixes, and the prefix that went. */
export function unwrapped<T>(tensors: ReadonlyMap<string, T>): { tensors: ReadonlyMap<string, T>; prefix: string } {
  let prefix = '';
  let out = tensors;
  for (;;) {
    const next = wrappers.find(
      (w) => out.size > 0 && [...out.keys()].every((k) => k.startsWith(w) && k.length > w.length),
    );
    if (next === undefined) return { tensors: out, prefix };
    prefix += next;
    out = new Map([...out].map(([k, v]) => [k.slice(next.length), v]));
  }
}

/** How an error names a value that holds no tensors. */
export const describeValue = (value: unknown): string =>
  value instanceof TorchObject ? `an object of the class ${value.className}` : pickleKind(value);
