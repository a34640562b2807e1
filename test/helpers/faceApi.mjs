/**
 * Runs face-api's recognition network on two made-up pictures and prints pixels and embeddings as JSON.
 *
 *     node faceApi.mjs FOLDER_OF_THE_PACKAGE
 *
 * Its browser build, which brings its own tfjs, runs in Node once it is told what it is running in.
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const folder = process.argv[2];
const { stdout, nextTick, hrtime } = process;
globalThis.process = { env: {}, nextTick, hrtime };
const { env, FaceRecognitionNet, tf } = await import(pathToFileURL(`${folder}dist/face-api.esm.js`).href);
class Absent {}
env.setEnv({
  Canvas: Absent,
  CanvasRenderingContext2D: Absent,
  Image: Absent,
  ImageData: Absent,
  Video: Absent,
  createCanvasElement: () => new Absent(),
  createImageElement: () => new Absent(),
  createVideoElement: () => new Absent(),
  fetch,
  readFile: () => {},
});
tf.env().setPlatform('bare', {
  isTypedArray: (a) => [Float32Array, Int32Array, Uint8Array, Uint8ClampedArray].some((t) => a instanceof t),
  now: () => performance.now(),
  encode: (text) => new TextEncoder().encode(text),
  decode: (bytes) => new TextDecoder().decode(bytes),
});
await tf.setBackend('cpu');
await tf.ready();

const manifest = JSON.parse(readFileSync(`${folder}model/face_recognition_model-weights_manifest.json`, 'utf8'));
const bytes = new Uint8Array(readFileSync(`${folder}model/face_recognition_model.bin`));
const network = new FaceRecognitionNet();
network.loadFromWeightMap(
  tf.io.decodeWeights(
    bytes.buffer,
    manifest.flatMap((group) => group.weights),
  ),
);
const side = 150;
const pixels = Array.from({ length: 2 * side * side * 3 }, (_, i) => (i * 7919) % 256);
const made = await network.forward(tf.unstack(tf.tensor4d(pixels, [2, side, side, 3])));
stdout.write(JSON.stringify({ pixels, embeddings: Array.from(made.dataSync()) }));
