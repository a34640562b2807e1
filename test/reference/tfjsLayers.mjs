/**
 * Writes tfjsLayers.json: a layers model as TensorFlow.js (4.22) saves it, and what it makes of an input.
 *
 *     npm install @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-backend-cpu@4.22.0 @tensorflow/tfjs-layers@4.22.0
 *     node tfjsLayers.mjs
 */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.cwd(), 'package.json'));
const tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-backend-cpu');
const { input, layers, model } = require('@tensorflow/tfjs-layers');

await tf.setBackend('cpu');
let seed = 1;
const random = () => {
  seed = (seed * 48271) % 2147483647;
  return seed / 2147483647 - 0.5;
};
const x = input({ shape: [10, 12, 3], name: 'image' });
let y = layers
  .conv2d({ filters: 8, kernelSize: 3, strides: 2, padding: 'same', useBias: false, name: 'stem' })
  .apply(x);
y = layers.batchNormalization({ epsilon: 2e-5, name: 'stem_bn' }).apply(y);
y = layers.prelu({ sharedAxes: [1, 2], name: 'stem_prelu' }).apply(y);
let z = layers.depthwiseConv2d({ kernelSize: 3, padding: 'same', name: 'dw' }).apply(y);
z = layers.leakyReLU({ alpha: 0.1, name: 'leaky' }).apply(z);
z = layers
  .separableConv2d({ filters: 8, kernelSize: 3, padding: 'same', activation: 'relu', name: 'separable' })
  .apply(z);
y = layers.add({ name: 'sum' }).apply([y, z]);
y = layers
  .zeroPadding2d({
    padding: [
      [1, 0],
      [0, 1],
    ],
    name: 'zeros',
  })
  .apply(y);
y = layers.maxPooling2d({ poolSize: 2, name: 'pool' }).apply(y);
y = layers.flatten({ name: 'flat' }).apply(y);
y = layers.dense({ units: 6, activation: 'tanh', name: 'dense' }).apply(y);
const made = model({ inputs: x, outputs: layers.batchNormalization({ scale: false, name: 'last' }).apply(y) });
made.setWeights(
  made.getWeights().map((w, i) => {
    const positive = made.weights[i].name.includes('variance');
    const values = Float32Array.from({ length: w.size }, () => (positive ? 1 + random() : random()));
    return tf.tensor(values, w.shape);
  }),
);
const text = (floats) => Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength).toString('base64');
const numbers = (t) => ({ shape: t.shape, data: text(t.dataSync()) });
const shape = [2, 10, 12, 3];
const images = tf.tensor(Float32Array.from({ length: 2 * 10 * 12 * 3 }, random), shape);
const out = { input: numbers(images), outputs: { last: numbers(made.predict(images)) } };
await made.save({
  save: async (artifacts) => {
    const { modelTopology, weightSpecs, weightData, format, generatedBy } = artifacts;
    const weightsManifest = [{ paths: ['weights.bin'], weights: weightSpecs }];
    out.model = { format: format ?? 'layers-model', generatedBy, modelTopology, weightsManifest };
    out.weights = Buffer.from(weightData).toString('base64');
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
  },
});
writeFileSync(new URL('tfjsLayers.json', import.meta.url), `${JSON.stringify(out)}\n`);
