/**
 * Modules: named parameters plus a forward function.
 *
 * The one idea: a module is a plain object; its parameters and submodules are its properties, and their dotted path is
 * their name in checkpoints. Nothing is registered. Parameters start empty and are filled by `initialize`, each from
 * its own name, so the numbers do not depend on the order of construction.
 */
import { type Data, type DType, hostArray } from '../core/dtype.ts';
import { DataError, ShapeError } from '../core/errors.ts';
import { fold, type Key, keyOf } from '../core/random.ts';
import { type Shape, sameShape, showShape, sizeOf } from '../core/shape.ts';
import { type Tensor, Variable, type VariableHome, within } from '../core/tensor.ts';
import type { TraceContext } from '../plan/trace.ts';

/** Numbers of a new parameter from its key and shape. */
export type Init = (key: Key, shape: Shape) => Float32Array;

/** A variable that training changes by gradients. */
export class Parameter extends Variable {
  readonly init: Init;
  constructor(shape: Shape, init: Init) {
    super('', new Float32Array(sizeOf(shape)), shape, 'f32');
    this.init = init;
  }
}

/** State that is no parameter: running statistics, counters. It is in every checkpoint. */
export class StateBuffer extends Variable {
  readonly start: number;
  constructor(shape: Shape, start = 0, dtype: DType = 'f32') {
    super('', hostArray(dtype, sizeOf(shape)).fill(start), shape, dtype);
    this.start = start;
  }
}

export abstract class Module {
  /** Dotted path from the root; set by `nameTree`. */
  path = '';
  protected abstract forward(x: Tensor, ctx: TraceContext): Tensor;

  /** Applies the module. Shape errors inside name its path. */
  call(x: Tensor, ctx: TraceContext): Tensor {
    try {
      return within(this.path, () => this.forward(x, ctx));
    } catch (error) {
      if (error instanceof ShapeError && this.path && !error.message.includes('\n  in ')) {
        const [first, ...rest] = error.message.split('\n');
        error.message = [first, `  in ${this.path} (${this.constructor.name})`, ...rest].join('\n');
      }
      throw error;
    }
  }
}

function* children(m: Module): Generator<[string, Module | Variable]> {
  for (const [name, value] of Object.entries(m)) {
    const list: [string, unknown][] = Array.isArray(value) ? value.map((v, i) => [`${name}.${i}`, v]) : [[name, value]];
    for (const [path, v] of list) if (v instanceof Module || v instanceof Variable) yield [path, v];
  }
}

/** Sets the path of every submodule and the name of every variable. Returns the module. */
export function nameTree<M extends Module>(m: M, path = ''): M {
  m.path = path;
  for (const [name, child] of children(m)) {
    const full = path ? `${path}.${name}` : name;
    if (child instanceof Variable) child.name = full;
    else nameTree(child, full);
  }
  return m;
}

/** Every variable of the module in order of its properties, parameters and state alike. */
export function variablesOf(m: Module): Variable[] {
  return [...children(m)].flatMap(([, c]) => (c instanceof Variable ? [c] : variablesOf(c)));
}

/** Frees a module's numbers on a device. Those that the host has stay; read what the device changed before. */
export function freeVariables(m: Module, device: VariableHome): void {
  for (const v of variablesOf(m)) {
    v.dispose();
    // Numbers that no plan changed have the host for home; the device's copy is freed here.
    device.forget(v);
  }
}
export const parametersOf = (m: Module): Parameter[] =>
  variablesOf(m).filter((v): v is Parameter => v instanceof Parameter);
export const modulesOf = (m: Module): Module[] => [
  m,
  ...[...children(m)].flatMap(([, c]) => (c instanceof Module ? modulesOf(c) : [])),
];

/** Number of trainable parameters. */
export const parameterCount = (m: Module): number => parametersOf(m).reduce((n, p) => n + p.size, 0);

/** Fills every parameter from the seed and its own name, and resets state. */
export function initialize<M extends Module>(m: M, seed: number): M {
  for (const v of variablesOf(m)) {
    if (v instanceof Parameter) v.write(v.init(fold(keyOf(seed), v.name), v.shape));
    else if (v instanceof StateBuffer) v.write(hostArray(v.dtype, v.size).fill(v.start));
  }
  return m;
}

/** Numbers by dotted name, as a checkpoint holds them. */
export type State = ReadonlyMap<string, { readonly data: Data; readonly shape: Shape; readonly dtype: DType }>;

export async function stateOf(variables: readonly Variable[]): Promise<State> {
  const out = new Map<string, { data: Data; shape: Shape; dtype: DType }>();
  for (const v of variables)
    out.set(v.name, { data: (await v.read()).slice() as Data, shape: v.shape, dtype: v.dtype });
  return out;
}

/**
 * Writes a state into variables. Strict: every name must be there with its shape, and none may be left over unless
 * `allowExtra`. Throws DataError listing all that differ; nothing is written then.
 */
export function loadState(
  variables: readonly Variable[],
  state: State,
  source: string,
  { allowExtra = false } = {},
): void {
  const wrong: string[] = [];
  for (const v of variables) {
    const s = state.get(v.name);
    if (!s) wrong.push(`missing ${v.name} ${showShape(v.shape)}`);
    else if (!sameShape(s.shape, v.shape) || s.dtype !== v.dtype)
      wrong.push(`${v.name}: expected ${v.dtype}${showShape(v.shape)}, got ${s.dtype}${showShape(s.shape)}`);
  }
  const names = new Set(variables.map((v) => v.name));
  if (!allowExtra) for (const name of state.keys()) if (!names.has(name)) wrong.push(`unexpected ${name}`);
  if (wrong.length) {
    const shown = wrong.slice(0, 12).map((w) => `  ${w}`);
    if (wrong.length > shown.length) shown.push(`  … and ${wrong.length - shown.length} more`);
    throw new DataError(
      `${source}: expected the ${variables.length} tensors of this network, but ${wrong.length} differ\n${shown.join('\n')}\nLoad it into the architecture it was saved from.`,
    );
  }
  for (const v of variables) v.write(state.get(v.name)!.data.slice() as Data);
}
