/**
 * TensorFlow graphs as lists of nodes: from a GraphDef message (frozen `.pb`), or from the same as JSON (TFJS).
 *
 * The one idea: both give the same nodes with the same attributes, so that one importer serves them. Functions of the graph's
 * library are not looked into: the nodes that call them are refused by name later.
 * Source: tensorflow/core/framework/{graph,node_def,attr_value}.proto; protobuf's JSON mapping.
 */
import { WireType } from '@bufbuild/protobuf/wire';
import * as v from 'valibot';
import { DataError } from '../../core/errors.ts';
import { type Constant, fields, int64, numbersOf, shapeProto, tensorProto, text, typeName } from './wire.ts';

/** An attribute's value; which of these it has is the operator's affair. */
export interface TfAttr {
  readonly s?: string;
  readonly i?: number;
  readonly f?: number;
  readonly b?: boolean;
  /** Element type as in `typeName`. */
  readonly type?: string;
  /** Sizes, -1 where not known. */
  readonly shape?: readonly number[];
  readonly tensor?: Constant;
  /** Items of a list of numbers (`i` or `f`) or of texts. */
  readonly numbers?: readonly number[];
  readonly texts?: readonly string[];
}

export interface TfNode {
  readonly name: string;
  readonly op: string;
  /** `name`, `name:1` for another output, `^name` for what must run before. */
  readonly inputs: readonly string[];
  readonly attrs: ReadonlyMap<string, TfAttr>;
}

type Repeats = Parameters<typeof tensorProto>[1];

function attrValue(message: Uint8Array, repeats: Repeats): TfAttr {
  let out: TfAttr = {};
  fields(message, (field, wire, r) => {
    const bytes = wire === WireType.LengthDelimited;
    if (field === 2 && bytes) out = { s: text(r.bytes()) };
    else if (field === 3 && wire === WireType.Varint) out = { i: int64(r) };
    else if (field === 4 && wire === WireType.Bit32) out = { f: r.float() };
    else if (field === 5 && wire === WireType.Varint) out = { b: r.bool() };
    else if (field === 6 && wire === WireType.Varint) out = { type: typeName(r.int32()) };
    else if (field === 7 && bytes) {
      const shape = shapeProto(r.bytes());
      out = shape ? { shape } : {};
    } else if (field === 8 && bytes) {
      const tensor = tensorProto(r.bytes(), repeats);
      out = tensor ? { tensor } : {};
    } else if (field === 1 && bytes) {
      const numbers: number[] = [];
      const texts: string[] = [];
      fields(r.bytes(), (inner, type, list) => {
        if (inner === 2 && type === WireType.LengthDelimited) texts.push(text(list.bytes()));
        else if (inner === 3) numbersOf(type, list, numbers, int64);
        else if (inner === 4) numbersOf(type, list, numbers, (x) => x.float());
        else return false;
        return true;
      });
      out = { numbers, texts };
    } else return false;
    return true;
  });
  return out;
}

function nodeDef(message: Uint8Array, repeats: Repeats): TfNode {
  let name = '';
  let op = '';
  const inputs: string[] = [];
  const attrs = new Map<string, TfAttr>();
  fields(message, (field, wire, r) => {
    if (wire !== WireType.LengthDelimited || ![1, 2, 3, 5].includes(field)) return false;
    const bytes = r.bytes();
    if (field === 1) name = text(bytes);
    else if (field === 2) op = text(bytes);
    else if (field === 3) inputs.push(text(bytes));
    else {
      let key = '';
      let value: Uint8Array | undefined;
      fields(bytes, (inner, innerType, entry) => {
        if (innerType !== WireType.LengthDelimited || (inner !== 1 && inner !== 2)) return false;
        if (inner === 1) key = text(entry.bytes());
        else value = entry.bytes();
        return true;
      });
      if (value) attrs.set(key, attrValue(value, repeats));
    }
    return true;
  });
  return { name, op, inputs, attrs };
}

/** Nodes of a graph that are worth reading; the largest face networks have some 10,000. */
const mostNodes = 500_000;
/** Elements of all its tensors together that repeat another one, and are not in the file. */
const mostRepeated = 2 ** 25;

/**
 * The nodes of a GraphDef.
 * @param source what errors call it
 * @throws DataError where the bytes are none
 */
export function readGraphDef(bytes: Uint8Array, source: string): TfNode[] {
  const nodes: TfNode[] = [];
  let left = mostRepeated;
  const repeats = (elements: number) => {
    left -= elements;
    if (left < 0) throw new RangeError(`tensors of ${mostRepeated} elements and more that it does not hold`);
  };
  try {
    fields(bytes, (field, wire, r) => {
      if (field !== 1 || wire !== WireType.LengthDelimited) return false;
      if (nodes.length >= mostNodes) throw new RangeError(`more than ${mostNodes} nodes`);
      nodes.push(nodeDef(r.bytes(), repeats));
      return true;
    });
  } catch (error) {
    throw new DataError(
      `${source}: expected a frozen TensorFlow graph (GraphDef), got damaged protobuf data: ${(error as Error).message}\nFetch the file again, or freeze the graph again.`,
      { cause: error },
    );
  }
  return checked(nodes, source);
}

function checked(nodes: TfNode[], source: string): TfNode[] {
  const names = new Set<string>();
  for (const { name, op } of nodes) {
    if (name === '' || op === '' || names.has(name))
      throw new DataError(
        `${source}: expected nodes with a name of their own and an operator, got '${name}' (${op || 'no operator'})\nFetch the file again, or freeze the graph again.`,
      );
    names.add(name);
  }
  if (nodes.length === 0)
    throw new DataError(
      `${source}: expected a TensorFlow graph, got one without nodes\nGive a frozen graph (.pb), not a SavedModel's saved_model.pb or a checkpoint.`,
    );
  return nodes;
}

const integer = v.union([v.number(), v.pipe(v.string(), v.regex(/^-?\d{1,20}$/), v.transform(Number))]);
const float = v.union([v.number(), v.pipe(v.picklist(['NaN', 'Infinity', '-Infinity']), v.transform(Number))]);
const shapeJson = v.object({
  dim: v.optional(v.array(v.object({ size: v.optional(integer, 0) }))),
  unknownRank: v.optional(v.boolean()),
});
const list = v.object({
  i: v.optional(v.array(integer)),
  f: v.optional(v.array(float)),
  s: v.optional(v.array(v.string())),
});
const attrJson = v.object({
  s: v.optional(v.string()),
  i: v.optional(integer),
  f: v.optional(float),
  b: v.optional(v.boolean()),
  type: v.optional(v.union([v.string(), v.number()])),
  shape: v.optional(v.nullable(shapeJson)),
  list: v.optional(v.nullable(list)),
});
const nodeJson = v.object({
  name: v.string(),
  op: v.string(),
  input: v.optional(v.nullable(v.array(v.string())), []),
  attr: v.optional(v.nullable(v.record(v.string(), v.nullable(attrJson))), {}),
});
const graphJson = v.object({ node: v.array(nodeJson) });

/** Bytes as protobuf's JSON has them; converters differ in whether texts are in base64. */
function base64(s: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(s), (c) => c.charCodeAt(0)));
  } catch {
    return s;
  }
}

/** The nodes of a GraphDef as JSON; its constants' numbers are elsewhere. Throws DataError where the data is none. */
export function graphDefOfJson(data: unknown, source: string): TfNode[] {
  const result = v.safeParse(graphJson, data);
  if (!result.success) {
    const { message, path } = result.issues[0];
    throw new DataError(
      `${source}: expected a TensorFlow graph as JSON, but ${(path ?? []).map((p) => String(p.key)).join('.')}: ${message}\nFetch or convert the model again.`,
    );
  }
  const nodes = result.output.node.map(
    ({ name, op, input, attr }): TfNode => ({
      name,
      op,
      inputs: input ?? [],
      attrs: new Map(
        Object.entries(attr ?? {}).map(([key, a]) => {
          const { s, i, f, b, type, shape, list: items } = a ?? {};
          const dims = shape && !shape.unknownRank ? (shape.dim ?? []).map((d) => d.size) : undefined;
          const value: TfAttr = {
            ...(s !== undefined && { s: base64(s) }),
            ...(i !== undefined && { i }),
            ...(f !== undefined && { f }),
            ...(b !== undefined && { b }),
            ...(type !== undefined && {
              type: typeof type === 'number' ? typeName(type) : type.replace(/^DT_/, '').toLowerCase(),
            }),
            ...(dims && { shape: dims }),
            ...(items && { numbers: items.i ?? items.f ?? [], texts: (items.s ?? []).map(base64) }),
          };
          return [key, value];
        }),
      ),
    }),
  );
  return checked(nodes, source);
}
