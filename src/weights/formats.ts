/** The registry of formats of weights that are read. The first that knows a file reads it. */
import type { WeightFormat } from './format.ts';
import { kerasFormat } from './keras.ts';
import { mtcnnFormat } from './mtcnn.ts';
import { mxnetFormat } from './mxnet.ts';
import { ncnnFormat } from './ncnn.ts';
import { onnxFormat } from './onnx.ts';
import { npzFormat, safetensorsFormat } from './stateFiles.ts';
import { tensorflowCheckpoint } from './tensorflow/checkpoint.ts';
import { frozenGraph } from './tensorflow/frozenGraph.ts';
import { tfjs } from './tensorflow/tfjs.ts';
import { tfliteFormat } from './tflite.ts';
import { torchFormat } from './torch.ts';

export const weightFormats: readonly WeightFormat[] = [
  safetensorsFormat,
  npzFormat,
  mtcnnFormat,
  frozenGraph,
  tensorflowCheckpoint,
  tfjs,
  tfliteFormat,
  kerasFormat,
  mxnetFormat,
  ncnnFormat,
  onnxFormat,
  torchFormat,
];
