/** What a step costs, for schedules and profiles: an op says it itself, fused arithmetic is counted by what it moves. */
import type { Cost, Op } from '../ops/define.ts';
import type { Step } from './fuse.ts';

export function costOf(s: Step | undefined): Cost {
  if (!s) return { flops: 0, bytes: 0 };
  if (s.kind === 'op') return (s.node.op as Op).cost(s.inputs, s.outputs, s.node.attrs);
  return { flops: 0, bytes: 4 * [...s.inputs, ...s.outputs].reduce((n, t) => n + t.size, 0) };
}
