/**
 * What a WebGPU program asks of the device, counted at the API itself, so that every library is counted by the same code.
 *
 * The one idea: bytes moved are the sizes of a dispatch's storage bindings, the least a kernel that uses its operands can
 * read and write. A range bound twice moves once; one that is read and written in place moves twice.
 */

export interface KernelCount {
  readonly label: string;
  dispatches: number;
  bytes: number;
}

export interface Counts {
  dispatches: number;
  submits: number;
  /** Storage bindings of all dispatches. */
  bytesMoved: number;
  /** Between buffers. */
  bytesCopied: number;
  /** From the page: written to the queue or into buffers mapped at creation. */
  bytesUploaded: number;
  readonly kernels: Map<string, KernelCount>;
}

export interface Memory {
  buffers: number;
  bytes: number;
  /** Most at any time since the last reset. */
  peakBytes: number;
}

export interface Meter {
  /** Counts since the last reset, of all devices. */
  readonly counts: Counts;
  reset(): void;
  /** Buffers alive of one device. */
  memoryOf(device: GPUDevice): Memory;
}

interface Bound {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Bindings of group 0 that a shader both reads and writes. Reads are looked for as code is written: the variable itself
 * anywhere but left of an assignment, or a call of a function that only returns its elements.
 */
export function inPlaceBindings(code: string): Set<number> {
  const found = new Set<number>();
  for (const [, binding, name] of code.matchAll(/@binding\((\d+)\)\s*var<\s*storage\s*,\s*read_write\s*>\s*(\w+)/g)) {
    const loader = new RegExp(`fn (\\w+)\\([^)]*\\)[^{]*\\{\\s*return [^;]*\\b${name}\\b[^;]*;\\s*\\}`, 'g');
    const called = [...code.matchAll(loader)].some(
      ([, f]) => [...code.matchAll(new RegExp(`\\b${f}\\(`, 'g'))].length > 1,
    );
    const rest = code
      .replace(loader, '')
      .replace(/@group\(0\) @binding\(\d+\)\s*var<[^;]*;/g, '')
      .replace(new RegExp(`\\b${name}(\\.\\w+)?\\[[^=;]*\\]\\s*=(?!=)`, 'g'), '');
    if (called || new RegExp(`\\b${name}\\b`).test(rest)) found.add(Number(binding));
  }
  return found;
}

/** Wraps a method: `after` sees its object, arguments and result. */
function watch<T extends object, K extends keyof T>(
  proto: T,
  name: K,
  after: (self: T, args: readonly unknown[], result: unknown) => void,
): void {
  const original = proto[name] as unknown as (...args: unknown[]) => unknown;
  const wrapped = function (this: T, ...args: unknown[]): unknown {
    const result = original.apply(this, args);
    after(this, args, result);
    return result;
  };
  Object.defineProperty(proto, name, { value: wrapped, configurable: true, writable: true });
}

const fresh = (): Counts => ({
  dispatches: 0,
  submits: 0,
  bytesMoved: 0,
  bytesCopied: 0,
  bytesUploaded: 0,
  kernels: new Map(),
});

/** Patches the prototypes of WebGPU; to be called before any library opens a device. */
export function installMeter(): Meter {
  let counts = fresh();
  const memory = new WeakMap<GPUDevice, Memory>();
  const devices: Memory[] = [];
  const owners = new WeakMap<GPUBuffer, Memory>();
  const code = new WeakMap<GPUShaderModule, string>();
  const inPlace = new WeakMap<GPUComputePipeline, ReadonlySet<number>>();
  const groups = new WeakMap<GPUBindGroup, ReadonlyMap<number, Bound>>();
  const passes = new WeakMap<GPUComputePassEncoder, { pipeline?: GPUComputePipeline; groups: GPUBindGroup[] }>();

  const memoryOf = (device: GPUDevice): Memory => {
    let m = memory.get(device);
    if (!m) {
      m = { buffers: 0, bytes: 0, peakBytes: 0 };
      memory.set(device, m);
      devices.push(m);
    }
    return m;
  };
  watch(GPUDevice.prototype, 'createBuffer', (device, [d], made) => {
    const { size, mappedAtCreation } = d as GPUBufferDescriptor;
    const m = memoryOf(device);
    m.buffers++;
    m.bytes += size;
    m.peakBytes = Math.max(m.peakBytes, m.bytes);
    owners.set(made as GPUBuffer, m);
    if (mappedAtCreation) counts.bytesUploaded += size;
  });
  watch(GPUBuffer.prototype, 'destroy', (buffer) => {
    const m = owners.get(buffer);
    if (!m) return;
    owners.delete(buffer);
    m.buffers--;
    m.bytes -= buffer.size;
  });

  watch(GPUDevice.prototype, 'createShaderModule', (_, [d], made) => {
    code.set(made as GPUShaderModule, (d as GPUShaderModuleDescriptor).code);
  });
  const note = (d: unknown, made: GPUComputePipeline) =>
    inPlace.set(made, inPlaceBindings(code.get((d as GPUComputePipelineDescriptor).compute.module)!));
  watch(GPUDevice.prototype, 'createComputePipeline', (_, [d], made) => note(d, made as GPUComputePipeline));
  watch(GPUDevice.prototype, 'createComputePipelineAsync', (_, [d], made) => {
    (made as Promise<GPUComputePipeline>).then((p) => note(d, p)).catch(() => {});
  });
  watch(GPUDevice.prototype, 'createBindGroup', (_, [d], made) => {
    const bound = new Map<number, Bound>();
    for (const { binding, resource } of (d as GPUBindGroupDescriptor).entries) {
      const r = resource instanceof GPUBuffer ? { buffer: resource } : (resource as GPUBufferBinding);
      // Samplers and textures have no buffer; parameters are no traffic.
      if (!r.buffer || r.buffer.usage & GPUBufferUsage.UNIFORM) continue;
      const { buffer, offset = 0, size = buffer.size - offset } = r;
      bound.set(binding, { buffer, offset, bytes: size });
    }
    groups.set(made as GPUBindGroup, bound);
  });

  watch(GPUCommandEncoder.prototype, 'beginComputePass', (_encoder, _args, pass) => {
    passes.set(pass as GPUComputePassEncoder, { groups: [] });
  });
  watch(GPUComputePassEncoder.prototype, 'setPipeline', (pass, [pipeline]) => {
    passes.get(pass)!.pipeline = pipeline as GPUComputePipeline;
  });
  watch(GPUComputePassEncoder.prototype, 'setBindGroup', (pass, [at, group]) => {
    passes.get(pass)!.groups[at as number] = group as GPUBindGroup;
  });
  const dispatched = (pass: GPUComputePassEncoder) => {
    const { pipeline, groups: set } = passes.get(pass)!;
    const seen: Bound[] = [];
    let bytes = 0;
    for (const group of set)
      for (const [binding, b] of groups.get(group)!) {
        const again = seen.some((s) => s.buffer === b.buffer && s.offset === b.offset && s.bytes === b.bytes);
        seen.push(b);
        if (!again) bytes += b.bytes * (inPlace.get(pipeline!)!.has(binding) ? 2 : 1);
      }
    counts.dispatches++;
    counts.bytesMoved += bytes;
    const { label } = pipeline!;
    const kernel = counts.kernels.get(label) ?? { label, dispatches: 0, bytes: 0 };
    kernel.dispatches++;
    kernel.bytes += bytes;
    counts.kernels.set(label, kernel);
  };
  watch(GPUComputePassEncoder.prototype, 'dispatchWorkgroups', dispatched);
  watch(GPUComputePassEncoder.prototype, 'dispatchWorkgroupsIndirect', dispatched);

  watch(GPUCommandEncoder.prototype, 'copyBufferToBuffer', (_, args) => {
    // (from, to, size?) or (from, offset, to, offset, size?)
    const whole = args[1] instanceof GPUBuffer;
    const offset = whole ? 0 : (args[1] as number);
    const size = args[whole ? 2 : 4] as number | undefined;
    counts.bytesCopied += size ?? (args[0] as GPUBuffer).size - offset;
  });
  watch(GPUQueue.prototype, 'writeBuffer', (_, args) => {
    const [, , data, offset = 0, size] = args as [unknown, unknown, ArrayBuffer | ArrayBufferView, number?, number?];
    const unit = (data as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
    counts.bytesUploaded += size === undefined ? data.byteLength - offset * unit : size * unit;
  });
  watch(GPUQueue.prototype, 'submit', () => {
    counts.submits++;
  });

  return {
    get counts() {
      return counts;
    },
    reset() {
      counts = fresh();
      for (const m of devices) m.peakBytes = m.bytes;
    },
    memoryOf,
  };
}
