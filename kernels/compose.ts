/**
 * The code of a dispatch: what is prepended to its `.wgsl` files, and the buffers and numbers that go with it.
 *
 * The one idea: equal code means equal pipeline, so tensor sizes are parameters and code depends only on constants, dtypes,
 * widths and expressions.
 */
import { type Buffer, sameBuffer } from '../src/core/buffer.ts';
import { bytesOf } from '../src/core/dtype.ts';
import { keyOf } from '../src/expr/nodes.ts';
import { printWgsl } from '../src/expr/printWgsl.ts';
import { type Dispatch, elementsOf, type GpuEpilogue, type Operand, type Param } from './lower.ts';
import { sources } from './sources.ts';

export interface Binding {
  readonly buffer: Buffer;
  /** From the buffer's offset on. */
  readonly bytes: number;
  readonly writes: boolean;
}
export interface Composed {
  readonly code: string;
  /** Names what it computes, for listings. */
  readonly label: string;
  /** In order; the parameters are binding 0 and these follow. */
  readonly bindings: readonly Binding[];
  readonly params: ArrayBuffer;
  readonly groups: number;
}

/** Bytes that a tensor takes in device memory: room for the last vector, and never nothing. */
export const paddedBytes = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16);

type Stored = 'f32' | 'half' | 'i32' | 'u32' | 'bytes';
const storedAs = ({ value, bits, half }: Operand): Stored =>
  bytesOf(value.dtype) === 1 ? 'bytes' : half ? 'half' : bits ? 'u32' : (value.dtype as 'f32' | 'i32');
const scalarType = (s: Stored) => (s === 'bytes' ? 'u32' : s === 'half' ? 'f32' : s);
const typeOf = (o: Operand): string => {
  const t = scalarType(storedAs(o));
  return o.width === 4 ? `vec4<${t}>` : t;
};
const capital = (name: string) => name[0]!.toUpperCase() + name.slice(1);

/** Element type of the array that is bound. */
const arrayType = (o: Operand) => {
  const stored = storedAs(o);
  return stored === 'bytes' ? 'u32' : stored === 'half' ? (o.width === 4 ? 'vec2<u32>' : 'u32') : typeOf(o);
};
/** Bytes of one element in device memory. */
const elementBytes = (o: Operand) => (o.half ? 2 : bytesOf(o.value.dtype));

function loadFunction(name: string, o: Operand, variable: string): string {
  const head = `alias Type${capital(name)} = ${typeOf(o)};\nfn load${capital(name)}(i: u32) -> ${typeOf(o)}`;
  if (storedAs(o) === 'half')
    return o.width === 4
      ? `${head} { let v = ${variable}[i]; return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)); }`
      : `${head} { return unpack2x16float(${variable}[i >> 1u])[i & 1u]; }`;
  if (storedAs(o) !== 'bytes') return `${head} { return ${variable}[i]; }`;
  return o.width === 4
    ? `${head} { return (vec4<u32>(${variable}[i]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u); }`
    : `${head} { return (${variable}[i >> 2u] >> ((i & 3u) * 8u)) & 255u; }`;
}

/** @param text what is stored, from `value` and `i` */
function storeFunction(name: string, o: Operand, variable: string, text = 'value'): string {
  const head = `fn store${capital(name)}(i: u32, value: ${typeOf(o)})`;
  const stored = storedAs(o);
  if (stored !== 'bytes' && stored !== 'half') return `${head} { ${variable}[i] = ${text}; }`;
  if (o.width === 1) throw new Error(`kernel output '${name}': ${stored} are stored four at a time`);
  if (stored === 'half')
    return `${head} {\nlet v = ${text};\n${variable}[i] = vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));\n}`;
  return `${head} { ${variable}[i] = value.x | (value.y << 8u) | (value.z << 16u) | (value.w << 24u); }`;
}

/** Loads of epilogue operand k for element or vector i. */
function epilogueLoad(kind: 'column' | 'full' | 'scalar', k: number, width: 1 | 4, whole: boolean): string {
  const name = `loadTail${k}`;
  if (kind === 'scalar') return width === 4 ? `vec4<f32>(${name}(0u))` : `${name}(0u)`;
  if (kind === 'full') return `${name}(i)`;
  if (width === 1) return `${name}(i % p.tailColumns)`;
  if (whole) return `${name}(i % p.tailColumns)`;
  return `vec4<f32>(${[0, 1, 2, 3].map((lane) => `${name}((4u * i + ${lane}u) % p.tailColumns)`).join(', ')})`;
}

function paramText(name: string, v: Param): string {
  return `${name}: ${typeof v === 'number' ? 'u32' : 'i32' in v ? 'i32' : 'f32'}`;
}

/** @param tailOf the buffer whose store the epilogue is part of */
export function compose(d: Dispatch, tail?: { readonly epilogue: GpuEpilogue; readonly of: Buffer }): Composed {
  const lines: string[] = [];
  const bindings: Binding[] = [];
  const params: Record<string, Param> = { groups: d.groups, ...d.params };
  const bytesFor = (o: Operand) => paddedBytes(elementsOf(o.value) * elementBytes(o));

  for (const [name, v] of Object.entries(d.consts ?? {})) {
    if (typeof v === 'number' && (!Number.isInteger(v) || v < 0)) throw new Error(`kernel constant ${name}: ${v}`);
    lines.push(`const ${name}: ${typeof v === 'boolean' ? 'bool' : 'u32'} = ${v}${typeof v === 'boolean' ? '' : 'u'};`);
  }

  /** Declares a binding, or gives the variable of one that is there: WebGPU forbids to bind a written buffer twice. */
  const bound: { operand: Operand; variable: string }[] = [];
  const bind = (name: string, o: Operand, writes: boolean): string => {
    const known = bound.find(
      (b) => sameBuffer(b.operand.value.buffer, o.value.buffer) && (writes || isOutput(b) || name === 'pool'),
    );
    if (known) {
      if (arrayType(known.operand) !== arrayType(o))
        throw new Error(`kernel operand '${name}': one buffer, two widths`);
      return known.variable;
    }
    const variable = `data${capital(name)}`;
    bound.push({ operand: o, variable });
    bindings.push({ buffer: o.value.buffer, bytes: bytesFor(o), writes });
    lines.push(
      `@group(0) @binding(${bindings.length}) var<storage, ${writes ? 'read_write' : 'read'}> ${variable}: array<${arrayType(o)}>;`,
    );
    return variable;
  };
  const outputs = Object.entries(d.outputs);
  const isOutput = (b: { operand: Operand }) =>
    outputs.some(([, o]) => sameBuffer(o.value.buffer, b.operand.value.buffer));

  /** Declares how an operand is loaded. */
  const declare = (name: string, o: Operand): void => {
    if (!o.pool) {
      lines.push(loadFunction(name, o, bind(name, o, false)));
      return;
    }
    const variable = bind('pool', { value: o.pool.value, width: 1 }, false);
    params[`${name}At`] = o.pool.at;
    const one = (k: number) => `${variable}[at + ${k}u]`;
    lines.push(
      o.width === 1
        ? `alias Type${capital(name)} = f32;\nfn load${capital(name)}(i: u32) -> f32 { return ${variable}[p.${name}At + i]; }`
        : `alias Type${capital(name)} = vec4<f32>;\nfn load${capital(name)}(i: u32) -> vec4<f32> {\n  let at = p.${name}At + 4u * i;\n  return vec4<f32>(${[0, 1, 2, 3].map(one).join(', ')});\n}`,
    );
  };

  for (const [name, o] of outputs) {
    const variable = bind(name, o, true);
    lines.push(loadFunction(name, o, variable));
    const fused = tail && sameBuffer(tail.of, o.value.buffer) ? tail.epilogue : undefined;
    if (!fused) {
      lines.push(storeFunction(name, o, variable));
      continue;
    }
    const whole = o.width === 4 && fused.columns % 4 === 0;
    params.tailColumns = whole ? fused.columns / 4 : fused.columns;
    const loads = fused.operands.map(({ kind, ...rest }, k) => {
      const width = kind === 'scalar' || (kind === 'column' && !whole) ? 1 : o.width;
      declare(`tail${k}`, { ...rest, width });
      return epilogueLoad(kind, k, o.width, whole);
    });
    const names = ['value', ...loads.map((_, k) => `tail${k}`)];
    lines.push(
      `fn tailOf(${names.map((n) => `${n}: f32`).join(', ')}) -> f32 {\n${printWgsl(fused.expr, names)}\n}`,
      ...loads.map((text, k) => `fn tailAt${k}(i: u32) -> ${o.width === 4 ? 'vec4<f32>' : 'f32'} { return ${text}; }`),
    );
    const one = `tailOf(value${loads.map((_, k) => `, tailAt${k}(i)`).join('')})`;
    const four = ['x', 'y', 'z', 'w'].map((c) => `tailOf(value.${c}${loads.map((_, k) => `, t${k}.${c}`).join('')})`);
    if (o.width === 1) lines.push(storeFunction(name, o, variable, one));
    else {
      const given = loads.map((_, k) => `t${k}: vec4<f32>`);
      lines.push(
        `fn tailOfFour(${['value: vec4<f32>', ...given].join(', ')}) -> vec4<f32> { return vec4<f32>(${four.join(', ')}); }`,
        storeFunction(
          name,
          o,
          variable,
          `tailOfFour(${['value', ...loads.map((_, k) => `tailAt${k}(i)`)].join(', ')})`,
        ),
      );
    }
  }
  for (const [name, o] of Object.entries(d.inputs ?? {})) declare(name, o);

  const words = new DataView(new ArrayBuffer(Math.ceil(Object.keys(params).length / 4) * 16));
  Object.values(params).forEach((v, i) => {
    if (typeof v === 'number') words.setUint32(4 * i, v, true);
    else if ('i32' in v) words.setInt32(4 * i, v.i32, true);
    else words.setFloat32(4 * i, v.f32, true);
  });
  const fields = Object.entries(params).map(([name, v]) => `  ${paramText(name, v)},`);
  const files = d.files.map((f) => {
    const text = sources[f];
    if (text === undefined) throw new Error(`kernels/${f}.wgsl: no such file`);
    return text;
  });
  const text = [d.code ?? '', ...files].join('\n');
  const enables = [
    ...(/\bsubgroup[A-Z]/.test(text) ? ['enable subgroups;'] : []),
    ...(/\bsubgroup_id\b/.test(text) ? ['requires subgroup_id;'] : []),
  ];
  const code = [
    ...enables,
    `struct Params {\n${fields.join('\n')}\n}`,
    '@group(0) @binding(0) var<uniform> p: Params;',
    'fn groupOf(wid: vec3<u32>, nwg: vec3<u32>) -> u32 { return wid.x + nwg.x * wid.y; }',
    ...lines,
    text,
    // The functions that expressions call, where one does.
    ...([...lines, text].some((t) => /\bmath[A-Z]/.test(t)) ? [sources.pointwiseMath] : []),
  ].join('\n');
  return {
    code,
    label: `${d.label ?? d.files.join('+')}${tail && params.tailColumns !== undefined ? ` ${keyOf(tail.epilogue.expr)}` : ''}`,
    bindings,
    params: words.buffer,
    groups: d.groups,
  };
}
