/** What both programs are given, and what the page tells of each. */
import type { State } from '../../src/nn/module.ts';
import type { Recipe } from '../../src/train/recipe.ts';
import type { Layer } from '../peers/net.ts';
import type { KernelCount } from './meter.ts';

export interface Task {
  /** Size, width and batch, head, optimizer. */
  readonly recipe: Recipe;
  readonly classes: number;
  /** Steps timed, after the first. */
  readonly steps: number;
}

/** The network as TensorFlow.js is given it: its convolutions in order, every number by name, decay by name. */
export interface TwinOptions {
  readonly task: Task;
  readonly layers: readonly Pick<Layer, 'name' | 'stride' | 'pad' | 'depthwise' | 'opens' | 'add'>[];
  readonly state: State;
  readonly decayOf: (name: string) => number;
}

/** One of the two programs: a training step on images [batch, height, width, 3] and labels, resolving to its loss. */
export interface Program {
  readonly name: string;
  readonly version: string;
  readonly device: GPUDevice;
  step(images: Float32Array, labels: Int32Array): Promise<number>;
}

export interface ProgramResult {
  readonly program: string;
  readonly version: string;
  readonly dispatches: number;
  readonly submits: number;
  readonly bytesMoved: number;
  readonly bytesCopied: number;
  readonly bytesUploaded: number;
  readonly buffers: number;
  readonly bytesAlive: number;
  readonly peakBytes: number;
  /** With opening the device left out: compiling and running the first step. */
  readonly firstStepMs: number;
  readonly stepMs: readonly number[];
  /** Processor time of all of the browser's processes in the same steps: what other work on the machine hardly moves. */
  readonly stepCpuMs: readonly number[];
  readonly losses: readonly number[];
  /** By bytes, most first. */
  readonly kernels: readonly KernelCount[];
}

export interface PageResult {
  readonly adapter: string;
  readonly programs: readonly ProgramResult[];
}
