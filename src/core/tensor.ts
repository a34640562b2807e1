/**
 * Tensors: immutable, lazy nodes of a graph.
 *
 * The one idea: a tensor is a recipe (op, inputs, attributes) with a known shape and dtype; numbers exist only in host
 * arrays, in variables, and inside a running plan. Leaves are constants, variables and the placeholders of a trace.
 */
import { bytesOf, type Data, type DType, hostArray } from './dtype.ts';
import { ShapeError } from './errors.ts';
import { type Shape, showShape, sizeOf } from './shape.ts';

export interface TensorSpec {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** What a node needs of its op; the full record is `Op` in ops/define.ts. */
export interface OpName {
  readonly name: string;
}

let nextId = 1;
let scope = '';
/** Runs `work` with a module path that the nodes it makes carry, so that messages and profiles can name it. */
export function within<T>(path: string, work: () => T): T {
  const before = scope;
  scope = path;
  try {
    return work();
  } finally {
    scope = before;
  }
}

/** One application of an op. Ids grow in order of creation, so they are a topological order. */
export class Node {
  readonly id = nextId++;
  readonly op: OpName;
  readonly inputs: readonly Tensor[];
  readonly attrs: unknown;
  readonly outputs: readonly TensorSpec[];
  /** Dotted path of the module that made it, forwards or for its gradient; empty outside of modules. */
  readonly path: string;
  constructor(
    op: OpName,
    inputs: readonly Tensor[],
    attrs: unknown,
    outputs: readonly TensorSpec[],
    path: string = scope,
  ) {
    this.op = op;
    this.inputs = inputs;
    this.attrs = attrs;
    this.outputs = outputs;
    this.path = path;
  }
  tensor(index = 0): Tensor {
    return new Tensor(this, index);
  }
}

export class Tensor {
  readonly node: Node;
  /** Which output of the node this is. */
  readonly index: number;
  constructor(node: Node, index: number) {
    this.node = node;
    this.index = index;
  }
  get shape(): Shape {
    return this.node.outputs[this.index]!.shape;
  }
  get dtype(): DType {
    return this.node.outputs[this.index]!.dtype;
  }
  get rank(): number {
    return this.shape.length;
  }
  get size(): number {
    return sizeOf(this.shape);
  }
  /** Identity of the value: equal for two handles of one output. */
  get id(): string {
    return `${this.node.id}.${this.index}`;
  }
  toString(): string {
    return `${this.dtype}${showShape(this.shape)}`;
  }
}

/** Numbers on the host with their shape: what plans take and give. */
export interface HostTensor extends TensorSpec {
  readonly data: Data;
}

export const constantOp: OpName = { name: 'constant' };
export const variableOp: OpName = { name: 'variable' };
export const placeholderOp: OpName = { name: 'placeholder' };

function checkLength(what: string, data: Data, shape: Shape) {
  if (data.length !== sizeOf(shape))
    throw new ShapeError(
      `${what}: expected ${sizeOf(shape)} numbers for shape ${showShape(shape)}, got ${data.length}\nPass data and shape that agree.`,
    );
}

const dtypeOf = (data: Data): DType =>
  data instanceof Float32Array ? 'f32' : data instanceof Int32Array ? 'i32' : 'u8';

/**
 * A constant tensor. A number makes a scalar; a (nested flat) array of numbers is float32; a typed array keeps its type.
 * Shape defaults to one axis. Throws ShapeError where data and shape disagree.
 */
export function tensor(data: Data | readonly number[] | number, shape?: Shape, dtype?: DType): Tensor {
  const host =
    typeof data === 'number' || Array.isArray(data)
      ? fill(hostArray(dtype ?? 'f32', Array.isArray(data) ? data.length : 1), data as number | number[])
      : (data as Data);
  const s = shape ?? (typeof data === 'number' ? [] : [host.length]);
  checkLength('tensor', host, s);
  const spec = { shape: s, dtype: dtype ?? dtypeOf(host) };
  return new Node(constantOp, [], { data: host }, [spec]).tensor();
}

function fill(out: Data, from: number | readonly number[]): Data {
  if (typeof from === 'number') out[0] = from;
  else out.set(from);
  return out;
}

/** The same tensor data on the host, for passing to a compiled function. */
export function host(data: Data, shape: Shape, dtype: DType = dtypeOf(data)): HostTensor {
  checkLength('host', data, shape);
  return { data, shape, dtype };
}

/** Where a variable's newest numbers are, if not on the host. */
export interface VariableHome {
  /** Brings the newest numbers to `v.host`, which then is as new as the device's copy, and gives them. */
  readVariable(v: Variable): Promise<Data>;
  forget(v: Variable): void;
}

/**
 * State that outlives a plan: a parameter, an optimizer slot, a running statistic. Plans change it by `assign`.
 * `read` fetches the newest numbers, `write` replaces them, `dispose` frees its device memory.
 */
export class Variable implements TensorSpec {
  name: string;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Grows when the numbers change elsewhere than on their home; devices upload when theirs is older. */
  version = 1;
  /** The device whose copy is newer than `host`. */
  home: VariableHome | undefined;
  host: Data;
  private readonly leaf: Tensor;
  constructor(name: string, data: Data, shape: Shape, dtype: DType = dtypeOf(data)) {
    checkLength(`variable '${name}'`, data, shape);
    this.name = name;
    this.shape = shape;
    this.dtype = dtype;
    this.host = data;
    this.leaf = new Node(variableOp, [], { variable: this }, [this]).tensor();
  }
  /** The value as a tensor in a graph. */
  get tensor(): Tensor {
    return this.leaf;
  }
  get size(): number {
    return sizeOf(this.shape);
  }
  get bytes(): number {
    return this.size * bytesOf(this.dtype);
  }
  async read(): Promise<Data> {
    return this.home ? this.home.readVariable(this) : this.host;
  }
  /** A device that changed the numbers: older copies, the host's included, are out of date. Gives the new version. */
  movedTo(home: VariableHome): number {
    if (this.home !== home) this.version++;
    this.home = home;
    return this.version;
  }
  write(data: Data): void {
    checkLength(`variable '${this.name}'`, data, this.shape);
    this.host = data;
    this.home = undefined;
    this.version++;
  }
  dispose(): void {
    this.home?.forget(this);
    this.home = undefined;
  }
}
