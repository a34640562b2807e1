/**
 * A trained network as a function from face crops to embeddings.
 *
 * The one idea: a plan is compiled per batch size, so batches are cut into powers of two up to `maxBatch` and the last one
 * is padded: a handful of plans serve every number of images. A face's embedding does not depend on its neighbours in the
 * batch (batch norm uses its running statistics), so cutting and padding change nothing.
 */
import { type Compiled, compile } from '../compile.ts';
import { DataError, DeviceError, ShapeError, UsageError } from '../core/errors.ts';
import { type HostTensor, host } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { type DeviceName, openDevice } from '../device/open.ts';
import { alignFace, type CropSize, cutCrop } from '../image/align.ts';
import { inferenceState } from '../models/described.ts';
import { type FaceNetwork, type Preprocessing, preprocess } from '../models/network.ts';
import { networkOf } from '../models/registry.ts';
import { withCalls } from '../nn/hooks.ts';
import { BatchNorm } from '../nn/layers.ts';
import { freeVariables, loadState, modulesOf, variablesOf } from '../nn/module.ts';
import { TraceContext } from '../plan/trace.ts';
import { parseCheckpoint } from '../weights/checkpoint.ts';

/** Pixels row by row, RGB (3 bytes) or RGBA (4 bytes, alpha unused): a canvas's ImageData fits. */
export interface FaceImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
  /**
   * Five points of the face in pixels (left eye, right eye, nose, left and right corner of the mouth; x0, y0 … x4, y4): the
   * picture, of any size, is aligned by them to the network's input. Without them it must be such a crop already.
   */
  readonly points?: ArrayLike<number>;
}

export interface EmbedderOptions {
  /** A device, or the name of one to open. Default 'auto'. */
  readonly device?: Device | DeviceName | undefined;
  /** Threads of the device that is opened; default: the machine's cores. */
  readonly threads?: number | undefined;
  /** Most images of one run of the network. Default 32. */
  readonly maxBatch?: number;
  /** 'f16' stores activations and weights as float16, on WebGPU alone; see `CompileOptions`. Default 'f32'. */
  readonly storage?: 'f32' | 'f16' | undefined;
  /**
   * Batch norm by the moments of each batch in place of the running ones, as while training. What an image gives then
   * depends on its batch: for looking into a network whose statistics do not fit. Default false.
   */
  readonly batchStatistics?: boolean | undefined;
}

export interface EmbedOptions {
  /** Embeds the mirror images: the second half of a flip test. Default false. */
  readonly mirrored?: boolean;
  /** Called after every batch with the images done so far. */
  readonly onProgress?: (done: number) => void;
}

/** What `loadEmbedder` gives. Run `dispose` when done: it frees the device's memory and threads. */
export interface Embedder {
  readonly architecture: string;
  readonly preprocessing: Preprocessing;
  readonly embeddingSize: number;
  /** Everything the weights file says of itself. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly device: Device;
  /**
   * Embeddings [n, embeddingSize], row by row, as the network gives them (not unit length). Images must have the
   * network's input size (or be such a crop with a wider margin, which is cut: 112x112 for 112x96), or points to align them by; a plain Uint8Array holds whole RGB images back to back. Calls may overlap: they queue.
   * @throws ShapeError for images of another size
   */
  embed(images: readonly FaceImage[] | Uint8Array, options?: EmbedOptions): Promise<Float32Array>;
  dispose(): Promise<void>;
}

/** Copies one image into a batch at byte `at`: alpha dropped, mirrored on demand. */
function place(out: Uint8Array, at: number, image: FaceImage, mirrored: boolean): void {
  const { width, height, data } = image;
  const channels = data.length / (width * height);
  if (channels === 3 && !mirrored) {
    out.set(data, at);
    return;
  }
  for (let y = 0, from = 0; y < height; y++)
    for (let x = 0; x < width; x++, from += channels) {
      const to = at + 3 * (y * width + (mirrored ? width - 1 - x : x));
      out[to] = data[from]!;
      out[to + 1] = data[from + 1]!;
      out[to + 2] = data[from + 2]!;
    }
}

/** A face as a crop of the network's input size, where its points are known or it is such a crop with a wider margin. */
function aligned(image: FaceImage, inputSize: CropSize): FaceImage {
  const { width, height, data, points } = image;
  if (width === inputSize[1] && height === inputSize[0] && !points) return image;
  const rgb = new Uint8Array(3 * width * height);
  const fits = data.length === 3 * width * height || data.length === 4 * width * height;
  if (!fits)
    throw new ShapeError(
      `embed: expected RGB or RGBA pixels, got ${data.length} bytes for ${width}x${height}\nPass 3 or 4 bytes a pixel.`,
    );
  place(rgb, 0, image, false);
  if (!points) return cutCrop({ width, height, data: rgb }, inputSize) ?? image;
  return alignFace({ width, height, data: rgb }, points, inputSize);
}

/** Smallest power of two that holds n, up to `most`. */
function bucket(n: number, most: number): number {
  let size = 1;
  while (size < n) size *= 2;
  return Math.min(size, most);
}

/**
 * An embedder of a network whose parameters are loaded. It follows the network: numbers that training changes count from
 * the next call on.
 * @param owns what `dispose` frees besides its plans; by default nothing, the rest stays the caller's
 */
export function embedderOf(
  network: FaceNetwork,
  device: Device,
  {
    metadata = {},
    maxBatch = 32,
    storage = 'f32',
    batchStatistics = false,
    owns = {},
  }: {
    readonly metadata?: Readonly<Record<string, string>>;
    readonly maxBatch?: number;
    readonly storage?: 'f32' | 'f16' | undefined;
    readonly batchStatistics?: boolean | undefined;
    readonly owns?: { readonly network?: boolean; readonly device?: boolean };
  } = {},
): Embedder {
  if (!Number.isInteger(maxBatch) || maxBatch < 1)
    throw new UsageError(`embedder: expected a whole maxBatch of at least 1, got ${maxBatch}\nThe default is 32.`);
  const { preprocessing } = network;
  const [height, width] = preprocessing.inputSize;
  const pixels = 3 * height * width;
  const size = network.options.embeddingSize;
  const norms = batchStatistics ? modulesOf(network).filter((m) => m instanceof BatchNorm) : [];
  const run: Compiled = compile(
    ({ images }, ctx) => ({
      embeddings: withCalls(
        norms,
        // What the moments would move is dropped with their context.
        (_, call) => (x) => call(x, new TraceContext(true)),
        () => network.call(preprocess(images!, preprocessing), ctx),
      ),
    }),
    { device, storage },
  );
  /** The last run: one at a time, because a plan's input buffer is one. */
  let queue: Promise<unknown> = Promise.resolve();

  const asImages = (images: readonly FaceImage[] | Uint8Array): readonly FaceImage[] => {
    if (!(images instanceof Uint8Array)) return images;
    if (images.length % pixels)
      throw new ShapeError(
        `embed: expected whole RGB images of ${width}x${height} (${pixels} bytes each), got ${images.length} bytes\nPass width, height and data per image, or resize them first.`,
      );
    return Array.from({ length: images.length / pixels }, (_, i) => ({
      width,
      height,
      data: images.subarray(i * pixels, (i + 1) * pixels),
    }));
  };

  const embed = async (images: readonly FaceImage[], { mirrored = false, onProgress }: EmbedOptions) => {
    const out = new Float32Array(images.length * size);
    for (let from = 0; from < images.length; ) {
      const n = Math.min(network.batch ?? maxBatch, images.length - from);
      // Rows that only fill up would count in a batch's moments.
      const rows = network.batch ?? (batchStatistics ? n : bucket(n, maxBatch));
      const batch = new Uint8Array(rows * pixels);
      for (let i = 0; i < n; i++) place(batch, i * pixels, images[from + i]!, mirrored);
      const { embeddings } = await run({ images: host(batch, [rows, height, width, 3]) });
      out.set((embeddings as HostTensor).data.subarray(0, n * size), from * size);
      from += n;
      onProgress?.(from);
    }
    return out;
  };

  return {
    architecture: network.architecture,
    preprocessing,
    embeddingSize: size,
    metadata,
    device,
    async embed(images, options = {}) {
      const list = asImages(images).map((image) => aligned(image, preprocessing.inputSize));
      list.forEach((image, i) => {
        const area = image.width * image.height;
        if (
          image.width !== width ||
          image.height !== height ||
          (image.data.length !== 3 * area && image.data.length !== 4 * area)
        )
          throw new ShapeError(
            `embed: expected RGB or RGBA images of ${width}x${height}, got image ${i} of ${image.width}x${image.height} with ${image.data.length} bytes\nPass the face's five points as \`points\`, or align it to the network's input size first.`,
          );
      });
      const result = queue.then(() => embed(list, options));
      queue = result.catch(() => {});
      return result;
    },
    async dispose() {
      await queue;
      run.dispose();
      if (owns.network) freeVariables(network, device);
      if (owns.device) await device.dispose();
    },
  };
}

/**
 * Loads an embedder from the bytes of a weights file that facegrad wrote. The file names its architecture and how images
 * are prepared; heads and optimizer state in it are left alone.
 * @param source what errors call the file
 * @throws DataError where the file is damaged, of another format, or of an architecture unknown here; DeviceError where
 * the device is missing
 */
export async function loadEmbedder(
  bytes: Uint8Array,
  {
    device = 'auto',
    threads,
    maxBatch,
    storage,
    batchStatistics,
    source = 'weights',
  }: EmbedderOptions & { readonly source?: string } = {},
): Promise<Embedder> {
  if (!(bytes instanceof Uint8Array))
    throw new UsageError(
      `loadEmbedder: expected the bytes of a weights file, got ${typeof bytes}\nFetch or read it first; in Node, 'facegrad' also takes a path.`,
    );
  const { tensors, metadata } = parseCheckpoint(bytes, source);
  if (metadata.detector !== undefined)
    throw new DataError(
      `${source}: expected a network that embeds faces, got the detector ${metadata.detector}\nOpen it with openDetector, or facegrad detect --detector.`,
    );
  const int8 = metadata.architecture === 'int8';
  // Networks of 8-bit numbers and graphs are parts of their own, which a page loads where it has one.
  const network = int8
    ? (await import('../quant/file.ts')).int8NetworkOf(tensors, metadata, source)
    : metadata.architecture === 'graph'
      ? (await import('../models/graph/stored.ts')).graphOfCheckpoint(metadata, source)
      : networkOf(metadata, source);
  if (!int8) loadState(variablesOf(network), inferenceState(tensors, metadata), source, { allowExtra: true });
  const opens = typeof device === 'string';
  if (int8 && (opens ? device : device.name) === 'webgpu')
    throw new DeviceError(
      `${source}: expected the device wasm for a network of 8-bit numbers, got webgpu\nUse --device wasm, or the float32 network.`,
    );
  const opened = opens ? await openDevice(int8 && device === 'auto' ? 'wasm' : device, { threads }) : device;
  return embedderOf(network, opened, {
    metadata,
    storage,
    batchStatistics,
    owns: { network: true, device: opens },
    ...(maxBatch !== undefined && { maxBatch }),
  });
}
