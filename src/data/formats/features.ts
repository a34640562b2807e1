/**
 * Feature files of MegaFace and DeepGlint: an OpenCV matrix of four int32 (rows, columns, bytes of a row, type), then its
 * rows, little-endian. One face is a column of n rows in a file of its own (`.feat`, `_<algorithm>.bin`); stacked, a face is a row.
 *
 * The one idea: the header says the size to the byte, so nothing is read or allocated that the file does not hold.
 * Browser-safe. Format: matio.py of the MegaFace development kit.
 */
import { DataError, UsageError } from '../../core/errors.ts';
import type { ByteRanges } from '../../core/ranges.ts';
import { checkRows, describeNpy, type MatrixRows, type NpyDescription, openNpy } from '../../weights/npy.ts';
import { openNpz } from '../../weights/npz.ts';
import type { ByteSource } from '../bytes.ts';

const headerBytes = 16;
/** OpenCV's CV_32F and CV_64F. */
const types: Record<number, { readonly type: string; readonly bytes: number } | undefined> = {
  5: { type: '<f4', bytes: 4 },
  6: { type: '<f8', bytes: 8 },
};

/**
 * Opens a feature file to be read some rows at a time; float64 becomes float32. The file of one face has `width` 1.
 * @throws DataError naming the file and what is wrong with it
 */
export async function openFeatures(source: ByteRanges): Promise<MatrixRows> {
  const { name, size } = source;
  const fail = (what: string): never => {
    throw new DataError(`${name}: ${what}\nIt is damaged, cut off or no MegaFace feature file: write it again.`);
  };
  if (size < headerBytes) fail(`expected a header of ${headerBytes} bytes at offset 0, got ${size} bytes`);
  const head = await source.read(0, headerBytes);
  const view = new DataView(head.buffer, head.byteOffset, headerBytes);
  const [length, width, stride, code] = [0, 4, 8, 12].map((at) => view.getInt32(at, true)) as [
    number,
    number,
    number,
    number,
  ];
  const kind = types[code] ?? fail(`expected matrix type 5 (float32) or 6 (float64) at offset 12, got ${code}`);
  if (length < 0 || width < 0)
    fail(`expected whole numbers of rows and columns at offset 0, got ${length} and ${width}`);
  if (stride < width * kind.bytes || stride % kind.bytes !== 0)
    fail(`expected rows of ${width * kind.bytes} bytes at offset 8, got ${stride}`);
  if (size !== headerBytes + length * stride)
    fail(`expected ${headerBytes + length * stride} bytes for ${length} rows of ${stride}, got ${size}`);
  return {
    type: kind.type,
    shape: [length, width],
    length,
    width,
    async rows(from, count) {
      checkRows(name, length, from, count);
      const bytes = await source.read(headerBytes + from * stride, count * stride);
      const out = new Float32Array(count * width);
      if (kind.bytes === 4 && stride === 4 * width) {
        new Uint8Array(out.buffer).set(bytes);
        return out;
      }
      if (width === 0) return out;
      const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let i = 0; i < count; i++)
        for (let j = 0; j < width; j++) {
          const at = i * stride + j * kind.bytes;
          out[i * width + j] = kind.bytes === 4 ? data.getFloat32(at, true) : data.getFloat64(at, true);
        }
      return out;
    },
  };
}

/** The features of one face, from a file of one column or one row. Throws DataError naming the file. */
export async function readFeature(source: ByteRanges): Promise<Float32Array<ArrayBuffer>> {
  const matrix = await openFeatures(source);
  if ((matrix.length !== 1 && matrix.width !== 1) || matrix.length * matrix.width === 0)
    throw new DataError(
      `${source.name}: expected the features of one face, got a matrix of ${matrix.length} x ${matrix.width}\nName the files of single faces.`,
    );
  return matrix.rows(0, matrix.length);
}

/**
 * The header of a float32 matrix, for what is written row by row.
 * @throws UsageError for sizes that it cannot hold
 */
export function featureHeader(rows: number, width: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(headerBytes);
  const view = new DataView(out.buffer);
  [rows, width, 4 * width, 5].forEach((n, i) => {
    if (!Number.isInteger(n) || n < 0 || n > 0x7fffffff)
      throw new UsageError(
        `features: expected up to 2147483647 rows, got ${rows} of ${width} numbers\nWrite several files.`,
      );
    view.setInt32(4 * i, n, true);
  });
  return out;
}

/**
 * The bytes of a feature file: float32 rows of `width` numbers. The features of one face are written as MegaFace wants them
 * with a width of 1.
 * @throws UsageError where the numbers do not fill whole rows
 */
export function writeFeatures(features: Float32Array, width: number): Uint8Array<ArrayBuffer> {
  if (!(width > 0) || features.length % width !== 0)
    throw new UsageError(
      `writeFeatures: expected rows of ${width} numbers, got ${features.length} numbers\nPass whole rows.`,
    );
  const out = new Uint8Array(headerBytes + features.byteLength);
  out.set(featureHeader(features.length / width, width));
  out.set(new Uint8Array(features.buffer, features.byteOffset, features.byteLength), headerBytes);
  return out;
}

/** An array in a file of numbers, as `describeMatrix` finds it. */
export interface ArrayDescription extends Partial<NpyDescription> {
  /** '' where the file holds one array. */
  readonly name: string;
  /** Smallest and largest number, NaN left out; where they were looked for. */
  readonly min?: number;
  readonly max?: number;
}

export interface MatrixDescription {
  readonly kind: 'npy' | 'npz' | 'features';
  readonly arrays: readonly ArrayDescription[];
}

/** Arrays of more numbers are described without their range. */
const mostToScan = 1 << 22;

async function describeRows(name: string, matrix: MatrixRows): Promise<ArrayDescription> {
  const { type, shape, length, width } = matrix;
  if (length * width > mostToScan || length * width === 0) return { name, type, shape };
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const x of await matrix.rows(0, length)) {
    if (x < min) min = x;
    if (x > max) max = x;
  }
  return { name, type, shape, ...(min <= max ? { min, max } : {}) };
}

const isText = ({ type }: NpyDescription) => /[US]/.test(type);

/**
 * Says what a .npy, .npz or feature file holds, from headers and, up to 4 million numbers, their range.
 * @throws DataError naming the file where it is none of these, or damaged
 */
export async function describeMatrix(source: ByteSource): Promise<MatrixDescription> {
  const head = await source.read(0, Math.min(6, source.size));
  const start = String.fromCharCode(...head);
  if (start.startsWith('PK')) {
    const npz = await openNpz(source);
    const arrays: ArrayDescription[] = [];
    for (const name of npz.names) {
      const found = await npz.describe(name);
      arrays.push(!found || isText(found) ? { name, ...found } : await describeRows(name, await npz.rows(name)));
    }
    return { kind: 'npz', arrays };
  }
  if (start !== '\x93NUMPY') return { kind: 'features', arrays: [await describeRows('', await openFeatures(source))] };
  const found = await describeNpy(source);
  return {
    kind: 'npy',
    arrays: [isText(found) ? { name: '', ...found } : await describeRows('', await openNpy(source))],
  };
}
