/**
 * Verifying a set (Node): which images cannot be read, which are of another size, which are there twice; and saving what can
 * be saved of damaged picture files.
 *
 * The one idea: of every image a hash and the number of its size are kept, 10 bytes; sorted by hash, equal images are
 * neighbours.
 */
import type { Dataset } from '../dataset.ts';
import { verifyPacked } from '../formats/packedFormat.ts';
import type { Look } from './look.ts';
import { repairFile } from './repair.ts';
import { numbersWhere } from './setFacts.ts';

/** Of a list that may be long, how many are given by name; counts are of all. */
const mostGiven = 10_000;

export interface BadPicture {
  readonly image: number;
  readonly name: string;
  readonly reason: string;
  /** Whether part of it can be saved; absent where that is not known. */
  readonly repairable?: boolean;
  /** Where its original is now, after it was repaired. */
  readonly original?: string;
  /** Why it was not repaired. */
  readonly notRepaired?: string;
}

/** Images with the same bytes. */
export interface Duplicate {
  readonly images: readonly { readonly image: number; readonly name: string; readonly identity: string | null }[];
  /** Whether they are said to show different people. */
  readonly across: boolean;
}

/** What was found. Lists hold the first ten thousand; counts are of all. */
export interface Verified {
  /** Images that cannot be read, after repair. */
  readonly bad: number;
  readonly repaired: number;
  readonly badPictures: readonly BadPicture[];
  /** Damage that belongs to no image: checksums of a packed file's own parts. */
  readonly damage: readonly string[];
  /** The size of more than half of the images, where there is one, and those that differ. */
  readonly commonSize?: readonly [width: number, height: number];
  readonly otherSize: number;
  readonly otherSizes: readonly {
    readonly image: number;
    readonly name: string;
    readonly width: number;
    readonly height: number;
  }[];
  readonly duplicates: {
    /** Images that are copies of one before. */
    readonly copies: number;
    /** Groups of equal images, and those of them whose images are said to show different people. */
    readonly groups: number;
    readonly across: number;
    /** Groups across people first. */
    readonly examples: readonly Duplicate[];
  };
}

/** The list with room for one more, or undefined. */
const room = <T>(list: T[]): T[] | undefined => (list.length < mostGiven ? list : undefined);

/** Gathers what was seen of all images of a set. */
export class Verifier {
  private readonly set: Dataset;
  private readonly labels: Int32Array;
  private readonly path: string;
  private readonly format: string;
  private readonly repair: boolean;
  private readonly low: Uint32Array;
  private readonly high: Uint32Array;
  /** 1 where the hash is known, 2 where the image is bad. */
  private readonly state: Uint8Array;
  /** Number of its size among `sizes`; 0 where it has none, or `sizes` is full. */
  private readonly size: Uint16Array;
  private readonly sizes = new Map<string, { number: number; images: number; width: number; height: number }>();
  private readonly badPictures: BadPicture[] = [];
  private bad = 0;
  private repaired = 0;

  constructor(set: Dataset, labels: Int32Array, path: string, format: string, repair: boolean) {
    this.set = set;
    this.labels = labels;
    this.path = path;
    this.format = format;
    this.repair = repair;
    this.low = new Uint32Array(set.length);
    this.high = new Uint32Array(set.length);
    this.state = new Uint8Array(set.length);
    this.size = new Uint16Array(set.length);
  }

  async add(image: number, look: Look): Promise<void> {
    if (look.hash) {
      [this.low[image], this.high[image]] = look.hash;
      this.state[image] = 1;
    }
    if (look.bad === undefined) {
      const key = `${look.width}x${look.height}`;
      let size = this.sizes.get(key);
      if (!size && this.sizes.size < 65_535) {
        size = { number: this.sizes.size + 1, images: 0, width: look.width, height: look.height };
        this.sizes.set(key, size);
      }
      if (!size) return;
      size.images++;
      this.size[image] = size.number;
      return;
    }
    const found: BadPicture = {
      image,
      name: this.set.imageName(image),
      reason: look.bad,
      ...(look.repairable === undefined ? {} : { repairable: look.repairable }),
    };
    await this.noteBad(found);
  }

  private async noteBad(found: BadPicture): Promise<void> {
    const { image } = found;
    this.bad++;
    // Damaged in the same way is not yet the same picture.
    this.state[image] = 2;
    let shown = found;
    const source = this.set.source(image);
    if (this.repair && source.kind === 'file') {
      const outcome = await repairFile(source.path, this.path);
      shown = { ...found, ...outcome };
      if ('original' in outcome) {
        this.bad--;
        this.repaired++;
        this.state[image] = 0;
      }
    }
    room(this.badPictures)?.push(shown);
  }

  private copies(): Verified['duplicates'] {
    const { low, high, state } = this;
    const order = numbersWhere(state.length, (i) => state[i] === 1);
    order.sort((a, b) => high[a]! - high[b]! || low[a]! - low[b]! || a - b);
    const across: Duplicate[] = [];
    const within: Duplicate[] = [];
    const counts = { copies: 0, groups: 0, across: 0 };
    const describe = (image: number) => ({
      image,
      name: this.set.imageName(image),
      identity: this.labels[image]! < 0 ? null : this.set.identityName(this.labels[image]!),
    });
    for (let from = 0, to = 0; from < order.length; from = to) {
      const [a, h] = [low[order[from]!], high[order[from]!]];
      to = from + 1;
      while (to < order.length && low[order[to]!] === a && high[order[to]!] === h) to++;
      if (to - from < 2) continue;
      const group = order.subarray(from, to);
      const people = Array.from(group, (i) => this.labels[i]!).filter((l) => l >= 0);
      const differ = people.some((l) => l !== people[0]);
      counts.groups++;
      counts.copies += group.length - 1;
      if (differ) counts.across++;
      room(differ ? across : within)?.push({ images: Array.from(group.subarray(0, 20), describe), across: differ });
    }
    for (const list of [across, within]) list.sort((a, b) => a.images[0]!.image - b.images[0]!.image);
    return { ...counts, examples: [...across, ...within].slice(0, mostGiven) };
  }

  /** Compares checksums where the format has some, and sums up. */
  async finish(onProgress?: (done: number, total: number) => void): Promise<Verified> {
    const damage: string[] = [];
    if (this.format === 'packed') {
      for (const { what, at, image, name, problem } of await verifyPacked(
        this.path,
        onProgress ? { onProgress } : {},
      )) {
        if (what !== 'image' || image === undefined) room(damage)?.push(`${what} at offset ${at}: expected ${problem}`);
        else if (this.state[image] !== 2)
          await this.noteBad({ image, name: name ?? this.set.imageName(image), reason: `expected ${problem}` });
      }
    }
    const sizes = [...this.sizes.values()].sort((a, b) => b.images - a.images);
    const common = sizes.find((z) => 2 * z.images > sizes.reduce((n, { images }) => n + images, 0));
    const otherSizes: Verified['otherSizes'][number][] = [];
    let otherSize = 0;
    if (common) {
      const byNumber = new Map(sizes.map((z) => [z.number, z]));
      for (let i = 0; i < this.size.length; i++) {
        const number = this.size[i]!;
        if (number === 0 || number === common.number) continue;
        otherSize++;
        const { width, height } = byNumber.get(number)!;
        room(otherSizes)?.push({ image: i, name: this.set.imageName(i), width, height });
      }
    }
    return {
      bad: this.bad,
      repaired: this.repaired,
      badPictures: this.badPictures,
      damage,
      ...(common ? { commonSize: [common.width, common.height] as const } : {}),
      otherSize,
      otherSizes,
      duplicates: this.copies(),
    };
  }
}
