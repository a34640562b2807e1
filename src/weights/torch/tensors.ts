/**
 * PyTorch's tensors as its files describe them: a view of a storage by offset, sizes and strides, counted in elements.
 *
 * The one idea: a tensor is checked against its storage when the pickle makes it, before any number is there, and copied
 * out once at the end; what all copies together may take is bounded by what the storages hold.
 * Format: torch/_utils.py (`_rebuild_tensor_v2` and its relatives), c10/core/ScalarType.h.
 */
import { hostArray } from '../../core/dtype.ts';
import { DataError } from '../../core/errors.ts';
import { sizeOf } from '../../core/shape.ts';
import { type NumberKind, numberKinds } from '../npy.ts';
import { type PickleContext, PickleObject, pickleKind } from '../pickle.ts';
import { bfloatToFloat, type HostTensor, hostData } from '../safetensors.ts';

const bfloat: NumberKind = {
  size: 2,
  dtype: 'f32',
  get: (v, at, little) => bfloatToFloat(v.getUint16(at, little)),
};
const { f2, f4, f8, i1, i2, i4, i8, u1, u2, u4, u8, b1 } = numberKinds as Required<typeof numberKinds>;

/** Types by the names of their storages and by those of their dtypes. */
const kinds: readonly (readonly [kind: NumberKind, storage: string, ...dtypes: string[]])[] = [
  [f8!, 'Double', 'float64', 'double'],
  [f4!, 'Float', 'float32', 'float'],
  [f2!, 'Half', 'float16', 'half'],
  [bfloat, 'BFloat16', 'bfloat16'],
  [i8!, 'Long', 'int64', 'long'],
  [i4!, 'Int', 'int32', 'int'],
  [i2!, 'Short', 'int16', 'short'],
  [i1!, 'Char', 'int8'],
  [u1!, 'Byte', 'uint8'],
  [b1!, 'Bool', 'bool'],
  [u2!, '', 'uint16'],
  [u4!, '', 'uint32'],
  [u8!, '', 'uint64'],
];
/** `torch.FloatStorage`, `torch.cuda.FloatStorage`, and the untyped ones, which count bytes. */
const storageKinds = new Map<string, NumberKind>([
  ...kinds.flatMap(([kind, storage]) =>
    storage ? ['torch', 'torch.cuda'].map((module) => [`${module}.${storage}Storage`, kind] as const) : [],
  ),
  ['torch.storage.UntypedStorage', u1!],
  ['torch.UntypedStorage', u1!],
  ['torch.storage._UntypedStorage', u1!],
]);
const dtypeKinds = new Map<string, NumberKind>(
  kinds.flatMap(([kind, , ...dtypes]) => dtypes.map((dtype) => [`torch.${dtype}`, kind] as const)),
);
export const storageNames: readonly string[] = [...storageKinds.keys()];
export const dtypeNames: readonly string[] = [...dtypeKinds.keys()];

/** Numbers of one type, which several tensors may share. Its bytes come after the pickle. */
export class TorchStorage {
  readonly key: string;
  readonly kind: NumberKind;
  /** Elements. */
  readonly length: number;
  /** Where it is part of another storage: which, and its first element there. */
  readonly root: { readonly storage: TorchStorage; readonly offset: number } | undefined;
  private own: Uint8Array | undefined;
  /** Byte order of the numbers. */
  little = true;
  constructor(key: string, kind: NumberKind, length: number, root?: TorchStorage['root']) {
    this.key = key;
    this.kind = kind;
    this.length = length;
    this.root = root;
  }
  /** Bytes of all its elements. */
  get size(): number {
    return this.length * this.kind.size;
  }
  fill(bytes: Uint8Array, little: boolean): void {
    this.own = bytes;
    this.little = little;
  }
  /** Undefined where the file does not hold it. */
  get bytes(): { readonly bytes: Uint8Array; readonly little: boolean } | undefined {
    if (!this.root) return this.own && { bytes: this.own, little: this.little };
    const { storage, offset } = this.root;
    const whole = storage.bytes;
    const from = offset * storage.kind.size;
    return whole && { ...whole, bytes: whole.bytes.subarray(from, from + this.size) };
  }
}

/** The element type that a storage's class names. Throws the pickle's error for others. */
export function storageKind(name: string, pickle: Pick<PickleContext, 'refuse'>): NumberKind {
  return storageKinds.get(name) ?? pickle.refuse(`expected a storage of a type that is read, got ${name || 'none'}`);
}

export class TorchTensor extends PickleObject {
  readonly storage: TorchStorage;
  /** That of the storage, but for untyped ones. */
  readonly kind: NumberKind;
  /** In elements, as the strides. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(
    storage: TorchStorage,
    kind: NumberKind,
    offset: number,
    shape: readonly number[],
    strides: readonly number[],
  ) {
    super();
    this.storage = storage;
    this.kind = kind;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
  /** Attributes that a program has put on it. */
  setState(): void {}
}

const mostAxes = 64;
/** A shared number is read this often at most: views that repeat numbers (`expand`) need no more. */
const leastShared = 1 << 16;

const wholes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= mostAxes && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/** A view of a storage. Throws the pickle's error where it does not lie inside. */
export function tensorOf(
  [storage, offset, shape, strides, dtype]: readonly unknown[],
  pickle: Pick<PickleContext, 'refuse' | 'spend'>,
): TorchTensor {
  if (!(storage instanceof TorchStorage))
    return pickle.refuse(`expected a tensor of a storage, got one of ${pickleKind(storage)}`);
  if (!wholes(shape) || !wholes(strides) || shape.length !== strides.length || !wholes([offset]))
    return pickle.refuse(
      `expected a tensor's offset, sizes and strides, whole numbers of at least 0 for up to ${mostAxes} axes, got ${[offset, shape, strides].map((x) => (Array.isArray(x) ? `(${x.slice(0, 8).map(pickleKind)})` : pickleKind(x))).join(', ')}`,
    );
  const kind =
    dtype === undefined
      ? storage.kind
      : (dtypeKinds.get(String(dtype)) ?? pickle.refuse(`expected a dtype that is read, got ${String(dtype)}`));
  const room = storage.size / kind.size;
  const n = sizeOf(shape);
  const last = shape.reduce((at, d, i) => at + (d - 1) * strides[i]!, offset as number);
  if (n > 0 && !(last < room))
    pickle.refuse(
      `a tensor of sizes (${shape}) and strides (${strides}) from ${offset} on reaches element ${last} of a storage of ${Math.floor(room)}`,
    );
  if (!(n <= Math.max(room, leastShared)))
    pickle.refuse(`a tensor of sizes (${shape}) repeats the ${Math.floor(room)} numbers of its storage too often`);
  pickle.spend(shape.length * 2);
  return new TorchTensor(storage, kind, offset as number, [...shape], [...strides]);
}

/** Whether numbers lie one behind the other in row-major order. */
function contiguous({ shape, strides }: TorchTensor): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

/**
 * The numbers of a tensor, in memory of their own: halves, bfloat16 and doubles as f32, integers as i32.
 * @param name what errors call it
 * @throws DataError where the file does not hold the storage, or an integer does not fit
 */
export function hostTensor(tensor: TorchTensor, name: string): HostTensor {
  const { storage, kind, offset, shape, strides } = tensor;
  const n = sizeOf(shape);
  const held = storage.bytes;
  if (n === 0) return { dtype: kind.dtype, shape, data: hostArray(kind.dtype, 0) };
  if (!held || held.bytes.length < storage.size)
    throw new DataError(
      `${name}: expected ${storage.size} bytes in storage '${storage.key}', got ${held ? held.bytes.length : 'none'}\nThe file may be cut off: fetch it again.`,
    );
  const { bytes, little } = held;
  const { size, dtype } = kind;
  let from = bytes.subarray(offset * size);
  if (!contiguous(tensor)) {
    const gathered = new Uint8Array(n * size);
    const index = new Array<number>(shape.length).fill(0);
    let at = 0;
    for (let i = 0; i < n; i++) {
      for (let b = 0; b < size; b++) gathered[i * size + b] = from[at * size + b]!;
      for (let d = shape.length - 1; d >= 0; d--) {
        at += strides[d]!;
        if (++index[d]! < shape[d]!) break;
        at -= strides[d]! * shape[d]!;
        index[d] = 0;
      }
    }
    from = gathered;
  }
  const same = kind.same && (little || size === 1);
  const get = same ? undefined : (v: DataView, at: number) => kind.get(v, at, little);
  return { dtype, shape, data: hostData(from, n, size, dtype, get, name) };
}
