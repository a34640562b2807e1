/** Contact sheets: where pictures go, how they fit, what captions look like. */
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import type { RgbImage } from '../../src/image/jpeg.ts';
import { resize } from '../../src/image/resize.ts';
import { contactSheet } from '../../src/image/sheet.ts';
import { picture } from '../helpers/pictures.ts';

const flat = (width: number, height: number, level: number): RgbImage => ({
  width,
  height,
  data: new Uint8Array(3 * width * height).fill(level),
});
/** A sheet as letters: '#' where the red level is below 100, '.' elsewhere. */
const drawn = ({ width, height, data }: RgbImage, left = 0, top = 0, right = width, bottom = height) =>
  Array.from({ length: bottom - top }, (_, y) =>
    Array.from({ length: right - left }, (_, x) => (data[3 * ((top + y) * width + left + x)]! < 100 ? '#' : '.')).join(
      '',
    ),
  );

describe('contactSheet', () => {
  it('puts pictures in rows, with gaps, unchanged where they fit', () => {
    const images = [0, 1, 2, 3, 4].map((i) => picture(i, 0, 10));
    const sheet = contactSheet(images, { columns: 3, tile: 10, gap: 2, background: [7, 8, 9] });
    expect([sheet.width, sheet.height]).toEqual([3 * 12 + 2, 2 * 12 + 2]);
    for (let y = 0; y < sheet.height; y++)
      for (let x = 0; x < sheet.width; x++) {
        const column = Math.floor((x - 2) / 12);
        const row = Math.floor((y - 2) / 12);
        const u = x - 2 - 12 * column;
        const v = y - 2 - 12 * row;
        const image = x >= 2 && y >= 2 && u < 10 && v < 10 && column < 3 ? images[3 * row + column] : undefined;
        const want = image ? image.data.slice(3 * (10 * v + u), 3 * (10 * v + u) + 3) : [7, 8, 9];
        expect([...sheet.data.slice(3 * (y * sheet.width + x), 3 * (y * sheet.width + x) + 3)]).toEqual([...want]);
      }
  });
  it('scales pictures to their tile, keeping their shape', () => {
    const sheet = contactSheet([flat(8, 4, 0), flat(2, 6, 0)], { columns: 2, tile: 6, gap: 1 });
    expect(drawn(sheet)).toEqual([
      '...............',
      '..........##...',
      '.######...##...',
      '.######...##...',
      '.######...##...',
      '..........##...',
      '..........##...',
      '...............',
    ]);
    const large = picture(1, 0, 32);
    const small = resize(large, 8, 8, 'area');
    expect(contactSheet([large], { tile: 8, gap: 0 })).toEqual(small);
  });
  it('has tiles that are not square too', () => {
    const sheet = contactSheet([flat(8, 4, 0), flat(1, 4, 0)], { columns: 2, tile: [2, 6], gap: 1 });
    expect(drawn(sheet)).toEqual(['...............', '..####....#....', '..####....#....', '...............']);
    expect(() => contactSheet([flat(1, 1, 0)], { tile: [0, 6] })).toThrow(UsageError);
  });
  it('writes captions below tiles, in capitals, cut to the tile', () => {
    const sheet = contactSheet([flat(24, 24, 200)], { tile: 24, gap: 0, captions: ['a1é?'] });
    expect([sheet.width, sheet.height]).toEqual([24, 35]);
    expect(drawn(sheet, 0, 24, 24)).toEqual([
      '........................',
      '........................',
      '.###....#...#####..###..',
      '#...#..##...#.....#...#.',
      '#...#...#...#.........#.',
      '#####...#...####.....#..',
      '#...#...#...#.......#...',
      '#...#...#...#...........',
      '#...#..###..#####...#...',
      '........................',
      '........................',
    ]);
    const text = (caption: string) =>
      drawn(contactSheet([flat(24, 24, 200)], { tile: 24, gap: 0, captions: [caption] }), 0, 24).join('\n');
    expect(text('abcdefgh')).toBe(text('ab..'));
    expect(text('a☃b')).toBe(text('A?B'));
    expect(text('a b')).not.toBe(text('ab'));
    expect(text('')).not.toMatch('#');
    // a tile too small for letters
    expect(contactSheet([flat(3, 3, 1)], { tile: 3, gap: 0, captions: ['name'] }).height).toBe(14);
  });
  it('writes so that it can be read: white on dark', () => {
    const caption = (level: number) =>
      contactSheet([flat(6, 6, 100)], { tile: 6, gap: 0, background: [level, level, level], captions: ['I'] }).data;
    expect(caption(20).includes(255)).toBe(true);
    expect(caption(240).includes(0)).toBe(true);
  });
  it('every glyph is seven rows, and none is twice', () => {
    const seen = new Set<string>();
    for (const letter of "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-+=_/%:,()@#?'") {
      const sheet = contactSheet([flat(6, 6, 200)], { tile: 6, gap: 0, captions: [letter] });
      const shape = drawn(sheet, 0, 6).join('\n');
      expect(shape, letter).toMatch('#');
      expect(seen.has(shape), letter).toBe(false);
      seen.add(shape);
    }
  });
  it('is about square by itself, and refuses what makes no sheet', () => {
    const images = Array.from({ length: 7 }, () => flat(1, 1, 5));
    const { width, height } = contactSheet(images, { tile: 2, gap: 0 });
    expect([width, height]).toEqual([6, 6]);
    for (const options of [{ columns: 0 }, { columns: 1.5 }, { tile: 0 }, { gap: -1 }, { tile: 9000 }])
      expect(() => contactSheet(images, options)).toThrow(UsageError);
    expect(() => contactSheet([])).toThrow(UsageError);
  });
});
