/** What worker threads can be asked to do. A request is plain data; so is its answer. */

import { lookAtPictures } from './inspect/look.ts';
import { fillBatch } from './load/fill.ts';
import { transformPicture } from './prepare/transform.ts';

export const tasks = { fill: fillBatch, check: lookAtPictures, transform: transformPicture } as const;

type Tasks = typeof tasks;
export type TaskName = keyof Tasks;
export type Request<K extends TaskName> = Parameters<Tasks[K]>[0];
export type Answer<K extends TaskName> = Awaited<ReturnType<Tasks[K]>>;
