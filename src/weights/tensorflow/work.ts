/**
 * What the operators of TensorFlow's graphs are worked off with: a node, what it takes, and how its attributes are read.
 *
 * The one idea: a handler says what it cannot do by `unsupported`; that goes no further than the node's result.
 */
import type { Shape } from '../../core/shape.ts';
import { type HostTensor, host } from '../../core/tensor.ts';
import type { GraphBuilder, Value } from '../../models/graph/builder.ts';
import type { TfNode } from './graphDef.ts';
import { type Constant, isConstant } from './wire.ts';

/** A branch that is not taken. */
export const dead = Symbol('dead');
/** What a node's output is: a value of the graph, numbers known now, or nothing. */
export type Result = Value | Constant | typeof dead;

/** Why a node cannot be had; it is collected, not thrown to the user. */
export class Unsupported extends Error {}
export const unsupported = (why: string): never => {
  throw new Unsupported(why);
};

/** What handlers work with: one node and what it takes. */
export interface Work {
  readonly node: TfNode;
  readonly inputs: readonly Result[];
  readonly builder: GraphBuilder;
  /** Whether a value is an input of the graph, or one on which no layer has worked yet. */
  raw(value: Value): boolean;
}
export type Handler = (work: Work) => Result | readonly Result[];

export const asHost = (c: Constant, shape: Shape = c.shape): HostTensor =>
  host(c.data instanceof Float32Array ? c.data : Float32Array.from(c.data), shape);

export const isValue = (x: Result | undefined): x is Value => x !== undefined && x !== dead && !isConstant(x);
export const list = ({ node }: Work, name: string) => node.attrs.get(name)?.numbers;
export const flagOf = ({ node }: Work, name: string) => node.attrs.get(name)?.b ?? false;
export const numberOf = ({ node }: Work, name: string, otherwise: number) => {
  const a = node.attrs.get(name);
  return a?.f ?? a?.i ?? otherwise;
};

/** The value at a place; constants become parts of the graph. */
export function value(work: Work, at = 0): Value {
  const x = work.inputs[at];
  if (isValue(x)) return x;
  if (x === undefined || x === dead) return unsupported(`takes no input ${at}`);
  return work.builder.constant(asHost(x), work.node.name);
}
export function known(work: Work, at: number, what: string): Constant {
  const x = work.inputs[at];
  return isConstant(x) ? x : unsupported(`${what} is not constant`);
}

export function spatial(work: Work): void {
  const format = work.node.attrs.get('data_format')?.s ?? 'NHWC';
  if (format !== 'NHWC') unsupported(`data_format ${format}: only NHWC is read, as TensorFlow writes it for CPUs`);
}
