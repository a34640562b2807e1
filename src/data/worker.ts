/** A worker thread of a pool: does the tasks it is sent, one after another. */
import { parentPort } from 'node:worker_threads';
import { type TaskName, tasks } from './tasks.ts';

parentPort!.on('message', async ({ id, task, request }: { id: number; task: TaskName; request: never }) => {
  try {
    parentPort!.postMessage({ id, answer: await tasks[task](request) });
  } catch (error) {
    // The name of an error class is lost on the way to the other thread.
    parentPort!.postMessage({ id, error: { name: (error as Error).name, message: (error as Error).message } });
  }
});
