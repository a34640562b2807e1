/**
 * Which SIMD mode the engine gives us.
 *
 * Relaxed SIMD and shared memory are probed by compiling one small module each: some engines reject a module for a
 * single unknown opcode. Wide mode exists where V8's revectorizer runs (V8 13 on, behind a flag that must be set
 * before any kernel compiles); whoever sets the flag calls `declareWide`.
 */
import { defineKernel } from '../../native/kernel.ts';
import { loadV128, type Mode } from '../../native/wasm.ts';

const probe = defineKernel({
  key: 'probe',
  args: { x: 'i32' },
  chunk(f, { x }) {
    const v = f.let(loadV128(x));
    f.storeV128(x, f.madd(v, v, v));
  },
});

const supports = (mode: Mode) => typeof WebAssembly === 'object' && WebAssembly.validate(probe.encode(mode));

let wideDeclared = false;
/** States that the revectorizer flag is set. Affects devices created afterwards. */
export const declareWide = (): void => {
  wideDeclared = true;
};

export interface ModeRequest {
  /** Default: whatever the engine has. */
  readonly relaxed?: boolean;
  readonly wide?: boolean;
  readonly shared?: boolean;
}

export interface ModeChoice {
  readonly mode: Mode;
  readonly reason: string;
}

const canShare = () => {
  if (typeof SharedArrayBuffer === 'undefined') return false;
  // In a page, sharing memory with workers also needs cross-origin isolation (COOP and COEP headers).
  const isolated = (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated;
  return isolated !== false;
};

/** What the self-test of wide mode found. */
export interface WideVerdict {
  readonly good: boolean;
  readonly reason: string;
}

/** The best mode within the request, and after the self-test of wide mode within its verdict; with the reason in words. Undefined where WebAssembly SIMD is missing. */
export function chooseMode(request: ModeRequest = {}, tested?: WideVerdict): ModeChoice | undefined {
  if (!supports({ relaxed: false, wide: false, shared: false })) return undefined;
  const shared = request.shared !== false && canShare();
  const canRelax = supports({ relaxed: true, wide: false, shared });
  const relaxed = request.relaxed !== false && canRelax;
  const wide = relaxed && wideDeclared && request.wide !== false && tested?.good !== false;
  const reasons = [
    relaxed
      ? 'fused multiply-add'
      : canRelax
        ? 'strict SIMD as asked'
        : 'this engine has no relaxed SIMD: separate multiply and add',
    relaxed && wideDeclared && request.wide !== false
      ? (tested?.reason ?? 'V8 pairs operations into 256 bits')
      : wideDeclared
        ? '128-bit as asked'
        : '128-bit: the revectorizer flag is not set',
    shared
      ? 'shared memory'
      : canShare()
        ? 'unshared memory as asked'
        : 'no shared memory (a page must be cross-origin isolated): one thread in place',
  ];
  return { mode: { relaxed, wide, shared }, reason: reasons.join('; ') };
}
