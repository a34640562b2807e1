/**
 * Running graphs: `compile` makes a function of tensors into a plan per set of input shapes; `read` evaluates one tensor.
 *
 * There is one execution path: both trace a graph and hand it to a device. Nothing is computed before.
 */
import type { Data } from './core/dtype.ts';
import { UsageError } from './core/errors.ts';
import { showShape } from './core/shape.ts';
import { constantOp, type HostTensor, host, Tensor, type TensorSpec } from './core/tensor.ts';
import type { CompileOptions, Device, Executable } from './device/device.ts';
import { WasmDevice } from './device/wasm.ts';
import { type TraceContext, type Traced, trace } from './plan/trace.ts';

let current: Promise<Device> | undefined;
/** The device that `compile` and `read` use unless told otherwise: WASM with all cores, made on first use. */
export function defaultDevice(): Promise<Device> {
  if (!current) {
    const starting = WasmDevice.create();
    current = starting;
    // A failed start is tried again at the next call.
    starting.catch(() => {
      if (current === starting) current = undefined;
    });
  }
  return current;
}
/** From now on `compile` and `read` use this device unless told otherwise. */
export function setDefaultDevice(device: Device): void {
  current = Promise.resolve(device);
}

/** An input of a compiled function: host data with a shape, a constant tensor, or a number (a float32 scalar). */
export type Input = HostTensor | Tensor | number;

function hostInput(name: string, x: Input): HostTensor {
  if (typeof x === 'number') return host(Float32Array.of(x), []);
  if (x instanceof Tensor) {
    if (x.node.op !== constantOp)
      throw new UsageError(
        `compile: input '${name}' is an unevaluated tensor\nPass host data (host(data, shape)) or the result of read().`,
      );
    return host((x.node.attrs as { data: Data }).data, x.shape, x.dtype);
  }
  return x;
}

export interface Compiled {
  /** Runs the plan for these shapes, compiling it first if it is new. Gives the outputs by name. */
  (inputs?: Readonly<Record<string, Input>>): Promise<Record<string, HostTensor>>;
  /** The plan for these inputs, compiled but not run. */
  plan(inputs: Readonly<Record<string, Input | TensorSpec>>): Promise<Executable>;
  dispose(): void;
}

export interface CompileFunctionOptions extends CompileOptions {
  readonly device?: Device;
  /** `ctx.training` of the traced function. Default false. */
  readonly training?: boolean;
}

/**
 * Compiles a synchronous function of named tensors. It is traced once per set of input shapes and dtypes; numbers passed
 * as inputs stay inputs. State changes go through `ctx.assign(variable, next)`.
 *
 *     const f = compile(({ x }) => ({ y: mul(x, 2) }));
 *     (await f({ x: host(Float32Array.of(1, 2), [2]) })).y.data;   // 2, 4
 */
export function compile(
  fn: (inputs: Readonly<Record<string, Tensor>>, ctx: TraceContext) => Traced,
  options: CompileFunctionOptions = {},
): Compiled {
  const plans = new Map<string, Promise<Executable>>();
  const planFor = (specs: Readonly<Record<string, TensorSpec>>): Promise<Executable> => {
    const key = Object.entries(specs)
      .map(([name, s]) => `${name}:${s.dtype}${showShape(s.shape)}`)
      .join(' ');
    let plan = plans.get(key);
    if (!plan) {
      const graph = trace(fn, specs, options.training ?? false);
      plan = (async () => (options.device ?? (await defaultDevice())).compile(graph, options))();
      plans.set(key, plan);
      plan.catch(() => plans.delete(key));
    }
    return plan;
  };
  const specOf = (x: HostTensor): TensorSpec => ({ shape: x.shape, dtype: x.dtype });
  const call = async (inputs: Readonly<Record<string, Input>> = {}) => {
    const hosts = Object.entries(inputs).map(([name, x]) => [name, hostInput(name, x)] as const);
    const plan = await planFor(Object.fromEntries(hosts.map(([name, x]) => [name, specOf(x)])));
    return Object.fromEntries(await plan.run(new Map(hosts.map(([name, x]) => [name, x.data]))));
  };
  return Object.assign(call, {
    plan: (inputs: Readonly<Record<string, Input | TensorSpec>>) =>
      planFor(
        Object.fromEntries(
          Object.entries(inputs).map(([name, x]) => [
            name,
            typeof x === 'object' && !(x instanceof Tensor) && !('data' in x) ? x : specOf(hostInput(name, x as Input)),
          ]),
        ),
      ),
    dispose() {
      for (const p of plans.values()) p.then((x) => x.dispose()).catch(() => {});
      plans.clear();
    },
  });
}

/** Evaluates a tensor on a device and gives its numbers. */
export async function read(t: Tensor, device?: Device): Promise<HostTensor> {
  const graph = trace(() => ({ result: t }), {}, false);
  const plan = await (device ?? (await defaultDevice())).compile(graph);
  try {
    return (await plan.run(new Map())).get('result')!;
  } finally {
    plan.dispose();
  }
}
