/** Augmentation: the text form of specs, what draws decide, and that streams of operations are apart. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { fold, type Key, keyOf, uniformAt } from '../../src/core/random.ts';
import {
  type AugmentSpec,
  augment,
  augmentPresets,
  checkAugment,
  formatAugment,
  type OperationName,
  operationNames,
  operations,
  parseAugment,
  type Strength,
} from '../../src/image/augment.ts';
import * as filters from '../../src/image/filters.ts';
import type { RgbImage } from '../../src/image/jpeg.ts';
import { picture } from '../helpers/pictures.ts';

const key = keyOf(3);
const face = picture(1, 0, 24);
const bytes = (image: RgbImage) => Buffer.from(image.data);

/** Any spec. */
const specs: fc.Arbitrary<AugmentSpec> = fc
  .subarray([...operationNames])
  .chain((names) =>
    fc.tuple(
      ...names.map((name) => {
        const { range, whole, probability } = operations[name];
        // strengths that small pictures bear
        const most = Math.min(range[1], 40);
        const strength = whole
          ? fc.integer({ min: range[0], max: most })
          : fc.double({ min: range[0], max: most, noNaN: true }).map((x) => x + 0);
        const chance = fc.double({ min: 0, max: 1, noNaN: true }).map((x) => x + 0);
        const given: fc.Arbitrary<Strength> =
          probability === undefined ? strength : fc.oneof(strength, fc.tuple(strength, chance));
        return given.map((s): [OperationName, Strength] => [name, s]);
      }),
    ),
  )
  .map((entries) => Object.fromEntries(entries));

describe('the text form', () => {
  it('is read as it is written', () => {
    fc.assert(
      fc.property(specs, (spec) => {
        expect(parseAugment(formatAugment(spec))).toEqual(spec);
      }),
    );
  });
  it('by hand', () => {
    expect(parseAugment('flip=0.5,crop=8,rotate=10')).toEqual({ flip: 0.5, crop: 8, rotate: 10 });
    expect(parseAugment(' rotate = 1e1 , blur=1.5@0.2')).toEqual({ rotate: 10, blur: [1.5, 0.2] });
    expect(formatAugment({ rotate: 10, blur: [1.5, 0.2], flip: 0.5 })).toBe('flip=0.5,rotate=10,blur=1.5@0.2');
    expect(parseAugment('none')).toEqual({});
    expect(formatAugment({})).toBe('none');
    expect(parseAugment('strong')).toEqual(augmentPresets.strong);
    expect(parseAugment('light,crop=4')).toEqual({ ...augmentPresets.light, crop: 4 });
    expect(parseAugment('crop=4,light')).toEqual(augmentPresets.light);
  });
  test.each([
    ['rotat=10', /^augment: expected an operation, got 'rotat'\nDid you mean 'rotate'\?/],
    ['Strong', /got 'Strong'\nDid you mean 'strong'\?/],
    ['', /expected an operation, got ''/],
    ['crop=8,', /expected an operation, got ''/],
    ['constructor=1', /expected an operation, got 'constructor'/],
    ['rotate', /'rotate' expected a number from 0 to 180, got nothing\nWrite rotate=…/],
    ['rotate=', /'rotate' expected a number from 0 to 180, got ''/],
    ['rotate=fast', /'rotate' expected a number from 0 to 180, got 'fast'/],
    ['rotate=181', /'rotate' expected a number from 0 to 180, got '181'/],
    ['crop=1.5', /'crop' expected a whole number from 0 to 1024, got '1.5'/],
    ['jpeg=0', /'jpeg' expected a whole number from 1 to 100/],
    ['blur=1@2', /'blur' expected a probability from 0 to 1 after '@', got '1@2'/],
    ['blur=1@', /'blur' expected a probability/],
    ['blur=1@0.1@0.2', /'blur' expected a number/],
    ['flip=0.5@0.5', /'flip' expected a probability alone, got '0.5@0.5'\nWrite flip=0.5/],
  ])('%s is refused with what is expected', (text, message) => {
    expect(() => parseAugment(text)).toThrow(message);
    expect(() => parseAugment(text)).toThrow(UsageError);
  });
  it('specs as data are checked too, and put in order', () => {
    expect(() => checkAugment({ rotat: 1 } as AugmentSpec)).toThrow(/Did you mean 'rotate'/);
    expect(() => checkAugment({ blur: Number.NaN })).toThrow(UsageError);
    expect(Object.keys(checkAugment({ cutout: 3, flip: 1 }))).toEqual(['flip', 'cutout']);
  });
});

describe('augment', () => {
  it('keeps the size and its input, and is a function of spec and key, in any picture', () => {
    const sides = fc.integer({ min: 1, max: 20 });
    fc.assert(
      fc.property(specs, sides, sides, fc.nat(), (spec, width, height, seed) => {
        const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * 89 + seed) & 255);
        const image = { width, height, data };
        const before = data.slice();
        const out = augment(image, spec, keyOf(seed));
        expect([out.width, out.height, out.data.length]).toEqual([width, height, data.length]);
        expect(augment(image, { ...spec }, keyOf(seed)).data).toEqual(out.data);
        expect(data).toEqual(before);
      }),
      { numRuns: 60 },
    );
  });
  it('gives the picture itself where nothing is asked or nothing happens', () => {
    expect(augment(face, {}, key)).toBe(face);
    const never = Object.fromEntries(
      operationNames.map((n) => [n, operations[n].probability === undefined ? 0 : [operations[n].range[1], 0]]),
    ) as AugmentSpec;
    expect(augment(face, never, key)).toBe(face);
  });
  it('does nothing at no strength', () => {
    // JPEG has no such quality; a factor of 1 and a window of 1 are none
    const none: Partial<Record<OperationName, number>> = { scale: 1, average: 1, median: 1, open: 1 };
    for (const name of operationNames) {
      if (name === 'jpeg') continue;
      const x = none[name] ?? 0;
      const spec = { [name]: operations[name].probability === undefined ? x : [x, 1] } as AugmentSpec;
      for (let i = 0; i < 5; i++) expect(augment(face, spec, fold(key, i)).data, name).toEqual(face.data);
    }
  });
  it('happens as often as the probability says', () => {
    const n = 2000;
    for (const name of operationNames) {
      // amounts that always show
      const strength = Math.min(operations[name].range[1], name === 'shift' || name === 'crop' ? 8 : 30);
      const counts = [undefined, 0.15].map((given) => {
        const p = given ?? operations[name].probability ?? 0.4;
        const happens = Array.from({ length: n }, (_, i) => uniformAt(fold(fold(key, i), name), 0) < p);
        for (let i = 0; i < 4; i++) {
          const k = fold(key, i);
          const spec: AugmentSpec = {
            [name]: operations[name].probability === undefined ? p : given === undefined ? strength : [strength, given],
          };
          // identical only where the coin says so
          if (!happens[i]) expect(augment(face, spec, k), name).toBe(face);
          else {
            const own = fold(k, name);
            const amount = operations[name].amount(strength, uniformAt(own, 1));
            expect(augment(face, spec, k).data, name).toEqual(operations[name].apply(face, amount, own).data);
          }
        }
        return [p, happens.filter(Boolean).length / n] as const;
      });
      for (const [p, share] of counts)
        expect(Math.abs(share - p), name).toBeLessThanOrEqual(5 * Math.sqrt((p * (1 - p)) / n));
    }
  });
  it('draws amounts evenly over their range', () => {
    const n = 4000;
    const uniforms = Array.from({ length: n }, (_, i) => uniformAt(fold(fold(key, i), 'amounts'), 1));
    const of = (name: OperationName, strength: number) => uniforms.map((u) => operations[name].amount(strength, u));
    const mean = (x: number[]) => x.reduce((s, v) => s + v, 0) / x.length;
    for (const [name, strength, low, high] of [
      ['rotate', 10, -10, 10],
      ['brightness', 0.4, 0.6, 1.4],
      ['contrast', 1, 0, 2],
      ['saturation', 0.2, 0.8, 1.2],
      ['scale', 0.25, 0.25, 1],
      ['blur', 2, 0, 2],
      ['noise', 0.1, 0, 0.1],
      ['saltPepper', 0.1, 0, 0.1],
      ['dropBlock', 0.3, 0, 0.3],
    ] as const) {
      const x = of(name, strength);
      expect(Math.min(...x)).toBeGreaterThanOrEqual(low);
      expect(Math.max(...x)).toBeLessThanOrEqual(high);
      expect(Math.abs(mean(x) - (low + high) / 2)).toBeLessThan((5 * (high - low)) / Math.sqrt(12 * n));
    }
    const kinds = (name: OperationName, strength: number) => [...new Set(of(name, strength))].sort((a, b) => a - b);
    expect(kinds('median', 7)).toEqual([1, 3, 5, 7]);
    expect(kinds('average', 6)).toEqual([1, 3, 5]);
    expect(kinds('open', 1)).toEqual([1]);
    expect(kinds('jpeg', 97)).toEqual([97, 98, 99, 100]);
    expect(kinds('crop', 5)).toEqual([5]);
  });
  it('an operation leaves the draws of the others as they are', () => {
    const other = fold(key, 'other');
    // cutout comes last and covers what it covers, whatever came before
    const grey: RgbImage = { width: 24, height: 24, data: new Uint8Array(24 * 24 * 3).fill(50) };
    const covered = (spec: AugmentSpec, k: Key) =>
      [...augment(grey, spec, k).data].map((v) => (v === 128 ? 1 : 0)).join('');
    for (const k of [key, other])
      expect(covered({ cutout: [9, 1], flip: 1, saturation: 0.5, rotate: [0, 1] }, k)).toBe(
        covered({ cutout: [9, 1] }, k),
      );
    expect(covered({ cutout: [9, 1] }, key)).not.toBe(covered({ cutout: [9, 1] }, other));
  });
  it('applies in the order of the table: mirrored, then turned, then darkened, then covered', () => {
    const spec: AugmentSpec = { cutout: [8, 1], brightness: 0.5, rotate: [20, 1], flip: 1 };
    let want = filters.mirror(face);
    const own = (name: string) => fold(key, name);
    want = filters.rotate(want, 20 * (2 * uniformAt(own('rotate'), 1) - 1));
    want = filters.brightness(want, 1 + 0.5 * (2 * uniformAt(own('brightness'), 1) - 1));
    const at = (draw: number) => Math.floor(24 * uniformAt(own('cutout'), draw));
    want = filters.cutout(want, at(2), at(3), 8);
    expect(bytes(augment(face, spec, key)).equals(bytes(want))).toBe(true);
  });
  it('crop and shift reach every place, and only those', () => {
    const spots = (spec: AugmentSpec, image: RgbImage) => {
      const found = new Map<string, number>();
      for (let i = 0; i < 400; i++) {
        const seen = bytes(augment(image, spec, fold(key, i))).toString('hex');
        found.set(seen, (found.get(seen) ?? 0) + 1);
      }
      return [...found.values()];
    };
    // a picture moved by -2 to 2 on both axes; enlarged by 2, cut in 3 x 3 places
    for (const [spec, places] of [
      [{ shift: 2 }, 25],
      [{ crop: 2 }, 9],
    ] as const) {
      const counts = spots(spec, face);
      expect(counts).toHaveLength(places);
      const mean = 400 / places;
      for (const c of counts) expect(Math.abs(c - mean)).toBeLessThan(5 * Math.sqrt(mean));
    }
  });
});
