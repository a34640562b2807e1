/** A first-fit allocator with coalescing over one WebAssembly memory, which it grows when it must. */
import { DeviceError } from '../core/errors.ts';

const page = 65536;
const maxPages = 65536;
/** Bytes at the start of memory that belong to the thread pool's control words. */
export const controlBytes = 1024;

export class DeviceMemory {
  readonly memory: WebAssembly.Memory;
  /** Free blocks by address. */
  private free: { at: number; bytes: number }[] = [];
  private readonly sizes = new Map<number, number>();
  private top: number;
  used = 0;

  constructor(shared: boolean) {
    this.memory = new WebAssembly.Memory({ initial: 16, maximum: maxPages, shared });
    this.top = controlBytes;
  }

  /** Address of a 64-byte aligned block. Throws DeviceError past the 4 GiB of 32-bit addresses. */
  alloc(bytes: number): number {
    const size = Math.max(64, Math.ceil(bytes / 64) * 64);
    this.used += size;
    const fit = this.free.findIndex((b) => b.bytes >= size);
    if (fit >= 0) {
      const b = this.free[fit]!;
      if (b.bytes === size) this.free.splice(fit, 1);
      else this.free[fit] = { at: b.at + size, bytes: b.bytes - size };
      this.sizes.set(b.at, size);
      return b.at;
    }
    const at = this.top;
    const missing = at + size - this.memory.buffer.byteLength;
    if (missing > 0) {
      // Grow by an eighth at least, so that many small variables do not mean many growths.
      const pages = Math.ceil(missing / page);
      const generous = Math.min(
        maxPages - this.memory.buffer.byteLength / page,
        Math.max(pages, Math.ceil(this.memory.buffer.byteLength / page / 8)),
      );
      if (!this.grow(Math.max(pages, generous)) && !this.grow(pages)) {
        this.used -= size;
        throw new DeviceError(
          `wasm: expected room for ${(size / 1e6).toFixed(1)} MB more, but memory ends at ${(this.memory.buffer.byteLength / 1e6).toFixed(0)} MB\nUse a smaller batch, accumulate gradients, or recompute activations (checkpoint).`,
        );
      }
    }
    this.top = at + size;
    this.sizes.set(at, size);
    return at;
  }

  private grow(pages: number): boolean {
    try {
      this.memory.grow(pages);
      return true;
    } catch {
      return false;
    }
  }

  release(at: number): void {
    const bytes = this.sizes.get(at);
    if (bytes === undefined) return;
    this.sizes.delete(at);
    this.used -= bytes;
    let i = 0;
    while (i < this.free.length && this.free[i]!.at < at) i++;
    this.free.splice(i, 0, { at, bytes });
    for (const k of [i, i - 1]) {
      const a = this.free[k];
      const b = this.free[k + 1];
      if (a && b && a.at + a.bytes === b.at) this.free.splice(k, 2, { at: a.at, bytes: a.bytes + b.bytes });
    }
    const last = this.free[this.free.length - 1];
    if (last && last.at + last.bytes === this.top) {
      this.top = last.at;
      this.free.pop();
    }
  }
}
