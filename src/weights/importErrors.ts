/** What readers of channels-first formats share: how errors name their place, and how a graph gives its maps. */
import { DataError } from '../core/errors.ts';
import type { Value } from '../models/graph/builder.ts';
import type { ChannelsFirst, Ordered } from '../models/graph/channelsFirst.ts';

/** Maps are given channels-last, as everything here is. */
export const outOf = (graph: ChannelsFirst, x: Ordered): Value =>
  x.shape.length === 4 ? graph.as(x, [0, 2, 3, 1]) : graph.plain(x);

/** The error with file and node in its first line, and of the one kind that readers throw. */
export function named(error: unknown, place: string, file: string): unknown {
  if (!(error instanceof Error)) return error;
  if (error instanceof DataError && error.message.startsWith(file)) return error;
  if (!['DataError', 'UsageError', 'ShapeError'].includes(error.name)) return error;
  const lines = error.message.split('\n');
  return new DataError([`${place}: ${lines[0]}`, ...lines.slice(1)].join('\n'), { cause: error });
}
