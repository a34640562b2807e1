/**
 * The same training step in TensorFlow.js, with its own ops, gradients and optimizer; weight decay is added to the gradients.
 *
 * Batch norm is written out: of four ways to put it, this one takes the fewest dispatches and moves the least.
 * `moments` and `batchNorm`, as its own layers have it, take 12 % more dispatches and move 27 % more.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops';
import '@tensorflow/tfjs-backend-webgpu';

const eps = 1e-5;
const momentum = 0.1;

/** @param {import('./task.ts').TwinOptions} options @returns {Promise<import('./task.ts').Program>} */
export async function openTfjs({ task, layers, state, decayOf }) {
  await tf.setBackend('webgpu');
  await tf.ready();
  const { recipe, classes } = task;
  const { batch, inputSize, s, m } = recipe;
  const depthwise = new Set(layers.filter((l) => l.depthwise).map((l) => `${l.name}.conv.weight`));
  const variables = {};
  for (const [name, { data, shape }] of state) {
    // [kh, kw, 1, channels] is [kh, kw, channels, 1] here: the same numbers in the same order.
    const own = depthwise.has(name) ? [shape[0], shape[1], shape[3], 1] : shape;
    variables[name] = tf.variable(tf.tensor(data, own), !/\.running/.test(name), name);
  }
  const trained = Object.values(variables).filter((v) => v.trainable);
  const decay = trained.flatMap((v) => (decayOf(v.name) ? [[v, tf.keep(tf.scalar(decayOf(v.name)))]] : []));
  const optimizer = tf.train.momentum(recipe.lr, recipe.momentum, recipe.nesterov);

  const move = (variable, value, unbias) =>
    variable.assign(variable.mul(1 - momentum).add(value.mul(momentum * unbias)));
  const block = (x, l) => {
    const of = (name) => variables[`${l.name}.${name}`];
    const conv = l.depthwise ? tf.depthwiseConv2d : tf.conv2d;
    const y = conv(x, of('conv.weight'), l.stride, l.pad);
    const mean = y.mean([0, 1, 2]);
    const centred = y.sub(mean);
    const variance = centred.square().mean([0, 1, 2]);
    const n = y.size / y.shape[3];
    move(of('bn.runningMean'), mean, 1);
    move(of('bn.runningVar'), variance, n / Math.max(1, n - 1));
    const z = centred.mul(of('bn.weight').mul(variance.add(eps).rsqrt())).add(of('bn.bias'));
    const slope = of('prelu.weight');
    return slope ? tf.prelu(z, slope) : z;
  };
  const embed = (images) => {
    let at = images;
    let kept = at;
    for (const l of layers) {
      if (l.opens) kept = at;
      at = block(at, l);
      if (l.add) at = tf.add(kept, at);
    }
    return at.reshape([batch, -1]);
  };
  const unit = (x) => x.div(x.square().sum(-1, true).sqrt());
  const arcFace = (embedding, labels) => {
    const cos = tf.matMul(unit(embedding), unit(variables['arcface.weight']), false, true);
    const hot = tf.oneHot(labels, classes).toFloat();
    const own = cos.mul(hot).sum(1, true);
    const sine = tf.scalar(1).sub(own.square()).maximum(1e-7).sqrt();
    const phi = own.mul(Math.cos(m)).sub(sine.mul(Math.sin(m)));
    // A comparison has no gradient, not even where it only selects; a step has one.
    const margin = own.sub(Math.cos(Math.PI - m)).step();
    const target = margin.mul(phi).add(
      tf
        .scalar(1)
        .sub(margin)
        .mul(own.sub(m * Math.sin(m))),
    );
    const logits = cos.add(hot.mul(target.sub(own))).mul(s);
    return tf.losses.softmaxCrossEntropy(hot, logits);
  };

  return {
    name: 'tfjs-backend-webgpu',
    version: tf.version_core,
    device: tf.backend().device,
    async step(images, labels) {
      const loss = tf.tidy(() => {
        const x = tf.tensor4d(images, [batch, ...inputSize, 3]);
        const y = tf.tensor1d(labels, 'int32');
        const { value, grads } = tf.variableGrads(() => arcFace(embed(x), y), trained);
        for (const [v, factor] of decay) grads[v.name] = grads[v.name].add(v.mul(factor));
        optimizer.applyGradients(grads);
        return value;
      });
      const [number] = await loss.data();
      loss.dispose();
      return number;
    },
  };
}
