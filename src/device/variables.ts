/**
 * A device's copies of variables, and which numbers are newest.
 *
 * The one idea: versions decide. A copy is uploaded where the host's numbers are newer, and read back where the device's
 * are; `writes` counts every change of a copy, so that what was computed from it can be known to be out of date.
 */
import { type Data, hostArray } from '../core/dtype.ts';
import { UsageError } from '../core/errors.ts';
import type { Variable, VariableHome } from '../core/tensor.ts';

export interface VariableCopy<Place> {
  readonly place: Place;
  version: number;
  writes: number;
}

/** What copies need of the device's memory. */
export interface VariableMemory<Place> {
  create(v: Variable): Place;
  upload(v: Variable, to: Place): void;
  free(place: Place): void;
}

export class VariableCopies<Place> {
  private readonly copies = new Map<Variable, VariableCopy<Place>>();
  private readonly home: VariableHome;
  private readonly memory: VariableMemory<Place>;
  constructor(home: VariableHome, memory: VariableMemory<Place>) {
    this.home = home;
    this.memory = memory;
  }
  /** The copy of a variable, uploaded if the host's numbers are newer. */
  at(v: Variable): VariableCopy<Place> {
    let copy = this.copies.get(v);
    if (!copy) {
      copy = { place: this.memory.create(v), version: 0, writes: 0 };
      this.copies.set(v, copy);
    }
    if (v.home !== this.home && copy.version !== v.version) {
      if (v.home)
        throw new UsageError(
          `variable '${v.name}' lives on another device\nRead it there first: await variable.read().`,
        );
      this.memory.upload(v, copy.place);
      copy.version = v.version;
      copy.writes++;
    }
    return copy;
  }
  /** A plan wrote the copy: it is the newest now. */
  wrote(v: Variable): void {
    const copy = this.at(v);
    copy.version = v.movedTo(this.home);
    copy.writes++;
  }
  /** The copy where it is newer than the host's numbers. */
  newer(v: Variable): VariableCopy<Place> | undefined {
    return v.home === this.home ? this.copies.get(v) : undefined;
  }
  /** Gives the host what was read from the copy. */
  toHost(v: Variable, numbers: Data): Data {
    v.host = hostArray(v.dtype, v.size);
    v.host.set(numbers);
    v.home = undefined;
    return v.host;
  }
  /** Frees the copy; false where there was none. */
  forget(v: Variable): boolean {
    if (v.home === this.home) v.home = undefined;
    const copy = this.copies.get(v);
    if (!copy) return false;
    this.memory.free(copy.place);
    return this.copies.delete(v);
  }
  /** Lets go of all variables; their host numbers stay. */
  clear(): void {
    for (const v of this.copies.keys()) if (v.home === this.home) v.home = undefined;
    this.copies.clear();
  }
}

/** Whether what a prologue computed from variables is out of date. */
export class Watch {
  private readonly copies: VariableCopies<unknown>;
  private readonly variables: readonly Variable[];
  private seen: readonly number[] | undefined;
  constructor(copies: VariableCopies<unknown>, variables: readonly Variable[]) {
    this.copies = copies;
    this.variables = variables;
  }
  /** Out of date whatever the variables are: what was computed is gone. */
  reset(): void {
    this.seen = undefined;
  }
  /** Whether it must be computed now; then it counts as computed. */
  due(): boolean {
    const now = this.variables.map((v) => this.copies.at(v).writes);
    const due = !this.seen || now.some((n, i) => n !== this.seen![i]);
    this.seen = now;
    return due;
  }
}
