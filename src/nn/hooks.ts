/** Standing in for the calls of some modules while a function is traced. */
import type { Tensor } from '../core/tensor.ts';
import type { TraceContext } from '../plan/trace.ts';
import type { Module } from './module.ts';

export type Call = (x: Tensor, ctx: TraceContext) => Tensor;

/** Runs `body` with `around(module, call)` in place of each module's call, and takes it away again. */
export function withCalls<T>(modules: readonly Module[], around: (m: Module, call: Call) => Call, body: () => T): T {
  for (const m of modules) m.call = around(m, m.call.bind(m));
  try {
    return body();
  } finally {
    // The method of the class shows again.
    for (const m of modules) delete (m as { call?: Call }).call;
  }
}
