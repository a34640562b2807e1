/** A loader's worker thread: reads, decodes and mirrors pictures into shared batch buffers. */
import { parentPort } from 'node:worker_threads';
import { type BatchRequest, fillBatch } from './fill.ts';

parentPort!.on('message', async (request: BatchRequest & { id: number }) => {
  parentPort!.postMessage({ id: request.id, bad: await fillBatch(request) });
});
