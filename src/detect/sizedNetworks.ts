/**
 * A network for pictures of any size: one plan per size, of which the last few stay.
 *
 * The one idea: plans have fixed shapes, so a new size means a new network with the same numbers; the sizes that were not
 * used for longest are let go.
 */
import { type Compiled, compile } from '../compile.ts';
import type { HostTensor, Tensor } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import type { GraphNetwork } from '../models/graph/network.ts';
import { freeVariables } from '../nn/module.ts';

export type Size = readonly [height: number, width: number];

/** The network for pictures of a size. */
export type MakeNetwork = (size: Size) => GraphNetwork | Promise<GraphNetwork>;

interface Ready {
  readonly network: GraphNetwork;
  readonly run: Compiled;
}

export class SizedNetworks {
  private readonly device: Device;
  private readonly make: MakeNetwork;
  private readonly prepare: (images: Tensor) => Tensor;
  private readonly most: number;
  /** The first was not used for longest. */
  private readonly ready = new Map<string, Ready>();
  /** One run at a time: a plan's input is one. */
  private queue: Promise<unknown> = Promise.resolve();

  /** @param make the network for a size. @param prepare images as they are passed to network input. @param most sizes kept */
  constructor(device: Device, make: MakeNetwork, prepare: (images: Tensor) => Tensor, most = 8) {
    this.device = device;
    this.make = make;
    this.prepare = prepare;
    this.most = most;
  }

  /** What the network gives for images [n, height, width, 3], by name. */
  run(images: HostTensor): Promise<Record<string, HostTensor>> {
    const result = this.queue.then(async () => {
      const [, height, width] = images.shape;
      const { run } = await this.at([height!, width!]);
      return (await run({ images })) as Record<string, HostTensor>;
    });
    this.queue = result.catch(() => {});
    return result;
  }

  private async at(size: Size): Promise<Ready> {
    const key = size.join('x');
    let found = this.ready.get(key);
    if (!found) {
      const network = await this.make(size);
      const run = compile(({ images }, ctx) => Object.fromEntries(network.outputs([this.prepare(images!)], ctx)), {
        device: this.device,
      });
      found = { network, run };
    }
    this.ready.delete(key);
    this.ready.set(key, found);
    for (const [oldest, entry] of this.ready) {
      if (this.ready.size <= this.most) break;
      this.ready.delete(oldest);
      this.free(entry);
    }
    return found;
  }

  private free({ network, run }: Ready): void {
    run.dispose();
    freeVariables(network, this.device);
  }

  async dispose(): Promise<void> {
    await this.queue;
    for (const entry of this.ready.values()) this.free(entry);
    this.ready.clear();
  }
}
