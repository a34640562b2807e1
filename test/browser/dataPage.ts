/** What a page does for data.test.ts; Node does the same with files by path, and both must tell the same. */
import type * as Data from '../../src/data/index.ts';
import type * as Main from '../../src/index.ts';

/** The built package, as the page imports it. */
export interface Library {
  readonly data: typeof Data;
  readonly main: typeof Main;
}

/** FNV-1a of 32 bits. */
export function hash(bytes: Uint8Array): number {
  let h = 0x811c9dc5;
  for (const b of bytes) h = Math.imul(h ^ b, 0x01000193);
  return h >>> 0;
}

type Table = Pick<Data.PairTable, 'folds' | 'left' | 'right' | 'same' | 'fold'>;
export const tableOf = ({ folds, left, right, same, fold }: Table) => ({
  folds,
  left: [...left],
  right: [...right],
  same: [...same],
  fold: [...fold],
});

/** All that a set holds, as text and numbers. */
export async function describeSet(
  set: Data.Dataset,
  bytesOf: (source: Data.ImageSource) => Promise<{ readonly bytes: Uint8Array }>,
  pixelsOf: (source: Data.ImageSource) => Promise<Data.RgbImage>,
) {
  const images = [];
  for (let i = 0; i < set.length; i++) {
    const label = set.label(i);
    // As it reaches a worker.
    const source = structuredClone(set.source(i));
    const picture = await pixelsOf(source).catch(() => undefined);
    images.push({
      name: set.imageName(i),
      label,
      identity: label < 0 ? '' : set.identityName(label),
      bytes: hash((await bytesOf(source)).bytes),
      pixels: picture ? [picture.width, picture.height, hash(picture.data)] : 'none',
      landmarks: [...(set.landmarks?.(i) ?? [])],
    });
  }
  return { classes: set.classes, note: set.note ?? '', images, pairs: set.pairs ? tableOf(set.pairs) : 'none' };
}
export type SetDescription = Awaited<ReturnType<typeof describeSet>>;

type Matrix = Pick<Data.MatrixRows, 'type' | 'shape' | 'length' | 'rows'>;
/** Also by rows. */
export async function describeRows({ type, shape, length, rows }: Matrix) {
  const all = await rows(0, length);
  const last = length > 0 ? await rows(length - 1, 1) : [];
  return { type, shape: [...shape], values: [...all].map(String), last: [...last].map(String) };
}
type Npz = Awaited<ReturnType<typeof Main.openNpz>>;
/** Arrays of an archive, read whole. */
export async function describeNpz(npz: Npz) {
  const arrays = [];
  for (const name of npz.names) {
    const { dtype, shape, data } = await npz.read(name);
    arrays.push({ name, dtype, shape: [...shape], values: [...data].map(String) });
  }
  return arrays;
}

/** Pictures to write: a face a shot, of so many people. */
export interface Drawn {
  readonly name: string;
  readonly label: number;
  readonly identity: string;
  /** Base64. */
  readonly jpeg: string;
}

/** The functions that tests call. */
export function pageOf({ data, main }: Library) {
  const fetched = async (name: string) => new File([await (await fetch(name)).blob()], name);
  const describe = (set: Data.Dataset) =>
    describeSet(
      set,
      (s) => data.imageBytes(s),
      (s) => data.openImage(s),
    );
  const source = async (name: string) => data.blobSource(await fetched(name));

  /** Runs, and gives besides what ranges of Blobs were read: bytes in all, and the longest. */
  async function counted<T>(run: () => Promise<T>) {
    const { slice, arrayBuffer, stream } = Blob.prototype;
    const ranges: number[] = [];
    // What a range is asked for counts, and what is read of a Blob that is no range of another.
    const parts = new WeakSet<Blob>();
    Blob.prototype.slice = function (...range) {
      const part = slice.apply(this, range);
      parts.add(part);
      ranges.push(part.size);
      return part;
    };
    Blob.prototype.arrayBuffer = function () {
      if (!parts.has(this)) ranges.push(this.size);
      return arrayBuffer.call(this);
    };
    Blob.prototype.stream = function () {
      if (!parts.has(this)) ranges.push(this.size);
      return stream.call(this);
    };
    try {
      const value = await run();
      return { value, bytes: ranges.reduce((n, r) => n + r, 0), longest: Math.max(0, ...ranges) };
    } finally {
      Object.assign(Blob.prototype, { slice, arrayBuffer, stream });
    }
  }

  async function recordIO(stem: string, endings: readonly string[]) {
    const files: Partial<Record<string, File>> = {};
    for (const e of endings) files[e] = await fetched(e === 'property' ? stem.replace(/[^/]*$/, e) : `${stem}.${e}`);
    return data.recordIODataset({ rec: files.rec!, idx: files.idx, lst: files.lst, property: files.property });
  }

  const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const imagesOf = (drawn: readonly Drawn[]) => drawn.map(({ jpeg, ...d }) => ({ ...d, bytes: bytesOf(jpeg) }));

  /** Writes a set in memory: by `how`, the same images. */
  async function write(how: 'faces' | 'rec', drawn: readonly Drawn[]) {
    const identities = [...new Set(drawn.map((d) => d.identity))];
    const sinks = {
      rec: data.memorySink('o.rec'),
      idx: data.memorySink(),
      lst: data.memorySink(),
      property: data.memorySink(),
    };
    const writer = how === 'rec' ? data.recordIOWriter(sinks) : await data.packedWriter(sinks.rec);
    for (const image of imagesOf(drawn)) await writer.add(image);
    await writer.finish({ identities });
    const [rec, idx, lst, property] = [sinks.rec, sinks.idx, sinks.lst, sinks.property].map((s) => s.bytes());
    return { rec: rec!, idx: idx!, lst: lst!, property: property! };
  }

  return {
    recordIO: async (stem: string, endings: readonly string[]) => describe(await recordIO(stem, endings)),
    tfRecord: async (names: readonly string[]) =>
      describe(await data.tfRecordDataset(await Promise.all(names.map(fetched)))),
    /** Where the bytes of a packed file's first image are. */
    tfRecordMemory: async (name: string) => {
      const first = (await data.tfRecordDataset([await fetched(name)])).source(0);
      return {
        kind: first.kind,
        shared: crossOriginIsolated && first.kind === 'bytes' && first.bytes.buffer instanceof SharedArrayBuffer,
      };
    },
    packed: async (name: string) => {
      const set = await data.packedDataset(await fetched(name));
      return { ...(await describe(set)), metadata: set.metadata };
    },
    verificationBin: async (name: string) => describe(await data.verificationBinDataset(await fetched(name))),
    pairs: async (name: string, packed: string) =>
      tableOf(
        data.parsePairs(await (await fetched(name)).text(), name, await data.packedDataset(await fetched(packed))),
      ),
    features: async (name: string) => describeRows(await data.openFeatures(await source(name))),
    npy: async (name: string) => describeRows(await data.openNpy(await source(name))),
    npz: async (name: string) => describeNpz(await data.openNpz(await source(name))),
    matrix: async (name: string) => data.describeMatrix(await source(name)),

    /** What an action's error says. */
    refusal: async (kind: 'tfRecord' | 'packed' | 'verificationBin' | 'npz' | 'recordIO', name: string) => {
      const file = await fetched(name);
      const open = {
        tfRecord: () => data.tfRecordDataset([file], { mostUnpacked: 5e6 }),
        packed: () => data.packedDataset(file),
        verificationBin: () => data.verificationBinDataset(file),
        npz: async () => describeNpz(await data.openNpz(data.blobSource(file))),
        recordIO: () => data.recordIODataset({ rec: file }),
      };
      return open[kind]().then(
        () => 'read',
        (e: Error) => `${e.name}: ${e.message}`,
      );
    },

    decode: async (names: readonly string[]) => {
      const all = [];
      for (const name of names) {
        const {
          width,
          height,
          data: pixels,
        } = main.decodeImage(new Uint8Array(await (await fetched(name)).arrayBuffer()), name);
        all.push([width, height, hash(pixels)]);
      }
      return all;
    },
    /** The greatest difference of levels from pixels of 112x112 in a file, one picture after another. */
    worst: async (names: readonly string[], golden: string) => {
      const wanted = new Uint8Array(await (await fetched(golden)).arrayBuffer());
      const size = 112 * 112 * 3;
      let worst = 0;
      for (const [i, name] of names.entries()) {
        const image = main.decodeImage(new Uint8Array(await (await fetched(name)).arrayBuffer()), name);
        if (image.data.length !== size) throw new Error(`${name}: ${image.width}x${image.height}`);
        for (const [k, v] of image.data.entries()) worst = Math.max(worst, Math.abs(v - wanted[i * size + k]!));
      }
      return worst;
    },
    align: async (name: string, points: readonly number[]) => {
      const image = main.decodeImage(new Uint8Array(await (await fetched(name)).arrayBuffer()), name);
      return hash(main.alignFace(image, points).data);
    },

    written: async (how: 'faces' | 'rec', drawn: readonly Drawn[]) => {
      const files = await write(how, drawn);
      const set = how === 'rec' ? await data.recordIODataset(files) : await data.packedDataset(files.rec);
      return { files: Object.values(files).map(hash), set: await describe(set) };
    },

    /** A set of many images, opened from Blobs, of which three are read: bytes of the files, and what was read of them. */
    ranges: async (how: 'faces' | 'rec', drawn: readonly Drawn[], copies: number) => {
      const many = drawn.flatMap((d) =>
        Array.from({ length: copies }, (_, k) => ({ ...d, name: d.name.replace('.', `_${k}.`) })),
      );
      const files = await write(how, many);
      const [rec, idx] = [
        new Blob([files.rec as Uint8Array<ArrayBuffer>]),
        new Blob([files.idx as Uint8Array<ArrayBuffer>]),
      ];
      const read = await counted(async () => {
        const set = how === 'rec' ? await data.recordIODataset({ rec, idx }) : await data.packedDataset(rec);
        const some = [0, set.length >> 1, set.length - 1];
        const images = [];
        for (const i of some) images.push(hash((await data.imageBytes(set.source(i))).bytes));
        return { length: set.length, images };
      });
      return { size: rec.size, index: how === 'rec' ? idx.size : 0, ...read };
    },
    /** A TFRecord file of many images, which has no index. */
    scanned: async (drawn: readonly Drawn[], copies: number, pack: boolean) => {
      const sink = data.memorySink();
      for (const image of imagesOf(drawn))
        for (let k = 0; k < copies; k++) await data.writeRecord(sink, data.imageExample(image, 'jpeg'));
      let file = new Blob([sink.bytes() as Uint8Array<ArrayBuffer>]);
      if (pack) file = await new Response(file.stream().pipeThrough(new CompressionStream('gzip'))).blob();
      return { size: file.size, ...(await counted(async () => (await data.tfRecordDataset([file])).length)) };
    },
    /** A stored archive of two matrices, of which rows of one are read. */
    npzRows: async (rows: number) => {
      const large = { dtype: 'f32' as const, shape: [rows, 128], data: new Float32Array(rows * 128).map((_, i) => i) };
      const file = new Blob([
        await data.writeNpz([
          ['a', large],
          ['b', large],
        ]),
      ]);
      return {
        size: file.size,
        ...(await counted(async () => {
          const matrix = await (await data.openNpz(data.blobSource(file))).rows('b');
          return [...(await matrix.rows(rows - 1, 1))].slice(0, 2);
        })),
      };
    },
    /** An archive that it writes. */
    npzBytes: async (compress: boolean) => {
      const text = { dtype: 'text' as const, shape: [3], data: ['a', 'Zoë', ''] };
      const numbers = { dtype: 'f32' as const, shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) };
      const arrays = [['names', text] as const, ['x', numbers] as const];
      return Array.from(await data.writeNpz(arrays, { compress }));
    },
  };
}
export type PageFunctions = ReturnType<typeof pageOf>;
