/**
 * MXNet's `-symbol.json`: a network as a list of nodes, each after those it reads (NNVM's graph as JSON).
 *
 * The attributes of an operator are text as Python prints it ('(3, 3)', 'True'), under `attrs` since MXNet 1.0, `attr` in
 * 0.9 to 0.12, and `param` (with the user's own in `attr`) before.
 */
import * as v from 'valibot';
import { DataError } from '../../core/errors.ts';

/** Which output of which node. */
export type Entry = readonly [node: number, output: number];

export interface SymbolNode {
  /** 'null' for variables: inputs, labels, weights. */
  readonly op: string;
  readonly name: string;
  readonly attrs: Readonly<Record<string, string>>;
  readonly inputs: readonly Entry[];
}

export interface MxSymbol {
  readonly nodes: readonly SymbolNode[];
  readonly heads: readonly Entry[];
}

const index = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Node and output; newer versions add a number. */
const entry = v.tupleWithRest([index, index], v.unknown());
const attributes = v.optional(v.record(v.string(), v.string()), {});
const schema = v.object({
  nodes: v.array(
    v.object({
      op: v.string(),
      name: v.string(),
      attrs: attributes,
      attr: attributes,
      param: attributes,
      inputs: v.array(entry),
    }),
  ),
  heads: v.pipe(v.array(entry), v.minLength(1)),
});

/**
 * @param name what errors call the file
 * @throws DataError for what is no such JSON, and nodes that read what comes after them
 */
export function readSymbol(bytes: Uint8Array, name: string): MxSymbol {
  const fail = (message: string): never => {
    throw new DataError(
      `${name}: expected MXNet's symbol in JSON, but ${message}\nIt may be cut off or damaged: fetch it again.`,
    );
  };
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    fail((error as Error).message);
  }
  const result = v.safeParse(schema, json);
  if (!result.success) {
    const { message, path } = result.issues[0];
    return fail(`at ${(path ?? []).map((p) => String(p.key)).join('.') || 'its top'}: ${message}`);
  }
  const { nodes, heads } = result.output;
  const symbol = {
    nodes: nodes.map(({ op, name, attrs, attr, param, inputs }) => ({
      op,
      name,
      attrs: { ...attr, ...param, ...attrs },
      inputs: inputs.map(([node, output]) => [node, output] as const),
    })),
    heads: heads.map(([node, output]) => [node, output] as const),
  };
  for (const [i, node] of symbol.nodes.entries())
    for (const [from] of node.inputs)
      if (from >= i) fail(`node ${i} (${node.name}) reads node ${from}, which is not before it`);
  for (const [from] of symbol.heads) if (from >= nodes.length) fail(`it gives node ${from} of ${nodes.length}`);
  return symbol;
}

/** A node's attributes as values. Errors name the node. */
export class Attributes {
  private readonly node: SymbolNode;
  private readonly file: string;
  constructor(node: SymbolNode, file: string) {
    this.node = node;
    this.file = file;
  }
  private fail(key: string, expected: string): never {
    const { op, name, attrs } = this.node;
    throw new DataError(
      `${this.file}: ${name} (${op}): expected ${key} to be ${expected}, got '${attrs[key]}'\nThe symbol is damaged or of another kind.`,
    );
  }
  /** The text; undefined where it is missing or None. */
  text(key: string): string | undefined {
    const value = this.node.attrs[key];
    return value === undefined || value === 'None' ? undefined : value;
  }
  /** One of `choices`; the first where it is missing. */
  choice<T extends string>(key: string, choices: readonly [T, ...T[]]): T {
    const value = this.text(key) ?? choices[0];
    return choices.find((c) => c === value) ?? this.fail(key, `one of ${choices.join(', ')}`);
  }
  number(key: string, fallback?: number): number {
    const value = this.text(key);
    if (value === undefined && fallback !== undefined) return fallback;
    const x = Number(value?.replace(/[Lf]$/, '').replace(/^(-?)inf$/, '$1Infinity'));
    return value?.trim() && !Number.isNaN(x) ? x : this.fail(key, 'a number');
  }
  flag(key: string, fallback: boolean): boolean {
    const value = this.text(key)?.toLowerCase();
    if (value === undefined) return fallback;
    if (['true', '1'].includes(value)) return true;
    return ['false', '0'].includes(value) ? false : this.fail(key, 'True or False');
  }
  /** Whole numbers: '(3, 3)', '[3,3]', '(3L, 3L)' or '3'. */
  numbers(key: string, fallback?: readonly number[]): readonly number[] {
    const value = this.text(key);
    if (value === undefined && fallback !== undefined) return fallback;
    const parts = (value ?? '')
      .replace(/^\s*[([]|[)\]]\s*$/g, '')
      .split(',')
      .map((p) => p.trim().replace(/L$/, ''))
      .filter((p, i, all) => p !== '' || i < all.length - 1);
    if (value === undefined || parts.length > 32 || parts.some((p) => !/^-?\d{1,9}$/.test(p)))
      this.fail(key, 'whole numbers');
    return parts.map(Number);
  }
  /** Two numbers, [down, right]. */
  pair(key: string, fallback?: number): readonly [number, number] {
    const values = this.numbers(key, fallback === undefined ? undefined : [fallback, fallback]);
    if (values.length === 0 && fallback !== undefined) return [fallback, fallback];
    return values.length === 2 ? [values[0]!, values[1]!] : this.fail(key, 'two whole numbers');
  }
}
