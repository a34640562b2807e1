/** Small networks on WebGPU: every kind of layer, and the losses with ops of their own. */
import { heldOnWebGpu } from './webgpu.ts';

heldOnWebGpu([
  {
    network: 'ir-18',
    options: { attention: 'cbam', shortcut: 'pool', dropout: 0.4 },
    losses: [['multiface', { s: 8 }]],
  },
  { network: 'resnext-50', options: { output: 'GDC' }, losses: [['subcenter-arcface', { s: 8, k: 2 }]] },
  { network: 'spherenet-20', options: { batchNorm: false }, losses: [['triplet', { mining: 'batch-all' }]] },
  { network: 'slim-resnet', options: { version: 'v2-m' }, losses: [['softmax'], ['center']] },
  { network: 'residual-attention-56', losses: [['magface', { s: 8 }]] },
  { network: 'mobilenet-v3-small', losses: [['adaface', { s: 8 }]] },
  { network: 'k210-full', options: { depthMultiplier: 2 }, losses: [['curricularface', { s: 8 }]] },
  {
    network: 'mobilefacenet-tf',
    options: { blocks: [1, 1, 1, 1] },
    losses: [['arcface', { s: 8, sampleRate: 0.5 }]],
  },
  {
    network: 'mobilefacenet',
    options: { blocks: [1, 1, 1, 1], activation: 'hardSwish', pool: 'average' },
    losses: [['adacos'], ['prelogits-norm']],
  },
  { network: 'mobilefacenet', options: { blocks: [1, 1, 1, 1] }, losses: [['arcface', { s: 8 }]], graph: true },
]);
