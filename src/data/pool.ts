/**
 * Threads for work on pictures (Node): decoding batches, converting sets.
 *
 * The one idea: a task is a name and plain data, so the same call runs on a thread or, without threads, right here.
 */
import { Worker } from 'node:worker_threads';
import * as errors from '../core/errors.ts';
import { type Answer, type Request, type TaskName, tasks } from './tasks.ts';

export interface Pool {
  /** How many tasks run at once; at least 1. */
  readonly size: number;
  /** Does a task on the thread with the least to do. Rejects with the error it threw. */
  run<K extends TaskName>(task: K, request: Request<K>): Promise<Answer<K>>;
  close(): Promise<void>;
}

interface Thread {
  readonly waiting: { readonly size: number };
  run(task: TaskName, request: unknown): Promise<unknown>;
  close(): Promise<unknown>;
}

function thread(): Thread {
  // In the sources this is a .ts file, in the built package a .js file.
  const entry = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);
  // Workers inherit Node's options, and --input-type (of a script given by -e) forbids them to run a file.
  const evaluated = process.execArgv.some((a) => a.startsWith('--input-type'));
  const worker = new Worker(entry, evaluated ? { execArgv: [] } : {});
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (e: Error) => void }>();
  let nextId = 0;
  let ended: Error | undefined;
  let closing = false;
  const end = (error: Error) => {
    ended ??= error;
    for (const w of waiting.values()) w.reject(ended);
    waiting.clear();
  };
  worker.on(
    'message',
    ({ id, answer, error }: { id: number; answer?: unknown; error?: { name: string; message: string } }) => {
      const asked = waiting.get(id);
      waiting.delete(id);
      // What was prepared ahead may arrive while the worker's end is waited for: then it must stay referenced.
      if (waiting.size === 0 && !closing) worker.unref();
      if (!error) asked?.resolve(answer);
      else {
        const Kind = (errors as Record<string, new (m: string) => Error>)[error.name] ?? Error;
        asked?.reject(new Kind(error.message));
      }
    },
  );
  worker.on('error', (error) => end(error as Error));
  worker.on('exit', () => end(new errors.UsageError('pool: its worker has ended\nMake a new one.')));
  worker.unref();
  return {
    waiting,
    run: (task, request) =>
      new Promise((resolve, reject) => {
        if (ended) {
          reject(ended);
          return;
        }
        const id = nextId++;
        waiting.set(id, { resolve, reject });
        worker.ref();
        worker.postMessage({ id, task, request });
      }),
    close: () => {
      closing = true;
      return worker.terminate();
    },
  };
}

/** Each thread takes some 60 MB, and more than the machine has cores only help while they wait for a disk. */
const mostWorkers = 64;

/** Threads to work with; with 0 workers, tasks are done by the calling thread. Throws UsageError for more than 64. */
export function createPool(workers: number): Pool {
  if (!Number.isInteger(workers) || workers < 0 || workers > mostWorkers)
    throw new errors.UsageError(
      `workers: expected a whole number from 0 to ${mostWorkers}, got ${workers}\nLeave it out for the default.`,
    );
  const threads = Array.from({ length: workers }, thread);
  return {
    size: Math.max(1, workers),
    async run<K extends TaskName>(task: K, request: Request<K>) {
      if (threads.length === 0) return (await tasks[task](request as never)) as Answer<K>;
      const freest = threads.reduce((a, b) => (b.waiting.size < a.waiting.size ? b : a));
      return (await freest.run(task, request)) as Answer<K>;
    },
    async close() {
      await Promise.all(threads.map((t) => t.close()));
    },
  };
}
