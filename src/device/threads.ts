/**
 * Running call schedules on 1 to N threads.
 *
 * Every worker walks the same schedule. A call's chunks are claimed from a shared counter inside the kernel; workers
 * meet at a barrier only before calls that need earlier results. Commands travel through shared control words, because
 * a message takes longer than a small network's forward pass. The worker is an import-free source string, so bundlers
 * and Node need no second file.
 */
import { DeviceError } from '../core/errors.ts';

/** One call: kernel number, address of its argument block, 1 where a barrier comes before it. */
export const wordsPerCall = 3;

export interface Runner {
  readonly threads: number;
  addKernels(modules: readonly { readonly id: number; readonly module: WebAssembly.Module }[]): void;
  /** Registers a schedule under a number. */
  addSchedule(id: number, calls: Int32Array): void;
  removeSchedule(id: number): void;
  /** Scratch memory of each thread. */
  setScratch(addresses: readonly number[]): void;
  /** Runs a schedule. With `timesAt`, an address of one f64 per call, adds the milliseconds of each call there. */
  run(id: number, timesAt?: number): Promise<void>;
  close(): Promise<void>;
}

type KernelRun = (block: number, scratch: number) => void;

/** Runs in place, on the calling thread: for memory that cannot be shared. */
export class InlineRunner implements Runner {
  readonly threads = 1;
  private readonly memory: WebAssembly.Memory;
  private readonly kernels: KernelRun[] = [];
  private readonly schedules = new Map<number, Int32Array>();
  private scratch = 0;
  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
  }
  addKernels(modules: readonly { id: number; module: WebAssembly.Module }[]) {
    for (const { id, module } of modules) {
      const instance = new WebAssembly.Instance(module, { env: { memory: this.memory } });
      this.kernels[id] = instance.exports.run as KernelRun;
    }
  }
  addSchedule(id: number, calls: Int32Array) {
    this.schedules.set(id, calls);
  }
  removeSchedule(id: number) {
    this.schedules.delete(id);
  }
  setScratch([address]: readonly number[]) {
    this.scratch = address!;
  }
  async run(id: number, timesAt = 0) {
    const calls = this.schedules.get(id)!;
    const times = timesAt ? new Float64Array(this.memory.buffer, timesAt, calls.length / wordsPerCall) : undefined;
    for (let i = 0; i < calls.length; i += wordsPerCall) {
      const start = times ? performance.now() : 0;
      this.kernels[calls[i]!]!(calls[i + 1]!, this.scratch);
      if (times) times[i / wordsPerCall]! += performance.now() - start;
    }
  }
  async close() {}
}

/** Control words at the start of shared memory (int32 indices). Workers' scratch addresses follow from `scratch` on. */
const word = {
  sequence: 0,
  command: 1,
  done: 2,
  finished: 3,
  arrived: 4,
  generation: 5,
  failed: 6,
  times: 7,
  /** Sequence number of the newest request to read messages. */
  yieldAt: 8,
  scratch: 16,
} as const;
export const maxThreads = 128;

const workerSource = `'use strict';
const W = ${JSON.stringify(word)};
const port = typeof require === 'function' ? require('node:worker_threads').parentPort : self;
const kernels = [], schedules = new Map();
let memory, control, index = 0, count = 1, seen = 0;
// Spin for some microseconds, then sleep: most barriers are short, but the other thread may have lost its core.
function barrier() {
  if (count === 1) return;
  const generation = Atomics.load(control, W.generation);
  if (Atomics.add(control, W.arrived, 1) === count - 1) {
    Atomics.store(control, W.arrived, 0);
    Atomics.add(control, W.generation, 1);
    Atomics.notify(control, W.generation);
    return;
  }
  // A thread that failed before this point will not come, nor move the generation on again.
  if (Atomics.load(control, W.failed) !== 0) return;
  for (let spin = 0; spin < 4000; spin++) if (Atomics.load(control, W.generation) !== generation) return;
  while (Atomics.load(control, W.generation) === generation) Atomics.wait(control, W.generation, generation);
}
function run(calls) {
  const scratch = Atomics.load(control, W.scratch + index);
  const at = Atomics.load(control, W.times);
  const times = at && index === 0 ? new Float64Array(memory.buffer, at, calls.length / ${wordsPerCall}) : null;
  let start = times ? performance.now() : 0;
  for (let i = 0; i < calls.length; i += ${wordsPerCall}) {
    if (calls[i + 2] !== 0 || at !== 0) {
      barrier();
      if (Atomics.load(control, W.failed) !== 0) return;
      if (times) { const now = performance.now(); if (i > 0) times[i / ${wordsPerCall} - 1] += now - start; start = now; }
    }
    kernels[calls[i]](calls[i + 1], scratch);
  }
  if (at !== 0) { barrier(); if (times) times[calls.length / ${wordsPerCall} - 1] += performance.now() - start; }
}
function loop() {
  for (;;) {
    Atomics.wait(control, W.sequence, seen);
    const now = Atomics.load(control, W.sequence);
    if (now === seen) continue;
    // A run may already be commanded behind the request: messages come first, the run is seen on the next entry.
    const yieldAt = Atomics.load(control, W.yieldAt);
    if ((yieldAt - seen | 0) > 0) { seen = yieldAt; return; }
    seen = now;
    const command = Atomics.load(control, W.command);
    try { run(schedules.get(command)); } catch (error) {
      Atomics.store(control, W.failed, 1);
      port.postMessage({ type: 'error', message: String(error && error.stack || error) });
      // Whoever waits at a barrier wakes up and sees the failure.
      Atomics.add(control, W.generation, 1);
      Atomics.notify(control, W.generation);
    }
    if (Atomics.add(control, W.done, 1) === count - 1) {
      Atomics.add(control, W.finished, 1);
      Atomics.notify(control, W.finished);
      if (!Atomics.waitAsync) port.postMessage({ type: 'finished' });
    }
  }
}
function onMessage(data) {
  switch (data.type) {
    case 'init':
      ({ memory, index, count } = data);
      control = new Int32Array(memory.buffer, 0, ${word.scratch + maxThreads});
      seen = data.seen;
      port.postMessage({ type: 'ready' });
      break;
    case 'kernels':
      for (const { id, module } of data.modules) kernels[id] = new WebAssembly.Instance(module, { env: { memory } }).exports.run;
      break;
    case 'schedule': schedules.set(data.id, data.calls); break;
    case 'remove': schedules.delete(data.id); break;
    case 'listen': loop(); break;
  }
}
if (port === globalThis.self) self.onmessage = (e) => onMessage(e.data);
else port.on('message', onMessage);
`;

/** The part of Node's and the browser's Worker that the pool uses. */
interface PoolWorker {
  post(message: unknown): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<unknown>;
}

async function startWorker(
  onMessage: (data: { type: string; message?: string }) => void,
  onError: (e: Error) => void,
): Promise<PoolWorker> {
  // A bundler must not follow this import: pages never reach it.
  const node = typeof process !== 'undefined' && process.versions?.node !== undefined;
  if (node) {
    const { Worker } = process.getBuiltinModule('node:worker_threads');
    const worker = new Worker(workerSource, { eval: true, execArgv: [] });
    worker.on('message', onMessage);
    worker.on('error', onError);
    return {
      post: (m) => worker.postMessage(m),
      ref: () => worker.ref(),
      unref: () => worker.unref(),
      terminate: () => worker.terminate(),
    };
  }
  const url = URL.createObjectURL(new Blob([workerSource], { type: 'text/javascript' }));
  const worker = new Worker(url);
  worker.onmessage = (e) => onMessage(e.data);
  worker.onerror = (e) => onError(new Error(e.message));
  return { post: (m) => worker.postMessage(m), ref() {}, unref() {}, terminate: async () => worker.terminate() };
}

/** A pool of workers over one shared memory. The calling thread never blocks. */
export class ThreadPool implements Runner {
  readonly threads: number;
  private readonly control: Int32Array<ArrayBufferLike>;
  private readonly workers: PoolWorker[] = [];
  private failure: Error | undefined;
  private onFinished: (() => void) | undefined;
  private listening = false;
  /** Runs go one after the other, in the order of the calls. */
  private last: Promise<void> = Promise.resolve();

  private constructor(memory: WebAssembly.Memory, threads: number) {
    this.threads = threads;
    this.control = new Int32Array(memory.buffer, 0, word.scratch + maxThreads);
  }

  static async start(memory: WebAssembly.Memory, threads: number): Promise<ThreadPool> {
    const pool = new ThreadPool(memory, threads);
    await Promise.all(
      Array.from({ length: threads }, (_, index) => {
        return new Promise<void>((resolve, reject) => {
          startWorker(
            (m) => {
              if (m.type === 'ready') resolve();
              else if (m.type === 'finished') pool.onFinished?.();
              else if (m.type === 'error')
                pool.failure = new DeviceError(
                  `wasm: a kernel failed on thread ${index}: ${m.message}\nThis is a defect of facegrad; please report it.`,
                );
            },
            (e) => {
              reject(
                new DeviceError(
                  `wasm: a worker could not start: ${e.message}\nRun with --threads 1, or allow workers.`,
                ),
              );
              pool.died(e);
            },
          ).then((worker) => {
            pool.workers[index] = worker;
            worker.post({ type: 'init', memory, index, count: threads, seen: 0 });
          }, reject);
        });
      }),
    );
    for (const w of pool.workers) w.unref();
    return pool;
  }

  /** A worker is gone: whoever waits for it is woken and told, and no run starts again. */
  private died(e: Error) {
    this.failure = new DeviceError(
      `wasm: a worker thread ended: ${e.message}\nUse a smaller batch or fewer threads if memory ran out.`,
    );
    Atomics.store(this.control, word.failed, 1);
    for (const w of [word.generation, word.finished]) {
      Atomics.add(this.control, w, 1);
      Atomics.notify(this.control, w);
    }
    this.onFinished?.();
  }
  /** Gets workers out of their wait so that they read messages. */
  private interrupt() {
    if (!this.listening) return;
    this.listening = false;
    Atomics.store(this.control, word.yieldAt, Atomics.load(this.control, word.sequence) + 1);
    Atomics.add(this.control, word.sequence, 1);
    Atomics.notify(this.control, word.sequence);
  }
  private post(message: unknown) {
    // Messages are queued behind running schedules; the interrupt must wait for them too.
    this.last = this.last.then(() => {
      this.interrupt();
      for (const w of this.workers) w.post(message);
    });
  }
  addKernels(modules: readonly { id: number; module: WebAssembly.Module }[]) {
    this.post({ type: 'kernels', modules });
  }
  addSchedule(id: number, calls: Int32Array) {
    this.post({ type: 'schedule', id, calls });
  }
  removeSchedule(id: number) {
    this.post({ type: 'remove', id });
  }
  setScratch(addresses: readonly number[]) {
    this.last = this.last.then(() => {
      addresses.forEach((a, i) => {
        Atomics.store(this.control, word.scratch + i, a);
      });
    });
  }

  run(id: number, timesAt = 0): Promise<void> {
    const result = this.last.then(() => this.runNow(id, timesAt));
    this.last = result.catch(() => {});
    return result;
  }

  private async runNow(id: number, timesAt: number): Promise<void> {
    const c = this.control;
    if (Atomics.load(c, word.failed) && this.failure) throw this.failure;
    if (!this.listening) {
      for (const w of this.workers) w.post({ type: 'listen' });
      this.listening = true;
    }
    for (const w of this.workers) w.ref();
    const finished = Atomics.load(c, word.finished);
    Atomics.store(c, word.done, 0);
    Atomics.store(c, word.times, timesAt);
    Atomics.store(c, word.command, id);
    const wait = 'waitAsync' in Atomics ? undefined : new Promise<void>((resolve) => (this.onFinished = resolve));
    Atomics.add(c, word.sequence, 1);
    Atomics.notify(c, word.sequence);
    if (wait) await wait;
    else
      while (Atomics.load(c, word.finished) === finished) {
        const r = Atomics.waitAsync(c as Int32Array<SharedArrayBuffer>, word.finished, finished);
        if (r.async) await r.value;
      }
    for (const w of this.workers) w.unref();
    if (Atomics.load(c, word.failed)) {
      // The message with the reason is on its way.
      await new Promise((resolve) => setTimeout(resolve, 20));
      throw this.failure ?? new DeviceError('wasm: a kernel failed\nThis is a defect of facegrad; please report it.');
    }
  }

  async close(): Promise<void> {
    await this.last;
    await Promise.all(this.workers.map((w) => w.terminate()));
  }
}
