import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { syntheticSet } from '../../../datasets/synthetic.ts';
import { UsageError } from '../../../src/core/errors.ts';
import { keyOf } from '../../../src/core/random.ts';
import type { Dataset, ImageSource, PairTable } from '../../../src/data/dataset.ts';
import { concat, split, subset, withPeople } from '../../../src/data/prepare/combine.ts';

/** A set of people and their numbers of images; images of −1 are of nobody. */
function setOf(
  name: string,
  labels: readonly number[],
  people?: readonly string[],
  more: Partial<Dataset> = {},
): Dataset {
  const classes = people?.length ?? Math.max(-1, ...labels) + 1;
  const identityName = (l: number) => people?.[l] ?? `p${l}`;
  return {
    name,
    classes,
    length: labels.length,
    label: (i) => labels[i]!,
    identityName,
    imageName: (i) => `${labels[i]! < 0 ? 'unknown' : identityName(labels[i]!)}/${i}.jpg`,
    source: (i): ImageSource => ({ kind: 'file', path: `${name}/${i}` }),
    ...more,
  };
}
const path = (s: ImageSource) => (s.kind === 'file' ? s.path : '');
const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
/** All that a set says. */
const told = (set: Dataset) => ({
  people: numbers(set.classes).map((l) => set.identityName(l)),
  images: numbers(set.length).map((i) => [set.label(i), set.imageName(i), path(set.source(i))]),
});
const pairsOf = (left: number[], right: number[], same: number[], fold: number[]): PairTable => ({
  folds: Math.max(...fold) + 1,
  left: Int32Array.from(left),
  right: Int32Array.from(right),
  same: Uint8Array.from(same),
  fold: Int32Array.from(fold),
});
const labelLists = fc.array(fc.integer({ min: -1, max: 5 }), { minLength: 1, maxLength: 40 });

describe('concat', () => {
  it('puts images and people of one set behind those of the other', () => {
    const a = setOf('in/a.rec', [0, -1, 1], ['Ann', 'Bob']);
    const b = setOf('in/b', [1, 0], ['Cy', 'Di']);
    const both = concat([a, setOf('none', []), b]);
    expect(told(both)).toEqual({
      people: ['Ann', 'Bob', 'Cy', 'Di'],
      images: [
        [0, 'Ann/0.jpg', 'in/a.rec/0'],
        [-1, 'unknown/1.jpg', 'in/a.rec/1'],
        [1, 'Bob/2.jpg', 'in/a.rec/2'],
        [3, 'Di/0.jpg', 'in/b/0'],
        [2, 'Cy/1.jpg', 'in/b/1'],
      ],
    });
    expect(both.name).toBe('in/a.rec + none + in/b');
    expect(both.pairs).toBeUndefined();
    expect(both.landmarks).toBeUndefined();
  });
  it('tells names apart by set where they clash, and only there', () => {
    const a = setOf('in/a.rec', [0, 1], ['Ann', 'Bob']);
    const b = setOf('b', [0, 1], ['Ann', 'Cy']);
    expect(told(concat([a, b]))).toMatchObject({
      people: ['a-Ann', 'a-Bob', 'b-Ann', 'b-Cy'],
      images: [
        [0, 'a-Ann/0.jpg', 'in/a.rec/0'],
        [1, 'a-Bob/1.jpg', 'in/a.rec/1'],
        [2, 'b-Ann/0.jpg', 'b/0'],
        [3, 'b-Cy/1.jpg', 'b/1'],
      ],
    });
    // people alone: folders of two people would become one
    const c = setOf('b', [0], ['Ann'], { imageName: () => 'Ann/other.jpg' });
    expect(concat([a, c]).imageName(2)).toBe('b-Ann/other.jpg');
    // images alone
    const d = setOf('d', [0], ['Dan'], { imageName: () => 'Ann/0.jpg' });
    expect(told(concat([a, d])).people).toEqual(['a-Ann', 'a-Bob', 'd-Dan']);
    expect(told(concat([a, a], { names: ['x/y', 'x/y'] })).people).toEqual([
      'x_y-Ann',
      'x_y-Bob',
      'x_y2-Ann',
      'x_y2-Bob',
    ]);
  });
  it('makes one person of equal names if asked to', () => {
    const a = setOf('a', [0, 1], ['Ann', 'Bob']);
    const b = setOf('b', [0, 1, 1], ['Cy', 'Bob']);
    expect(told(concat([a, b], { mergeIdentities: true }))).toEqual({
      people: ['Ann', 'Bob', 'Cy'],
      images: [
        [0, 'Ann/a-0.jpg', 'a/0'],
        [1, 'Bob/a-1.jpg', 'a/1'],
        [2, 'Cy/b-0.jpg', 'b/0'],
        [1, 'Bob/b-1.jpg', 'b/1'],
        [1, 'Bob/b-2.jpg', 'b/2'],
      ],
    });
    const other = setOf('b', [0], ['Bob'], { imageName: () => 'Bob/9.jpg' });
    expect(concat([a, other], { mergeIdentities: true }).imageName(2)).toBe('Bob/9.jpg');
  });
  it('keeps pairs if every set has some, and the points of those that have them', () => {
    const a = setOf('a', [0, 0, 1], undefined, { pairs: pairsOf([0, 0], [1, 2], [1, 0], [0, 1]), note: 'a: cut off' });
    const b = setOf('b', [0, 1], ['x', 'y'], { pairs: pairsOf([1], [0], [0], [2]), landmarks: (i) => [i] });
    const both = concat([a, b]);
    expect(both.pairs).toEqual(pairsOf([0, 0, 4], [1, 2, 3], [1, 0, 0], [0, 1, 2]));
    expect(numbers(5).map((i) => both.landmarks!(i))).toEqual([undefined, undefined, undefined, [0], [1]]);
    expect(both.note).toBe('a: cut off');
    expect(concat([a, b, setOf('c', [0], ['z'])]).pairs).toBeUndefined();
  });
  it('is the sets one after the other, whatever they are', () => {
    fc.assert(
      fc.property(fc.array(labelLists, { minLength: 1, maxLength: 4 }), fc.boolean(), (lists, mergeIdentities) => {
        const sets = lists.map((l, s) => setOf(`s${s}`, l));
        const all = concat(sets, { mergeIdentities });
        expect(told(all).images.map((x) => x[2])).toEqual(sets.flatMap((s) => told(s).images.map((x) => x[2])));
        const names = told(all).images.map((x) => x[1]);
        expect(new Set(names).size).toBe(names.length);
        const used = new Set(told(all).people);
        expect(used.size).toBe(all.classes);
        expect(all.classes).toBe(
          mergeIdentities ? Math.max(...sets.map((s) => s.classes)) : sets.reduce((n, s) => n + s.classes, 0),
        );
        for (const [i, label] of told(all)
          .images.map((x) => x[0] as number)
          .entries()) {
          const flat = lists.flat()[i]!;
          if (flat < 0) expect(label).toBe(-1);
          else expect(all.identityName(label).endsWith(`p${flat}`)).toBe(true);
        }
      }),
    );
  });
  it('refuses none, too many, and names that do not fit', () => {
    expect(() => concat([])).toThrow(UsageError);
    expect(() => concat([setOf('a', [0])], { names: ['a', 'b'] })).toThrow(UsageError);
    const many = { ...setOf('m', [0]), length: 2 ** 30 };
    expect(() => concat([many, many])).toThrow(/at most 2147483647 images/);
  });
});

describe('subset', () => {
  it('holds the images asked for, people as they were or counted anew', () => {
    fc.assert(
      fc.property(labelLists, fc.array(fc.nat(1000), { maxLength: 30 }), fc.boolean(), (labels, picks, renumber) => {
        const set = setOf('s', labels, undefined, { landmarks: (i) => [i] });
        const images = Int32Array.from(picks, (p) => p % labels.length);
        const part = subset(set, images, { renumber });
        expect(part.length).toBe(images.length);
        const used = new Set<number>();
        for (const [k, i] of images.entries()) {
          expect([part.imageName(k), path(part.source(k)), part.landmarks!(k)]).toEqual([
            set.imageName(i),
            `s/${i}`,
            [i],
          ]);
          const label = part.label(k);
          if (labels[i]! < 0) expect(label).toBe(-1);
          else {
            expect(part.identityName(label)).toBe(`p${labels[i]}`);
            used.add(label);
          }
        }
        if (renumber) expect([...used].sort((a, b) => a - b)).toEqual(numbers(part.classes));
        else expect(part.classes).toBe(set.classes);
        // people stay in order
        const names = told(part).people;
        expect(names).toEqual([...names].sort());
      }),
    );
  });
  it('keeps the pairs that it holds both images of', () => {
    const set = setOf('s', [0, 0, 1, 1], undefined, { pairs: pairsOf([0, 2, 1], [1, 3, 2], [1, 1, 0], [0, 1, 1]) });
    expect(subset(set, Int32Array.of(3, 2, 1)).pairs).toEqual(pairsOf([1, 2], [0, 1], [1, 0], [1, 1]));
    expect(subset(set, Int32Array.of(0, 3)).pairs).toBeUndefined();
  });
  it('refuses numbers of no image', () => {
    expect(() => subset(setOf('s', [0]), Int32Array.of(1))).toThrow(
      /^subset: expected images of s, which holds 1, got 1\n/,
    );
    expect(() => subset(setOf('s', [0]), Int32Array.of(-1))).toThrow(UsageError);
  });
});

describe('withPeople', () => {
  it('keeps image numbers and leaves nobody to the labels of others', () => {
    const set = setOf('s', [0, 1, 2, -1], ['Ann', 'Bob', 'Cy']);
    const kept = withPeople(set, Uint8Array.of(1, 0, 1));
    expect(told(kept)).toMatchObject({ people: ['Ann', 'Cy'] });
    expect(numbers(4).map((i) => kept.label(i))).toEqual([0, -1, 1, -1]);
    expect(kept.imageName(1)).toBe('Bob/1.jpg');
    expect(withPeople(set, Uint8Array.of(1, 1, 1))).toBe(set);
  });
});

describe('split', () => {
  const share = fc.double({ min: 0.05, max: 0.95, noNaN: true });
  it('by image: parts are exact, disjoint, and everyone with several images stays to train on', () => {
    fc.assert(
      fc.property(labelLists, share, fc.nat(5), (labels, validation, seed) => {
        const set = setOf('s', labels);
        const has = (l: number) => labels.filter((x) => x === l).length;
        const most =
          labels.filter((l) => l < 0).length + numbers(set.classes).reduce((n, l) => n + Math.max(0, has(l) - 1), 0);
        const wanted = Math.min(Math.round(validation * labels.length), most);
        const make = () => split(set, { validation, by: 'image', key: keyOf(seed) });
        if (wanted === 0 || wanted === labels.length) {
          expect(make).toThrow(UsageError);
          return;
        }
        const { train, validation: rest } = make();
        expect(rest.length).toBe(wanted);
        const all = [train, rest].flatMap((p) => told(p).images.map((x) => Number(String(x[2]).slice(2))));
        expect([...all].sort((a, b) => a - b)).toEqual(numbers(labels.length));
        expect([train.classes, rest.classes]).toEqual([set.classes, set.classes]);
        const trained = new Set(told(train).images.map((x) => x[0]));
        for (const l of labels) if (l >= 0) expect(trained.has(l)).toBe(true);
        for (const part of [train, rest])
          for (const [label, name] of told(part).images) if (Number(label) >= 0) expect(name).toMatch(`p${label}/`);
        expect(told(make().validation)).toEqual(told(rest));
      }),
    );
  });
  it('by identity: whole people, counted from 0 in both parts', () => {
    fc.assert(
      fc.property(labelLists, share, fc.nat(5), (labels, validation, seed) => {
        const set = setOf('s', labels, ['p0', 'p1', 'p2', 'p3', 'p4', 'p5', 'p6']);
        const present = new Set(labels.filter((l) => l >= 0));
        const wanted = Math.round(validation * present.size);
        const make = () => split(set, { validation, by: 'identity', key: keyOf(seed) });
        if (wanted === 0 || (wanted === present.size && present.size > 0 && !labels.includes(-1))) {
          expect(make).toThrow(UsageError);
          return;
        }
        const { train, validation: rest } = make();
        expect([rest.classes, train.classes]).toEqual([wanted, present.size - wanted]);
        expect(train.length + rest.length).toBe(labels.length);
        const people = [...told(train).people, ...told(rest).people];
        expect(new Set(people).size).toBe(people.length);
        for (const part of [train, rest])
          for (const [label, name] of told(part).images)
            expect(name).toMatch(Number(label) < 0 ? /^unknown/ : new RegExp(`^${part.identityName(Number(label))}/`));
      }),
    );
  });
  it('differs by key, and spreads over people', () => {
    const set = syntheticSet({ identities: 50, imagesPerIdentity: 20, size: 8 });
    const of = (seed: number) => split(set, { validation: 0.2, by: 'image', key: keyOf(seed) }).validation;
    const labels = (d: Dataset) => numbers(d.length).map((i) => d.label(i));
    expect(told(of(1))).not.toEqual(told(of(2)));
    expect(new Set(labels(of(1))).size).toBeGreaterThan(45);
    for (const validation of [0, 1, -1, Number.NaN])
      expect(() => split(set, { validation, by: 'image', key: keyOf(1) })).toThrow(UsageError);
  });
  it('takes millions of images', () => {
    const big = { ...setOf('big', [], []), length: 1_000_000, classes: 50_000, label: (i: number) => i % 50_000 };
    const start = performance.now();
    const { train, validation } = split(big, { validation: 0.01, by: 'image', key: keyOf(1) });
    expect([train.length, validation.length]).toEqual([990_000, 10_000]);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
