/** What the benchmark asks of the process of a mode, and what it hears back. */
import type { ModeName } from './machine.ts';
import type { Result, Summary } from './table.ts';
import type { TracedRun } from './trace.ts';

export const workNames = ['roofline', 'gemm', 'ops', 'depthwise', 'forward', 'int8', 'train', 'peers'] as const;
export type WorkName = (typeof workNames)[number];

/** Those that time kernels and nothing else. */
export const timedWorks: ReadonlySet<WorkName> = new Set(['roofline', 'gemm', 'ops', 'depthwise', 'int8']);

/** What the parent asks of a child. */
export interface Order {
  readonly mode: ModeName;
  readonly works: readonly WorkName[];
  /** All thread counts in use, for the ceilings. */
  readonly threads: readonly number[];
  readonly forwardThreads: readonly number[];
  readonly trainThreads: number;
  readonly batches?: readonly number[];
  readonly classes: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly profile: boolean;
  readonly torch: boolean;
  readonly install: boolean;
  readonly flags: readonly string[];
}

/** What a child says: a part of its results, the GPU it has, a line for the user, or why it stopped. */
export type Told =
  | {
      readonly type: 'results';
      readonly work: string;
      readonly results: readonly Result[];
      readonly summaries: readonly Summary[];
      readonly profiles: readonly TracedRun[];
    }
  | { readonly type: 'gpu'; readonly name: string }
  | { readonly type: 'log'; readonly line: string }
  | { readonly type: 'error'; readonly name: string; readonly message: string };
