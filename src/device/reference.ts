/**
 * The reference device: every op by its own plain loops in f64, node after node. It is the truth that tests compare
 * with; with `round: Math.fround` it is the plain f32 program whose error sets their bounds.
 */
import { type Data, hostArray } from '../core/dtype.ts';
import { UsageError } from '../core/errors.ts';
import { sizeOf } from '../core/shape.ts';
import {
  constantOp,
  type HostTensor,
  host,
  placeholderOp,
  type Tensor,
  type Variable,
  variableOp,
} from '../core/tensor.ts';
import { ancestors } from '../grad.ts';
import type { Op, Round } from '../ops/define.ts';
import { type Graph, rootsOf } from '../plan/trace.ts';
import {
  type CompileOptions,
  type Device,
  type DeviceInfo,
  type DeviceStats,
  type Executable,
  refuseHalf,
} from './device.ts';

const identity: Round = (x) => x;

export class ReferenceDevice implements Device {
  readonly name = 'reference';
  private readonly round: Round;
  private readonly values = new Map<Variable, Float64Array>();
  private readonly versions = new Map<Variable, number>();
  private plans = 0;

  constructor(round: Round = identity) {
    this.round = round;
  }

  private valueOf(v: Variable): Float64Array {
    if (this.versions.get(v) !== v.version || (v.home && v.home !== this)) {
      if (v.home && v.home !== this)
        throw new UsageError(
          `variable '${v.name}' lives on another device\nRead it there first: await variable.read().`,
        );
      this.values.set(v, Float64Array.from(v.host));
      this.versions.set(v, v.version);
    }
    return this.values.get(v)!;
  }

  async compile(graph: Graph, options: CompileOptions = {}): Promise<Executable> {
    refuseHalf('reference', options);
    const nodes = ancestors(rootsOf(graph));
    this.plans++;
    const names = new Map([...graph.inputs].map(([name, t]) => [t.node, name]));
    const run = async (inputs: ReadonlyMap<string, Data>): Promise<Map<string, HostTensor>> => {
      const values = new Map<string, Float64Array>();
      const get = (t: Tensor) => values.get(t.id)!;
      for (const n of nodes) {
        if (n.op === placeholderOp) values.set(n.tensor().id, Float64Array.from(inputs.get(names.get(n)!)!));
        else if (n.op === constantOp) values.set(n.tensor().id, Float64Array.from((n.attrs as { data: Data }).data));
        else if (n.op === variableOp)
          values.set(n.tensor().id, this.valueOf((n.attrs as { variable: Variable }).variable));
        else {
          const outs = n.outputs.map((s) => new Float64Array(sizeOf(s.shape)));
          (n.op as Op).reference(
            n.inputs.map(get),
            outs,
            n.attrs,
            { inputs: n.inputs, outputs: n.outputs },
            this.round,
          );
          if (this.round !== identity)
            for (const [k, o] of outs.entries())
              if (n.outputs[k]!.dtype === 'f32') for (let i = 0; i < o.length; i++) o[i] = this.round(o[i]!);
          for (const [i, o] of outs.entries()) values.set(n.tensor(i).id, o);
        }
      }
      for (const [v, t] of graph.assigns) {
        this.values.set(v, get(t));
        this.versions.set(v, v.movedTo(this));
      }
      return new Map(
        [...graph.outputs].map(([name, t]) => {
          const data = hostArray(t.dtype, t.size);
          data.set(get(t));
          return [name, host(data, t.shape, t.dtype)];
        }),
      );
    };
    return {
      stepBytes: 0,
      calls: nodes.length,
      kernels: 0,
      run,
      explain: () =>
        nodes.map((n) => `${n.op.name} ${n.outputs.map((o) => `${o.dtype}[${o.shape}]`).join(', ')}`).join('\n'),
      dispose: () => {
        this.plans--;
      },
    };
  }

  /** The f64 numbers of a variable, unrounded. */
  exact(v: Variable): Float64Array {
    return this.valueOf(v);
  }
  async readVariable(v: Variable): Promise<Data> {
    v.host = hostArray(v.dtype, v.size);
    v.host.set(this.valueOf(v));
    v.home = undefined;
    return v.host;
  }
  forget(v: Variable): void {
    this.values.delete(v);
    this.versions.delete(v);
  }
  stats(): DeviceStats {
    let bytes = 0;
    for (const v of this.values.values()) bytes += v.byteLength;
    return { persistentBytes: bytes, stepBytes: 0, plans: this.plans, kernels: 0 };
  }
  info(): DeviceInfo {
    return {
      name: 'reference',
      available: true,
      threads: 1,
      simd: 'f64 loops',
      reason: 'plain JavaScript: exact and slow, for tests',
    };
  }
  async dispose(): Promise<void> {
    for (const v of this.values.keys()) if (v.home === this) v.home = undefined;
    this.values.clear();
    this.versions.clear();
  }
}
