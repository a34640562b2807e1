/**
 * facegrad's public API. Browser-safe: nothing here, or reachable from here, imports a Node module; in Node the package
 * also has node.ts. Every name is a plain function or class, so a bundler keeps only what is used.
 *
 *     import { ArcFace, compile, grad, host, MobileFaceNet, sgd } from 'facegrad';
 */

export {
  type Compiled,
  type CompileFunctionOptions,
  compile,
  defaultDevice,
  type Input,
  read,
  setDefaultDevice,
} from './compile.ts';
export type { Data, DType } from './core/dtype.ts';
export { DataError, DeviceError, NumericsError, ShapeError, UsageError } from './core/errors.ts';
export { fold, type Key, keyOf, normal, permutation, uniform } from './core/random.ts';
export { type ByteRanges, rangesOf } from './core/ranges.ts';
export type { Shape } from './core/shape.ts';
export { type HostTensor, host, Tensor, type TensorSpec, tensor, Variable } from './core/tensor.ts';
export type { Detection, Detector, Picture } from './detect/detection.ts';
export { drawDetections } from './detect/draw.ts';
export { fivePoints, type Landmarker, landmarks68 } from './detect/landmarks68.ts';
export { type DetectorOptions, type DetectorUse, detectorOf, openDetector } from './detect/open.ts';
export type { CallProfile, Device, DeviceInfo, DeviceStats, Executable } from './device/device.ts';
export type { GpuOptions } from './device/gpu.ts';
export { type DeviceName, listDevices, type OpenOptions, openDevice } from './device/open.ts';
export { ReferenceDevice } from './device/reference.ts';
export { WasmDevice, type WasmOptions } from './device/wasm.ts';
export { WebGpuDevice } from './device/webgpu.ts';
export { type CentreAngles, centreAngles } from './evaluate/angles.ts';
export {
  type Embedder,
  type EmbedderOptions,
  type EmbedOptions,
  embedderOf,
  type FaceImage,
  loadEmbedder,
} from './evaluate/embedder.ts';
export { auc, eer, type RocCurve, roc, valAtFar } from './evaluate/metrics.ts';
export {
  detectPreprocessing,
  type Normalisation,
  normalisations,
  type PreprocessingTrial,
} from './evaluate/preprocessing.ts';
export { htmlReport, type Report } from './evaluate/report.ts';
export {
  combineFlip,
  type Flip,
  type Protocol,
  thresholdUnits,
  unitRows,
  type VerificationInput,
  type VerificationResult,
  verify,
} from './evaluate/verification.ts';
/** Arithmetic per element as data: what `elementwise`, `pointwise` and margin heads are made of. */
export * as expr from './expr/nodes.ts';
export { grad } from './grad.ts';
export { AdaCos, type AdaCosOptions } from './heads/adaCos.ts';
export { AdaFace, type AdaFaceOptions, adaFaceLogits } from './heads/adaFace.ts';
export { ArcFace, type ArcFaceOptions, arcFaceLogits } from './heads/arcFace.ts';
export {
  AgentCenterLoss,
  type AgentCenterOptions,
  CenterLoss,
  type CenterOptions,
} from './heads/center.ts';
export {
  CombinedMargin,
  type CombinedMarginOptions,
  combinedMarginLogits,
  MultiMargin,
  type MultiMarginOptions,
} from './heads/combinedMargin.ts';
export { ContrastiveLoss, type ContrastiveOptions } from './heads/contrastive.ts';
export { CosFace, type CosFaceOptions, cosFaceLogits } from './heads/cosFace.ts';
export { CurricularFace, type CurricularFaceOptions, curricularFaceLogits } from './heads/curricularFace.ts';
export { Distillation, type DistillationOptions } from './heads/distillation.ts';
export { adaCosScale, Head, type Scale, targetLogitCurve } from './heads/head.ts';
export { createLoss, losses } from './heads/index.ts';
export { type LogitCurve, Loss, type LossEntry, type LossResult, type LossSize } from './heads/loss.ts';
export { MagFace, type MagFaceOptions, magFaceLogits } from './heads/magFace.ts';
export { MultiFace, type MultiFaceOptions, subEmbedding } from './heads/multiFace.ts';
export { PrelogitsNorm, type PrelogitsNormOptions } from './heads/prelogitsNorm.ts';
export { NormFace, type NormFaceOptions, normFaceLogits, Softmax, type SoftmaxOptions } from './heads/softmax.ts';
export { SphereFace, type SphereFaceOptions, sphereFaceLogits } from './heads/sphereFace.ts';
export { SubCenterArcFace, type SubCenterArcFaceOptions } from './heads/subCenterArcFace.ts';
export { TripletLoss, type TripletOptions } from './heads/triplet.ts';
export {
  type Affine,
  alignFace,
  type CropSize,
  centralCrop,
  cropBox,
  cutCrop,
  faceTemplate,
  similarity,
  warpAffine,
} from './image/align.ts';
export { type AlignedCheck, type AlignedSetCheck, looksAligned, looksAlignedSet } from './image/alignedCheck.ts';
export { type AugmentSpec, augment, augmentPresets, formatAugment, parseAugment } from './image/augment.ts';
export { decodeImage, type RgbImage } from './image/decode.ts';
export { encodeJpeg, encodePng, type JpegOptions, type Subsampling } from './image/encode.ts';
/** Pixel filters, from an RGB image to an RGB image. */
export * as filters from './image/filters.ts';
export { adaptiveMean, type ResizeMethod, resize as resizeImage } from './image/resize.ts';
export { contactSheet, type SheetOptions } from './image/sheet.ts';
export { DenseLayer, DenseNet, type DenseNetOptions } from './models/denseNet.ts';
export { type ConvWeights, GraphBuilder, type NormWeights, Value } from './models/graph/builder.ts';
export { type FoldOptions, folded, withPreprocessing } from './models/graph/fold.ts';
export { GraphNetwork, graphNetwork } from './models/graph/network.ts';
export { type Operator, operators } from './models/graph/operators.ts';
export { checkGraph, type Graph, type GraphNode, type GraphSpec } from './models/graph/spec.ts';
export { traced } from './models/graph/traced.ts';
export { type Architecture, architectures, create, describeNetwork, models, networkOf } from './models/index.ts';
export { IrNet, type IrNetOptions, IrUnit } from './models/irNet.ts';
export { K210Net, type K210NetOptions, Separable } from './models/k210Net.ts';
export { Bottleneck, MobileFaceNet, type MobileFaceNetOptions } from './models/mobileFaceNet.ts';
export { InvertedResidual, MobileNetV2, type MobileNetV2Options } from './models/mobileNetV2.ts';
export { MobileNetV3, type MobileNetV3Options } from './models/mobileNetV3.ts';
export {
  defaultPreprocessing,
  type FaceNetwork,
  type ModelEntry,
  type PerColour,
  type Preprocessing,
  preprocess,
  showPreprocessing,
} from './models/network.ts';
export { ResidualAttentionNet, type ResidualAttentionOptions } from './models/residualAttention.ts';
export { ResNet, type ResNetOptions, ResNetUnit } from './models/resNet.ts';
export { SlimResNet, type SlimResNetOptions } from './models/slimResNet.ts';
export { SphereNet, type SphereNetOptions, SphereUnit } from './models/sphereNet.ts';
export {
  type ActivationBytes,
  activationBytes,
  type LayerSummary,
  type NetworkSummary,
  summarize,
} from './models/summary.ts';
export { Cbam, ChannelAttention, SpatialAttention, SqueezeExcite } from './nn/attention.ts';
export { constantInit, convFanInInit, convInit, normalInit, xavierUniform } from './nn/init.ts';
export { BatchNorm, Conv2d, type Conv2dOptions, ConvBlock, Dropout, Linear, PReLU } from './nn/layers.ts';
export {
  type Init,
  initialize,
  loadState,
  Module,
  modulesOf,
  nameTree,
  Parameter,
  parameterCount,
  parametersOf,
  type State,
  StateBuffer,
  stateOf,
  variablesOf,
} from './nn/module.ts';
export { defineOp, nonDifferentiable, type Op, type OpRecord } from './ops/define.ts';
export * from './ops/index.ts';
export { elementwise, pointwise } from './ops/pointwise.ts';
export { type AdadeltaOptions, adadelta } from './optim/adadelta.ts';
export { type AdagradOptions, adagrad } from './optim/adagrad.ts';
export { type AdamOptions, type AdamWOptions, adam, adamW } from './optim/adam.ts';
export { clipByGlobalNorm, clipByValue, globalNorm } from './optim/clip.ts';
export { type Ema, type EmaOptions, ema } from './optim/ema.ts';
export { createOptimizer, optimizers } from './optim/index.ts';
export { type LambOptions, lamb } from './optim/lamb.ts';
export { type LarsOptions, lars } from './optim/lars.ts';
export type { Optimizer, OptimizerEntry, ParameterRules } from './optim/optimizer.ts';
export { type PlateauOptions, type PlateauState, plateauNext, plateauStart } from './optim/plateau.ts';
export {
  constantRate,
  cosineRate,
  epochsToSteps,
  type OneCycleOptions,
  oneCycleRate,
  piecewiseRate,
  polyRate,
  type RateSchedule,
  scaledToBatch,
  stepRate,
  warmUp,
} from './optim/rates.ts';
export { type RmspropOptions, rmsprop } from './optim/rmsprop.ts';
export {
  type NamedSchedule,
  plateauOf,
  type RunLength,
  type ScheduleEntry,
  scheduleOf,
  schedules,
} from './optim/schedules.ts';
export { type SgdOptions, sgd } from './optim/sgd.ts';
export { accumulate } from './plan/accumulate.ts';
export { checkpoint } from './plan/checkpoint.ts';
export { keyData, type TraceContext, type Traced } from './plan/trace.ts';
export {
  type CalibrateOptions,
  type CalibrationBatch,
  type CalibrationMethod,
  calibrate,
  type ValueRange,
} from './quant/calibrate.ts';
export { type EqualizeOptions, equalized } from './quant/equalize.ts';
export { int8NetworkOf } from './quant/file.ts';
export { Int8Network } from './quant/network.ts';
export { type Int8Model, type Levels, type QuantizeOptions, quantize } from './quant/quantize.ts';
export { type QuantizeNetworkOptions, quantizeNetwork } from './quant/quantizeNetwork.ts';
export { type Checkpoint, parseCheckpoint } from './weights/checkpoint.ts';
export {
  type ExportContext,
  type Exported,
  type ExportFile,
  type ExportOptions,
  type ExportTarget,
  exportNetwork,
  exportTargetOf,
  exportTargets,
} from './weights/export.ts';
export type {
  Convention,
  GraphFile,
  ImportedFile,
  ReadOptions,
  StateFile,
  WeightFormat,
  WeightSource,
} from './weights/format.ts';
export { weightFormats } from './weights/formats.ts';
export {
  bytesSource,
  type ImportedModel,
  type ImportOptions,
  importModel,
  modelBytes,
} from './weights/import.ts';
export { int8Bytes } from './weights/int8.ts';
export { layouts, networkFromState, type StateOptions, type StateReport } from './weights/layouts/index.ts';
export { type NcnnFiles, writeNcnn } from './weights/ncnn/write.ts';
export {
  describeNpy,
  type MatrixRows,
  type NpyArray,
  type NpyDescription,
  openNpy,
  readNpy,
  readNpyText,
  readNpyWide,
  type TextArray,
  type WideArray,
  writeNpy,
} from './weights/npy.ts';
export { type Npz, openNpz, readNpz, writeNpz, writeNpzTo } from './weights/npz.ts';
export { type OnnxOptions, writeOnnx } from './weights/onnx/write.ts';
export { readSafetensors, writeSafetensors } from './weights/safetensors.ts';
export {
  type ExportTfliteInt8Options,
  type ExportTfliteOptions,
  exportK210,
  exportTflite,
  exportTfliteInt8,
  type K210Export,
  type K210Options,
  type ReadTfliteOptions,
  readTflite,
  type TfliteInt8,
  type TfliteInt8Options,
  type TfliteOptions,
  writeTflite,
  writeTfliteInt8,
} from './weights/tflite.ts';
export { readTorch, type TorchOptions } from './weights/torch.ts';
