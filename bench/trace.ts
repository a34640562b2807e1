/**
 * Profiled runs as a Chrome trace, for chrome://tracing and ui.perfetto.dev.
 *
 * The one idea: a run is a process of one thread, and a kernel call a complete event on it. Format: "Trace Event Format",
 * Google 2016, JSON object format.
 */
import type { CallProfile } from '../src/device/device.ts';
import type { PlanProfile } from './profile.ts';

/** A profiled run to be drawn. */
export interface TracedRun {
  readonly profile: PlanProfile;
  readonly calls: readonly CallProfile[];
}

/** Times are in microseconds. */
export interface TraceEvent {
  readonly name: string;
  readonly ph: 'X' | 'M';
  readonly pid: number;
  readonly tid: number;
  readonly cat?: string;
  readonly ts?: number;
  readonly dur?: number;
  readonly args: Readonly<Record<string, string | number>>;
}

const microseconds = (ms: number) => Number((1e3 * ms).toFixed(3));

/** Calls without a start of their own follow one another. */
function eventsOf({ profile, calls }: TracedRun, pid: number): TraceEvent[] {
  const tid = 1;
  const title = `${profile.plan}, ${profile.mode}`;
  const name = (what: string, text: string): TraceEvent => ({ name: what, ph: 'M', pid, tid, args: { name: text } });
  let end = 0;
  const events = calls.map(({ label, path, kernel, shape, ms, startMs = end, flops, bytes }): TraceEvent => {
    end = startMs + ms;
    const times = { ts: microseconds(startMs), dur: microseconds(Math.max(0, ms)) };
    return { name: label, ph: 'X', pid, tid, cat: 'kernel', ...times, args: { path, kernel, shape, flops, bytes } };
  });
  return [name('process_name', title), name('thread_name', profile.mode === 'webgpu' ? 'GPU' : 'kernels'), ...events];
}

/** A line an event. `about` holds facts of the machine. */
export function chromeTrace(runs: readonly TracedRun[], about: Readonly<Record<string, unknown>> = {}): string {
  const lines = runs.flatMap((r, i) => eventsOf(r, i + 1)).map((e) => JSON.stringify(e));
  return `{"displayTimeUnit":"ms","otherData":${JSON.stringify(about)},"traceEvents":[\n${lines.join(',\n')}\n]}\n`;
}
