/**
 * A layout: whose names a published state dict has, and which network that makes it.
 *
 * The one idea: a layout is a table from our module paths to theirs, and what it takes to read a network's options off the
 * shapes. Axes follow from the convention of the file (PyTorch: OIHW and [out, in]), so no layout speaks of them but where a
 * map was flattened.
 */
import { DataError } from '../../core/errors.ts';
import type { Graph } from '../../models/graph/spec.ts';
import type { Preprocessing } from '../../models/network.ts';
import type { Convention } from '../format.ts';
import type { HostTensor } from '../safetensors.ts';

/** Tensors by name. */
export type Tensors = ReadonlyMap<string, HostTensor>;

/** A network of the registry that a state is. */
export interface NetworkFit {
  readonly architecture: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly preprocessing?: Partial<Preprocessing>;
  /** Their name of one of our variables. */
  readonly nameOf: (variable: string) => string;
  /** Sides of the map that a weight of ours takes flattened: theirs in the order C, H, W. */
  readonly flattened?: Readonly<Record<string, readonly [number, number]>>;
  /** Variables of ours that a state may leave out, and the number that fills them then. */
  readonly absent?: Readonly<Record<string, number>>;
  /** Names of theirs that no network reads. */
  readonly ignored?: RegExp;
  readonly notes?: readonly string[];
}

/** A network as a program, where the registry has none like it. Its variables' names are `layers.` and their paths. */
export interface GraphFit {
  readonly graph: Graph;
  readonly preprocessing: Partial<Preprocessing>;
  /** Names of theirs that the graph has taken. */
  readonly used: ReadonlySet<string>;
  readonly notes?: readonly string[];
}

export interface Layout {
  /** As the command line has it. */
  readonly name: string;
  /** Whose code names them so. */
  readonly project: string;
  /** One line, without a full stop. */
  readonly means: string;
  readonly convention: Convention;
  /** Some names that every such state has, and no other layout's. */
  readonly has: readonly string[];
  /** What all of its names look like. */
  readonly names: RegExp;
  /** @throws DataError where shapes or counts are none of this layout's */
  fit(tensors: Tensors, source: string): NetworkFit | GraphFit;
}

const pytorchLeaves: Readonly<Record<string, string>> = { runningMean: 'running_mean', runningVar: 'running_var' };

/** PyTorch's names of variables, from their module path for one of ours. */
export const pytorchNames =
  (path: (ours: string) => string) =>
  (variable: string): string => {
    const dot = variable.lastIndexOf('.');
    const leaf = variable.slice(dot + 1);
    return `${path(variable.slice(0, dot))}.${pytorchLeaves[leaf] ?? leaf}`;
  };

/** Throws DataError where two shapes of a state do not go together as this layout has them. */
export function agree(source: string, what: string, expected: number, got: number | undefined): void {
  if (got !== expected)
    throw new DataError(
      `${source}: expected ${expected} ${what}, got ${got ?? 'none'}\nIt is another network under the same names: convert it as a graph, for example from ONNX.`,
    );
}

/**
 * Renames the front of a path by a table; `#` stands for a number, the same on both sides in order. The longest entry wins;
 * what none begins stays.
 */
export function renamer(table: Readonly<Record<string, string>>): (path: string) => string {
  const rules = Object.entries(table)
    .sort(([a], [b]) => b.length - a.length)
    .map(([from, to]) => {
      let n = 0;
      return [
        new RegExp(`^${from.replaceAll('.', '\\.').replaceAll('#', '(\\d+)')}(?=\\.|$)`),
        to.replace(/#/g, () => `$${++n}`),
      ] as const;
    });
  return (path) => {
    const rule = rules.find(([from]) => from.test(path));
    return rule ? path.replace(rule[0], rule[1]) : path;
  };
}

/** The shape of a tensor that a layout goes by. Throws DataError where it is missing or has other axes. */
export function shapeOf(tensors: Tensors, name: string, axes: number, source: string): readonly number[] {
  const found = tensors.get(name);
  if (found?.shape.length === axes) return found.shape;
  throw new DataError(
    `${source}: expected ${name} with ${axes} axes, got ${found ? `one of shape [${found.shape}]` : 'none'}\nIt is another network, or part of one.`,
  );
}

/** How many of `prefix0`, `prefix1` … begin names. */
export function countOf(tensors: Tensors, prefix: string): number {
  const found = new Set<number>();
  for (const name of tensors.keys()) {
    if (!name.startsWith(prefix)) continue;
    const number = /^(\d{1,6})(\.|$)/.exec(name.slice(prefix.length))?.[1];
    if (number !== undefined) found.add(Number(number));
  }
  let n = 0;
  while (found.has(n)) n++;
  return n;
}

/** The sides of a map of that many positions: as square as can be, higher than wide. */
export function sidesOf(positions: number): readonly [number, number] {
  let w = Math.max(1, Math.floor(Math.sqrt(positions)));
  while (positions % w) w--;
  return [positions / w, w];
}

/** How the PyTorch projects of the field normalise: ToTensor, then (x − 0.5) / 0.5. */
export const halves = { mean: 127.5, scale: 1 / 127.5 } as const;
export const colourNote = (project: string): string =>
  `colours in the order ${project} trains with; weights of others under these names may want the other order`;
