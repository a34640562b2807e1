/**
 * The three containers that `torch.save` has had, each to the same: the value of its pickle, with tensors whose storages
 * know their bytes.
 *
 *   zip (1.6 and newer, and TorchScript)   `<name>/data.pkl`, a file `<name>/data/<key>` a storage, `<name>/byteorder`
 *   stream (0.1.2 to 1.5)   pickles of a magic number, the protocol, the system; of the value; of the storages' keys; then
 *                           each storage, its count before it
 *   tar (before that)       `storages` and `tensors`, pickles and numbers in turn, and `pickle`, the value
 * Format: torch/serialization.py.
 */
import { DataError } from '../../core/errors.ts';
import { rangesOf } from '../../core/ranges.ts';
import { Cursor } from '../cursor.ts';
import { torchMagic } from '../magic.ts';
import { type PickleContext, PickleName, type PickleOptions, pickleKind, readPickle } from '../pickle.ts';
import { readTarMembers } from '../tar.ts';
import { openZip, type ZipEntry } from '../zip.ts';
import { TorchObject, torchGlobals } from './globals.ts';
import { storageKind, TorchStorage, type TorchTensor, tensorOf } from './tensors.ts';

export interface TorchContent {
  readonly value: unknown;
  /** Brings the bytes of the storages that are needed, where they have not come with the pickle. */
  load(storages: ReadonlySet<TorchStorage>): Promise<void>;
}

const options = (name: string, persistentLoad?: PickleOptions['persistentLoad']): PickleOptions => ({
  name,
  globals: torchGlobals,
  instances: (className) => new TorchObject(className),
  strings: 'text',
  ...(persistentLoad && { persistentLoad }),
});

/** Storages by key, as the pickle names them. */
class Storages {
  readonly byKey = new Map<string, TorchStorage>();

  /** ('storage', type, key, location, count[, (view's key, offset, count)]), or ('module', class, file, source). */
  readonly load = (id: unknown, pickle: PickleContext): unknown => {
    if (Array.isArray(id) && id[0] === 'module') return id[1];
    if (!Array.isArray(id) || id[0] !== 'storage' || id.length < 5)
      return pickle.refuse(`expected a reference to a storage, got ${pickleKind(id)}`);
    const [, type, key, , count, view] = id as unknown[];
    if (!(type instanceof PickleName)) pickle.refuse(`expected a storage's type, got ${pickleKind(type)}`);
    const kind = storageKind(type.name, pickle);
    const root = this.known(
      asKey(key, pickle),
      pickle,
      () => new TorchStorage(String(key), kind, asCount(count, pickle)),
    );
    if (!Array.isArray(view)) return root;
    const [viewKey, offset, length] = view as unknown[];
    return this.known(asKey(viewKey, pickle), pickle, () =>
      partOf(root, String(viewKey), asCount(offset, pickle), asCount(length, pickle), pickle),
    );
  };
  known(key: string, pickle: PickleContext, make: () => TorchStorage): TorchStorage {
    let storage = this.byKey.get(key);
    if (!storage) {
      pickle.spend(8);
      storage = make();
      this.byKey.set(key, storage);
    }
    return storage;
  }
}

type Refuses = Pick<PickleContext, 'refuse'>;
const asKey = (key: unknown, pickle: Refuses): string =>
  typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint'
    ? String(key)
    : pickle.refuse(`expected a storage's key, got ${pickleKind(key)}`);
const asCount = (n: unknown, pickle: Refuses): number =>
  Number.isSafeInteger(n) && (n as number) >= 0
    ? (n as number)
    : pickle.refuse(`expected a storage's number of elements, got ${pickleKind(n)}`);
function partOf(root: TorchStorage, key: string, offset: number, length: number, pickle: Refuses): TorchStorage {
  if (offset + length > root.length)
    pickle.refuse(`a storage of ${length} elements from ${offset} on does not lie in one of ${root.length}`);
  return new TorchStorage(key, root.kind, length, { storage: root, offset });
}

/** How much more than the file a zip archive's storages may be, in all: weights hardly deflate. */
const mostUnpacked = 64;

/** @throws DataError for an archive that is damaged or none of PyTorch's */
export async function readZip(bytes: Uint8Array, name: string): Promise<TorchContent> {
  const entries = await openZip(rangesOf(bytes, name));
  const pickles = [...entries.keys()].filter((e) => e === 'data.pkl' || e.endsWith('/data.pkl'));
  const main = pickles.sort((a, b) => a.length - b.length)[0];
  if (main === undefined) {
    const names = [...entries.keys()];
    throw new DataError(
      `${name}: expected an archive of torch.save with data.pkl, got one with ${names.slice(0, 5).join(', ')}${names.length > 5 ? ' …' : ''}\nSave it with torch.save(model.state_dict(), file).`,
    );
  }
  const folder = main.slice(0, -'data.pkl'.length);
  let left = mostUnpacked * bytes.length + 2 ** 20;
  const unpacked = (entry: ZipEntry): Promise<Uint8Array> => {
    left -= entry.size;
    if (left < 0)
      throw new DataError(
        `${name}: ${entry.name} and what was read before it unpack to more than ${mostUnpacked} times the file\nIt is hostile, or is to be saved unpacked.`,
      );
    return entry.read();
  };
  const order = entries.get(`${folder}byteorder`);
  const little = !order || order.size > 16 || new TextDecoder().decode(await unpacked(order)).trim() !== 'big';
  const storages = new Storages();
  const { value } = readPickle(await unpacked(entries.get(main)!), options(`${name}: ${main}`, storages.load));
  return {
    value,
    async load(needed) {
      for (const storage of needed) {
        const entry = entries.get(`${folder}data/${storage.key}`);
        if (!entry || entry.size !== storage.size)
          throw new DataError(
            `${name}: expected ${storage.size} bytes in ${folder}data/${storage.key}, got ${entry ? entry.size : 'no such entry'}\nThe archive is damaged: fetch it again.`,
          );
        storage.fill(await unpacked(entry), little);
      }
    },
  };
}

const refusing = (name: string): Refuses => ({
  refuse(what) {
    throw new DataError(`${name}: ${what}\nThe file is damaged: fetch it again or save it again.`);
  },
});

/** A storage's count of elements. Writers on big-endian machines left it so; the numbers behind it are little-endian always. */
function countAt(cursor: Cursor, expected: number): number {
  const field = cursor.take(8, 'the size of a storage');
  const view = new DataView(field.buffer, field.byteOffset, 8);
  const [little, big] = [view.getBigInt64(0, true), view.getBigInt64(0, false)].map(Number) as [number, number];
  return big === expected ? big : little;
}

/** The stream of pickles. @throws DataError for a file that is damaged */
export function readStream(bytes: Uint8Array, name: string): TorchContent {
  const storages = new Storages();
  let at = torchMagic.length;
  const next = (persistentLoad?: PickleOptions['persistentLoad']): unknown => {
    const { value, end } = readPickle(bytes, { ...options(name, persistentLoad), at });
    at = end;
    return value;
  };
  const { refuse } = refusing(name);
  const protocol = next();
  if (protocol !== 1001) refuse(`expected protocol 1001 of torch.save, got ${pickleKind(protocol)}`);
  next(); // the system that wrote it
  const value = next(storages.load);
  const keys = next();
  if (!Array.isArray(keys)) return refuse(`expected a list of storages, got ${pickleKind(keys)}`);
  const cursor = new Cursor(bytes, name);
  cursor.at = at;
  for (const key of keys) {
    const storage = storages.byKey.get(String(key));
    if (!storage || storage.root) return refuse(`it holds a storage ${pickleKind(key)} that no tensor has`);
    const count = countAt(cursor, storage.length);
    if (count !== storage.length)
      refuse(`expected ${storage.length} elements in storage '${storage.key}', got ${count}`);
    storage.fill(cursor.take(storage.size, `storage '${storage.key}'`), true);
  }
  return { value, load: async () => {} };
}

/** The tar archive. @throws DataError for a file that is damaged */
export function readTar(bytes: Uint8Array, name: string): TorchContent {
  const members = readTarMembers(bytes, name);
  const member = (which: string) =>
    members.get(which) ?? refusing(name).refuse(`expected a member '${which}', got none`);
  const objects = new Map<string, TorchStorage | TorchTensor>();

  const one = `${name}: storages`;
  const cursor = new Cursor(member('storages'), one);
  const next = (from: Cursor, what: string): unknown => {
    const { value, end } = readPickle(from.bytes, { ...options(what), at: from.at });
    from.at = end;
    return value;
  };
  const listed = (value: unknown, length: number, what: string): unknown[] =>
    Array.isArray(value) && value.length >= length
      ? value
      : refusing(what).refuse(`expected ${length} values of an entry, got ${pickleKind(value)}`);
  const count = (value: unknown, what: string): number => asCount(value, refusing(what));
  for (let n = count(next(cursor, one), one); n > 0; n--) {
    const [key, , type] = listed(next(cursor, one), 3, one);
    if (!(type instanceof PickleName))
      return refusing(one).refuse(`expected a storage's type, got ${pickleKind(type)}`);
    const kind = storageKind(type.name, refusing(one));
    const field = cursor.take(8, 'the size of a storage');
    const length = count(Number(new DataView(field.buffer, field.byteOffset).getBigInt64(0, true)), one);
    const storage = new TorchStorage(asKey(key, refusing(one)), kind, length);
    storage.fill(cursor.take(storage.size, `storage '${storage.key}'`), true);
    objects.set(storage.key, storage);
  }
  const storageOf = (key: unknown, what: string): TorchStorage => {
    const found = objects.get(asKey(key, refusing(what)));
    return found instanceof TorchStorage
      ? found
      : refusing(what).refuse(`it names a storage ${pickleKind(key)} that is not there`);
  };
  const views = next(cursor, one);
  for (const view of Array.isArray(views) ? views : []) {
    const [key, root, offset, length] = listed(view, 4, one);
    const target = asKey(key, refusing(one));
    objects.set(target, partOf(storageOf(root, one), target, count(offset, one), count(length, one), refusing(one)));
  }

  const two = `${name}: tensors`;
  const rows = new Cursor(member('tensors'), two);
  for (let n = count(next(rows, two), two); n > 0; n--) {
    const [key, storage] = listed(next(rows, two), 2, two);
    const axes = rows.i32('the number of axes');
    rows.take(4, 'the number of axes');
    if (!(axes >= 0 && axes <= 64)) return refusing(two).refuse(`expected a tensor of at most 64 axes, got ${axes}`);
    const numbers = Array.from({ length: 2 * axes + 1 }, () => rows.i64('sizes and strides of a tensor'));
    const tensor = tensorOf(
      [storageOf(storage, two), numbers[2 * axes], numbers.slice(0, axes), numbers.slice(axes, 2 * axes)],
      { ...refusing(two), spend() {} },
    );
    objects.set(asKey(key, refusing(two)), tensor);
  }
  const { value } = readPickle(
    member('pickle'),
    options(`${name}: pickle`, (id, pickle) => {
      // A class with its source.
      if (Array.isArray(id)) return id[0];
      return objects.get(asKey(id, pickle)) ?? pickle.refuse(`it names an object ${pickleKind(id)} that is not there`);
    }),
  );
  return { value, load: async () => {} };
}
