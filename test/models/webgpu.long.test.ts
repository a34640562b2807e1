/** Deeper networks on WebGPU, in the manner of webgpu.test.ts. */
import { heldOnWebGpu } from './webgpu.ts';

const inputSize = [32, 32];
heldOnWebGpu([
  { network: 'densenet-121', options: { output: 'GAP', inputSize }, losses: [['contrastive']] },
  { network: 'densenet-121', options: { stem: 'imagenet', inputSize }, losses: [['sphereface', { m: 2 }]] },
  { network: 'slim-resnet-v1-50', options: { inputSize }, losses: [['cosface', { s: 8 }]] },
  { network: 'slim-resnet-v2-50', options: { inputSize }, losses: [['triplet', { mining: 'batch-hard' }]] },
  { network: 'mobilenet-v2', options: { inputSize }, losses: [['softmax'], ['agent-center']] },
]);
