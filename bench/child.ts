/**
 * One mode's measurements, in a process of its own: V8 flags hold for a whole process. Started by main.ts.
 */
import { declareWide } from '../src/device/mode.ts';
import { benchConvolutions, denseLayers, depthwiseLayers } from './convolutions.ts';
import { benchGemm } from './gemm.ts';
import { benchForward } from './models.ts';
import { benchOps } from './ops.ts';
import type { Order, Told } from './order.ts';
import { higher, measureRoofline } from './roofline.ts';
import type { Ceilings, Result, Summary } from './table.ts';
import { benchTrain, type KernelRow } from './train.ts';

const tell = (told: Told) => new Promise<void>((resolve) => process.send!(told, () => resolve()));

async function measure(order: Order): Promise<void> {
  const { mode, works, seconds, rounds } = order;
  const log = (line: string) => void tell({ type: 'log', line });
  const give = (
    work: string,
    {
      results,
      summaries = [],
      kernels,
    }: { results: readonly Result[]; summaries?: readonly Summary[]; kernels?: readonly KernelRow[] },
  ) => tell({ type: 'results', work, results, summaries, ...(kernels ? { kernels } : {}) });

  const first = await measureRoofline(mode, order.threads, Math.min(seconds, 1));
  let { ceilings } = first;
  await give('roofline', first);
  /** The ceilings are taken again before each kind of work: on a busy machine the highest counts. */
  const again = async (): Promise<Ceilings> => {
    ceilings = higher(ceilings, (await measureRoofline(mode, order.threads, Math.min(seconds, 0.5))).ceilings);
    return ceilings;
  };
  if (works.includes('gemm'))
    await give(
      'gemm',
      await benchGemm({ mode, batches: order.batches ?? [1, 32], seconds: seconds / 3 }, await again()),
    );
  const batch = order.batches?.[0] ?? 32;
  if (works.includes('depthwise')) {
    const options = { mode, batch, seconds: seconds / 4 };
    await give('depthwise', await benchConvolutions('depthwise', depthwiseLayers(), options, await again()));
  }
  if (works.includes('ops')) {
    const options = { mode, batch: 8, seconds: seconds / 4 };
    await give('conv2d', await benchConvolutions('conv2d', denseLayers, options, await again()));
    const threads = order.forwardThreads[0]!;
    await give('ops', { results: await benchOps({ mode, threads, seconds: seconds / 4 }, ceilings) });
  }
  if (works.includes('forward')) {
    const batches = order.batches ?? [1, 32];
    await give('forward', await benchForward({ mode, batches, threads: order.forwardThreads, seconds }, await again()));
  }
  if (works.includes('train'))
    await give(
      'train',
      await benchTrain(
        {
          mode,
          batch,
          classes: order.classes,
          threads: order.trainThreads,
          // A step takes a good part of a second.
          seconds: 12 * seconds,
          rounds,
          profile: order.profile,
          torch: order.torch,
          log,
        },
        await again(),
      ),
    );
  if (works.includes('peers')) {
    const { benchPeers } = await import('./peers.ts');
    const options = { mode, seconds, rounds, install: order.install, log };
    await give('peers', await benchPeers({ ...options, nodeFlags: [] }, await again()));
    // A second table in which the peers' processes get the flag that ours has.
    if (order.flags.length)
      await give('peers with the same flags', await benchPeers({ ...options, nodeFlags: order.flags }, ceilings));
  }
}

process.once('message', (order: Order) => {
  if (order.mode === 'wide') declareWide();
  measure(order)
    .catch((error: Error) => tell({ type: 'error', name: error.name, message: error.message }))
    .then(() => process.disconnect());
});
