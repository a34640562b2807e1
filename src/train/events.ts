/** What a training run tells while it goes, for the command line and for whoever calls `train`. Steps count from 1. */
import type { Recipe } from './recipe.ts';
import type { Evaluation } from './state.ts';

/** A line of the log: means over the steps since the line before. */
export interface StepEvent {
  readonly type: 'step';
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  /** What each term beside the head adds to the loss. */
  readonly terms: Readonly<Record<string, number>>;
  readonly lr: number;
  readonly gradNorm: number;
  /** Share of the pictures that were recognised, without any margin. */
  readonly hitRate: number;
  /** The same with the margin; absent where the head has none. */
  readonly marginHitRate?: number;
  readonly imagesPerSecond: number;
  /** Share of the time spent waiting for pictures. */
  readonly waitShare: number;
  readonly etaSeconds: number;
}

export type TrainEvent =
  | {
      readonly type: 'start';
      readonly recipe: Recipe;
      readonly data: string;
      readonly classes: number;
      readonly images: number;
      readonly parameters: number;
      /** Parameters that are not trained at first. */
      readonly frozen: number;
      readonly steps: number;
      readonly fromStep: number;
      readonly device: string;
      readonly stepMegabytes: number;
      readonly compileMs: number;
    }
  | StepEvent
  | ({ readonly type: 'evaluation' } & Evaluation & { readonly auc: number; readonly eer: number })
  | { readonly type: 'bad'; readonly file: string; readonly reason: string }
  | { readonly type: 'saved'; readonly step: number; readonly path: string }
  /** Kernels get ready, on devices where that takes time. */
  | { readonly type: 'compile'; readonly done: number; readonly total: number }
  | { readonly type: 'note'; readonly text: string };
