/**
 * One mode's measurements, in a process of its own: V8 flags hold for a whole process. Started by main.ts.
 */
import { declareWide } from '../src/device/mode.ts';
import { WebGpuDevice } from '../src/device/webgpu.ts';
import { benchConvolutions, denseLayers, depthwiseLayers } from './convolutions.ts';
import { benchGemm } from './gemm.ts';
import { benchInt8 } from './int8.ts';
import { benchForward } from './models.ts';
import { benchOps } from './ops.ts';
import { type Order, type Told, timedWorks } from './order.ts';
import { higher, measureRoofline } from './roofline.ts';
import type { Ceilings, Result, Summary } from './table.ts';
import type { TracedRun } from './trace.ts';
import { benchTrain } from './train.ts';

const tell = (told: Told) => new Promise<void>((resolve) => process.send!(told, () => resolve()));

/** What there is for a GPU: none of the timed works without its clock, and little of anything where a program plays it. */
async function look(order: Order, log: (line: string) => void) {
  if (order.mode !== 'webgpu') return { works: order.works, timed: true, onCpu: false };
  const device = await WebGpuDevice.create();
  const { timestamps: timed, onCpu } = device;
  await tell({ type: 'gpu', name: device.info().reason });
  await device.dispose();
  if (onCpu)
    log(
      'WebGPU runs on the CPU here (a software adapter): batches are small unless --batch says otherwise, and figures say nothing about GPUs',
    );
  if (!timed) log('this adapter has no timestamp queries: no ceilings, no shares of them, and no times of kernels');
  return { works: timed ? order.works : order.works.filter((w) => !timedWorks.has(w)), timed, onCpu };
}

async function measure(order: Order): Promise<void> {
  const { mode, seconds, rounds } = order;
  const log = (line: string) => void tell({ type: 'log', line });
  const { works, timed, onCpu } = await look(order, log);
  const give = (
    work: string,
    {
      results,
      summaries = [],
      profiles = [],
    }: { results: readonly Result[]; summaries?: readonly Summary[]; profiles?: readonly TracedRun[] },
  ) => tell({ type: 'results', work, results, summaries, profiles });

  let ceilings: Ceilings = [];
  if (timed) {
    const first = await measureRoofline(mode, order.threads, Math.min(seconds, 1));
    ceilings = first.ceilings;
    await give('roofline', first);
  }
  /** The ceilings are taken again before each kind of work: on a busy machine the highest counts. */
  const again = async (): Promise<Ceilings> => {
    if (!timed) return ceilings;
    ceilings = higher(ceilings, (await measureRoofline(mode, order.threads, Math.min(seconds, 0.5))).ceilings);
    return ceilings;
  };
  const batches = order.batches ?? (onCpu ? [1] : [1, 32]);
  const batch = order.batches?.[0] ?? (onCpu ? 2 : 32);
  if (works.includes('gemm'))
    await give('gemm', await benchGemm({ mode, batches, seconds: seconds / 3 }, await again()));
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
    const options = { mode, batches, threads: order.forwardThreads, seconds, profile: order.profile, log };
    await give('forward', await benchForward(options, await again()));
  }
  // Kernels of 8-bit numbers are WASM's alone.
  if (works.includes('int8') && mode !== 'webgpu')
    await give('int8', await benchInt8({ mode, batches, seconds: seconds / 2 }, await again()));
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
