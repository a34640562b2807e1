/** Pictures as no ordinary encoder makes them. */
import { crc32, deflateSync } from 'node:zlib';
import type { RgbImage } from '../../src/image/jpeg.ts';

const segment = (marker: number, ...body: number[]) => {
  const length = body.length + 2;
  return [0xff, marker, length >> 8, length & 255, ...body];
};
const sixteen = (n: number) => [n >> 8, n & 255];

/** A JPEG whose frame has the marker (c0 sequential, c2 progressive), in three components, and hardly any data. */
export function jpegHeader(marker: number, width: number, height: number): Uint8Array {
  return Uint8Array.from([
    ...[0xff, 0xd8],
    ...segment(0xdb, 0, ...new Array(64).fill(1)),
    ...segment(marker, 8, ...sixteen(height), ...sixteen(width), 3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0),
    ...segment(0xc4, 0x00, 1, ...new Array(15).fill(0), 0),
    ...segment(0xc4, 0x10, 1, ...new Array(15).fill(0), 0),
    ...segment(0xda, 3, 1, 0, 2, 0, 3, 0, 0, marker === 0xc2 ? 0 : 63, 0),
    ...new Array(64).fill(0),
    ...[0xff, 0xd9],
  ]);
}

/** A grey progressive JPEG of mid-grey: DC, AC, and so many passes that correct nothing, a few bytes each. */
export function progressiveJpeg(width: number, height: number, passes: number): Uint8Array {
  const blocks = Math.ceil(width / 8) * Math.ceil(height / 8);
  // Runs of 32767 blocks without a coefficient: one bit of code, 14 of length.
  let bits = '';
  for (let left = blocks; left > 0; left -= 32767) bits += `0${'1'.repeat(14)}`;
  const run: number[] = [];
  for (let at = 0; at < bits.length; at += 8) {
    const byte = Number.parseInt(bits.slice(at, at + 8).padEnd(8, '0'), 2);
    run.push(byte);
    if (byte === 255) run.push(0);
  }
  const scan = (start: number, stop: number, approximation: number) =>
    segment(0xda, 1, 1, 0, start, stop, approximation);
  const head = [
    ...[0xff, 0xd8],
    ...segment(0xdb, 0, ...new Array(64).fill(1)),
    ...segment(0xc2, 8, ...sixteen(height), ...sixteen(width), 1, 1, 0x11, 0),
    ...segment(0xc4, 0x00, 1, ...new Array(15).fill(0), 0),
    ...segment(0xc4, 0x10, 1, ...new Array(15).fill(0), 0xe0),
    ...scan(0, 0, 0),
  ];
  const pass = (approximation: number) => Uint8Array.from([...scan(1, 63, approximation), ...run]);
  return Buffer.concat([
    Uint8Array.from(head),
    Buffer.alloc(Math.ceil(blocks / 8)),
    pass(0x0d),
    ...Array.from({ length: passes }, (_, k) => pass(k < 13 ? ((13 - k) << 4) | (12 - k) : 0x10)),
    Uint8Array.of(0xff, 0xd9),
  ]);
}

export function chunk(type: string, body: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + body.length);
  out.writeUInt32BE(body.length, 0);
  out.write(type, 4, 'latin1');
  out.set(body, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length);
  return out;
}

/** A PNG file of any header; by default with a row of zeros as its data. */
export function pngFile(
  width: number,
  height: number,
  depth: number,
  colour: number,
  interlace: number,
  data: Uint8Array = deflateSync(Buffer.alloc(100)),
): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colour, 0, 0, interlace], 8);
  return Buffer.concat([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk('IHDR', header),
    ...(colour === 3 ? [chunk('PLTE', Buffer.alloc(6))] : []),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** A picture as PNG in Adam7's seven passes. */
export function interlacedPng({ width, height, data }: RgbImage): Uint8Array {
  const rows: number[] = [];
  for (const [x0, y0, dx, dy] of [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
  ] as const)
    for (let y = y0; y < height && x0 < width; y += dy) {
      rows.push(0);
      for (let x = x0; x < width; x += dx) rows.push(...data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3));
    }
  return pngFile(width, height, 8, 2, 1, deflateSync(Uint8Array.from(rows)));
}
