/**
 * The loop of a peer's process: a request a line on stdin, an answer a line on stdout.
 *
 *   { id, check: 'forward b1' }             -> { id, output: number[] } of one call
 *   { id, work: 'forward b32', seconds }    -> { id, ms: number[] } of every call in about that time
 *
 * A peer gives `works`: work name to a factory of an async function that computes once and resolves to its output. What
 * is made by a factory is kept, so only the first request for a work pays for preparing it.
 */
import { createInterface } from 'node:readline';

/** @param {{ engine: string, version: string, threads: number, works: Record<string, () => Promise<() => Promise<ArrayLike<number>>>> }} peer */
export async function serve({ engine, version, threads, works }) {
  const ready = new Map();
  const get = async (work) => {
    if (!ready.has(work)) ready.set(work, await works[work]());
    return ready.get(work);
  };
  const reply = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  reply({ engine, version, threads, works: Object.keys(works) });
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, check, work, seconds } = JSON.parse(line);
    try {
      const run = await get(check ?? work);
      if (check) {
        reply({ id, output: Array.from(await run()) });
        continue;
      }
      await run();
      const ms = [];
      const end = performance.now() + seconds * 1e3;
      do {
        const start = performance.now();
        await run();
        ms.push(performance.now() - start);
      } while (performance.now() < end);
      reply({ id, ms });
    } catch (error) {
      reply({ id, error: String(error?.message ?? error).split('\n')[0] });
    }
  }
}

/** The `--name=value` arguments. */
export const options = Object.fromEntries(process.argv.slice(2).map((a) => a.replace(/^--/, '').split('=')));
