/**
 * Finding a GPU: `navigator.gpu` in a page, the npm package `webgpu` (Dawn) in Node, which is loaded only when asked for.
 */
import type { GpuLimits } from '../../kernels/lower.ts';
import { DeviceError } from '../core/errors.ts';

export interface GpuChoice {
  /** Held because Dawn's devices do not keep it. */
  readonly gpu: GPU;
  readonly device: GPUDevice;
  /** Vendor, architecture and name, as far as the browser tells. */
  readonly name: string;
  /** Whether the adapter is a program: slower than WASM on the same cores. */
  readonly onCpu: boolean;
  readonly limits: GpuLimits;
  readonly timestamps: boolean;
}
export interface GpuOptions {
  /** Where adapters come from; default: the page's or Dawn. */
  readonly gpu?: GPU;
  /** Only what every adapter has: for tests. Default false. */
  readonly least?: boolean;
}

const isNode = typeof process !== 'undefined' && process.versions?.node !== undefined;

/**
 * Whether this machine can have a GPU at all: asked before Dawn is loaded unbidden, since drivers of machines without one
 * write complaints to standard error. True where that is not known.
 */
export function mayHaveGpu(): boolean {
  if (!isNode || process.platform !== 'linux') return true;
  const { existsSync, readdirSync } = process.getBuiltinModule('node:fs');
  const card = existsSync('/dev/dri') && readdirSync('/dev/dri').some((f) => f.startsWith('renderD'));
  return card || existsSync('/dev/nvidiactl') || existsSync('/dev/dxg');
}

let dawn: Promise<GPU> | undefined;
/** Dawn's GPU object. The name is a variable, so that bundlers leave the import alone. */
async function loadDawn(): Promise<GPU> {
  const name = 'webgpu';
  let module: { create(options: string[]): GPU; globals: object };
  try {
    module = await import(/* @vite-ignore */ name);
  } catch {
    throw new DeviceError(
      'webgpu: Node has no WebGPU of its own; npm install webgpu gives it one\nOr use --device wasm.',
    );
  }
  for (const [key, value] of Object.entries(module.globals))
    if (!(key in globalThis)) Object.defineProperty(globalThis, key, { value, configurable: true });
  // Browsers round timestamps against spying pages; profiles in Node can be exact.
  return module.create(['disable-dawn-features=timestamp_quantization']);
}

async function findGpu(): Promise<GPU> {
  const own = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  if (own) return own;
  if (!isNode)
    throw new DeviceError('webgpu: this browser has no WebGPU\nUse a current browser over https, or --device wasm.');
  dawn ??= loadDawn();
  dawn.catch(() => {
    dawn = undefined;
  });
  return dawn;
}

/** Takes the adapter's own limits and the features that kernels use. */
export async function openGpu({ gpu, least = false }: GpuOptions = {}): Promise<GpuChoice> {
  const source = gpu ?? (await findGpu());
  const adapter = await source.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter)
    throw new DeviceError('webgpu: no adapter found\nInstall a Vulkan, Metal or D3D12 driver, or use --device wasm.');
  const has = (f: GPUFeatureName) => !least && adapter.features.has(f);
  const features = (['subgroups', 'timestamp-query'] as GPUFeatureName[]).filter(has);
  const wanted = ['maxStorageBuffersPerShaderStage', 'maxStorageBufferBindingSize', 'maxBufferSize'] as const;
  const device = await adapter.requestDevice({
    requiredFeatures: features,
    requiredLimits: least ? {} : Object.fromEntries(wanted.map((l) => [l, adapter.limits[l]])),
  });
  const { info } = adapter;
  const { limits } = device;
  const name = [info.vendor, info.architecture, info.description || info.device].filter(Boolean).join(' ') || 'unnamed';
  const onCpu = info.isFallbackAdapter || /swiftshader|llvmpipe|basic render/i.test(name);
  return {
    gpu: source,
    device,
    name,
    onCpu,
    limits: {
      // Kernels for what every adapter has are those of a GPU.
      software: onCpu && !least,
      // Kernels also use the number of the subgroup, a later addition to the language.
      subgroups: features.includes('subgroups') && (source.wgslLanguageFeatures?.has('subgroup_id') ?? false),
      storageBuffers: limits.maxStorageBuffersPerShaderStage,
      bufferBytes: limits.maxBufferSize,
      operandBytes: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
    },
    timestamps: features.includes('timestamp-query'),
  };
}
