/**
 * One picture of a synthetic person, drawn per pixel.
 *
 * The one idea: a face is a unit sphere (stretched, with a narrowing jaw) whose features are painted in the sphere's own
 * coordinates; turning the sphere before painting gives pose with parallax, its normal gives the shading. Only + - * /
 * and sqrt are used: the bytes are the same on every machine. Lengths are pixels of a 112 grid whatever the size.
 */
import { UsageError } from '../src/core/errors.ts';
import { fold, keyOf, threefry } from '../src/core/random.ts';
import { type Person, person, type Rgb, type Shot, shot } from './syntheticPerson.ts';

const clamp01 = (x: number): number => (x < 0 ? 0 : Math.min(x, 1));
/** Coverage of a pixel by a shape at signed distance d (negative inside), all in pixels of the 112 grid. */
const cover = (d: number, soft: number): number => clamp01(0.5 - d / soft);

/** Lays colour c over the pixel at `o` with opacity t. */
function paint(out: Float32Array, o: number, c: Rgb, t: number): void {
  if (t <= 0) return;
  out[o] = out[o]! + (c[0] - out[o]!) * t;
  out[o + 1] = out[o + 1]! + (c[1] - out[o + 1]!) * t;
  out[o + 2] = out[o + 2]! + (c[2] - out[o + 2]!) * t;
}
const dim = (c: Rgb, f: number): Rgb => [c[0] * f, c[1] * f, c[2] * f];

/** sin and cos by polynomial and sqrt: |a| < 1. */
function sinCos(a: number): [number, number] {
  const q = a * a;
  const s = a * (1 - (q / 6) * (1 - (q / 20) * (1 - q / 42)));
  return [s, Math.sqrt(1 - s * s)];
}

/** Everything behind the face: backdrop, clothes, hair, ears. Writes `out` (RGB, 0..1, row major). */
function drawBackdrop(out: Float32Array, size: number, p: Person, s: Shot, cos: number, sin: number): void {
  const unit = 112 / size;
  const inv = 1 / s.scale;
  const soft = unit * 1.5;
  const [c0, c1] = s.back;
  const neck = dim(p.skin, 0.55);
  const backHair = dim(p.hair, 0.7);
  const ear = [0.85, 0.7].map((f) => dim(p.skin, f));
  const va = p.a * p.volume + 2;
  const vb = p.b * p.volume + 1;
  for (let iy = 0, o = 0; iy < size; iy++) {
    for (let ix = 0; ix < size; ix++, o += 3) {
      const X = (ix + 0.5) * unit;
      const Y = (iy + 0.5) * unit;
      paint(out, o, c0!, 1);
      paint(out, o, c1!, clamp01(0.5 + ((X - 56) * s.backDir + (Y - 56)) / 140));
      for (const blob of s.blobs) {
        const q = ((X - blob.x) * (X - blob.x) + (Y - blob.y) * (Y - blob.y)) / (blob.r * blob.r);
        if (q < 1) paint(out, o, blob.colour, Math.min(1, (1 - q) * 1.8));
      }
      const x0 = (X - 56 - s.dx) * inv;
      const y0 = (Y - 62 - s.dy) * inv;
      const hx = x0 * cos + y0 * sin;
      const hy = y0 * cos - x0 * sin;
      const ax = hx < 0 ? -hx : hx;
      if (hy > 20) {
        paint(out, o, neck, cover(ax - p.a * 0.62, soft));
        paint(out, o, s.cloth, cover(p.b * 0.98 + ax * ax * 0.012 * s.clothShape - hy, soft));
      }
      if (!p.bald) {
        const ux = (hx + s.yaw * 3) / va;
        const uy = (hy + 4 + s.pitch * 3) / vb;
        const round = Math.sqrt(p.long && uy > 0 ? ux * ux * (1 - 0.1 * uy) : ux * ux + uy * uy);
        const end = p.long ? cover(hy - 52, 6) : cover(hy - p.side, 5);
        paint(out, o, backHair, cover((round - 1) * va, soft) * end);
      }
      if (!p.long || p.bald) {
        const side = hx < 0 ? -1 : 1;
        const ex = (hx - side * p.a * 0.98 + s.yaw * 4) / (p.earSize * 0.55);
        const ey = (hy + 2 + s.pitch * 3) / p.earSize;
        const q = ex * ex + ey * ey;
        if (q < 1.6) {
          paint(out, o, ear[0]!, cover((Math.sqrt(q) - 1) * p.earSize * 0.6, soft));
          paint(out, o, ear[1]!, cover((Math.sqrt(q) - 0.55) * p.earSize * 0.6, soft * 2) * 0.7);
        }
      }
    }
  }
}

const blush: Rgb = [0.85, 0.3, 0.28];
const teeth: Rgb = [0.9, 0.88, 0.83];
const eyeWhite: Rgb = [0.93, 0.91, 0.89];
const pupil: Rgb = [0.03, 0.03, 0.03];
const lashColour: Rgb = [0.08, 0.05, 0.05];
const glass: Rgb = [0.85, 0.9, 0.95];

/** Shades of a person's colours, by percent. */
const palette = (p: Person) => ({
  skin55: dim(p.skin, 0.55),
  hair85: dim(p.hair, 0.85),
  lip30: dim(p.lip, 0.3),
  skin50: dim(p.skin, 0.5),
  skin62: dim(p.skin, 0.62),
  hair75: dim(p.hair, 0.75),
  skin30: dim(p.skin, 0.3),
  skin25: dim(p.skin, 0.25),
  hair135: dim(p.hair, 1.35),
  skin80: dim(p.skin, 0.8),
});
type Palette = ReturnType<typeof palette>;

/** Features painted on the turned sphere: (px, py) are the face's own coordinates in pixels. */
function drawFeatures(
  out: Float32Array,
  o: number,
  px: number,
  py: number,
  soft: number,
  p: Person,
  s: Shot,
  c: Palette,
): void {
  const ax = px < 0 ? -px : px;
  const side = px < 0 ? -1 : 1;
  // cheeks
  if (py > -2 && py < 26) {
    const q = ((ax - 21) * (ax - 21)) / 110 + ((py - 11) * (py - 11)) / 90;
    if (q < 1) paint(out, o, blush, (1 - q) * p.blush);
  }
  // line from nose to mouth corner
  const mouthY = p.eyeY + p.noseLen + p.mouthGap;
  if (p.fold > 0.05 && py > mouthY - 13 && py < mouthY + 4) {
    const line = p.noseW + 1.5 + (py - (mouthY - 13)) * 0.45;
    paint(out, o, c.skin55, cover(Math.abs(ax - line) - 0.5, 2.2) * p.fold);
  }
  // beard and moustache, below the lips in drawing order
  if (p.beard !== 'none' && py > mouthY - 11) {
    const full = cover(mouthY - 2 - py - (ax - 16) * 1.3, 5);
    const goatee = cover(Math.sqrt((ax * ax) / 1.3 + (py - mouthY - 8) * (py - mouthY - 8)) - 11, 4);
    const lip = cover(Math.abs(py - mouthY + 5 - ax * 0.14) - 2.6, 2) * cover(ax - p.mouthW * 1.05, 2);
    const where =
      p.beard === 'moustache' ? lip : p.beard === 'goatee' ? Math.max(goatee, lip) : Math.max(full, lip, goatee);
    paint(out, o, c.hair85, where * (p.beard === 'stubble' ? 0.38 : 0.88));
  }
  // mouth
  const my = mouthY + (ax * ax * 0.018 - 1.2) * -s.smile;
  if (Math.abs(py - mouthY) < 16 && ax < p.mouthW + 5) {
    const half = p.mouthW * (1 + 0.13 * s.smile);
    const e = 1 - (ax * ax) / (half * half);
    if (e > -0.2) {
      const root = Math.max(e, 0);
      const gap = s.open * root;
      const bow = p.lipUp * (0.85 + 0.25 * Math.min(1, ax / 4));
      const up = my - gap * 0.3 - bow * root - py;
      const low = py - (my + gap * 0.7 + p.lipLow * root);
      paint(out, o, p.lip, cover(Math.max(up, low), soft));
      const inside = Math.max(my - gap * 0.3 - py, py - my - gap * 0.7);
      paint(out, o, c.lip30, cover(inside - 0.35, soft) * cover(ax - half, 2));
      if (gap > 1.5) paint(out, o, teeth, cover(Math.max(inside + 0.4, py - my), soft));
    }
  }
  // eyes and brows, in a frame centred on the eye, x outward
  const ex = ax - p.eyeX;
  const ey = py - p.eyeY;
  if (ex > -14 && ex < 14 && ey > -22 && ey < 10) {
    const socket = (ex * ex) / 100 + (ey * ey) / 50;
    if (socket < 1) paint(out, o, c.skin50, (1 - socket) * p.socket);
    const sx = ex;
    const sy = ey + ex * p.slant;
    const lens = 1 - (sx * sx) / (p.eyeW * p.eyeW);
    if (lens > -0.5 && sy > -9 && sy < 7) {
      const root = Math.max(lens, 0);
      const top = -p.eyeH * s.lids * root;
      const bottom = p.eyeH * 0.75 * Math.min(1, s.lids * 1.4) * root;
      const edge = Math.max(top - sy, sy - bottom, (Math.abs(sx) - p.eyeW) * 0.7);
      paint(out, o, c.skin62, cover(Math.abs(sy - top + 2.2) - 0.5, soft * 1.3) * p.lid * root);
      const open = cover(edge, soft);
      if (open > 0) {
        paint(out, o, eyeWhite, open);
        const gx = sx * side - s.gazeX;
        const gy = sy - s.gazeY;
        const r = Math.sqrt(gx * gx + gy * gy);
        paint(out, o, p.iris, open * cover(r - p.irisR, soft));
        paint(out, o, pupil, open * cover(r - p.irisR * 0.42, soft));
      }
      const lash = Math.abs(sy - top) - (s.lids < 0.3 ? 0.5 : 0.75);
      paint(out, o, lashColour, cover(lash, soft) * Math.min(1, root * 4) * 0.85);
    }
    const bx = ex - 0.5;
    const along = bx / p.browLen;
    if (along > -1.2 && along < 1.2) {
      const by = py - (p.browY - s.browLift) + bx * p.browTilt + bx * bx * p.browArch - 1;
      const thick = p.browThick * (1 - 0.45 * along) * Math.min(1, 3 * (1.1 - Math.abs(along)));
      paint(out, o, c.hair75, cover(Math.abs(by) - thick, soft) * p.browDark);
    }
  }
  for (const [mx, my2, r] of p.moles) {
    const q = (px - mx!) * (px - mx!) + (py - my2!) * (py - my2!);
    if (q < 16) paint(out, o, c.skin30, cover(Math.sqrt(q) - r!, soft));
  }
}

/** Frames of spectacles around the eyes, a bridge, and temples. */
function drawGlasses(out: Float32Array, o: number, px: number, py: number, soft: number, p: Person): void {
  const ax = px < 0 ? -px : px;
  const cx = (ax - p.eyeX) / p.glassR;
  const cy = (py - p.eyeY - 1) / (p.glassR * 0.85);
  if (cy < -1.6 || cy > 1.6) return;
  const q = Math.sqrt(cx * cx + cy * cy);
  const square = Math.max(Math.abs(cx), Math.abs(cy));
  const r = q + (square * 1.08 - q) * p.glassSquare;
  const thick = p.glassThick * 0.5;
  paint(out, o, glass, cover((r - 1) * p.glassR, soft) * 0.1);
  paint(out, o, p.glassColour, cover(Math.abs(r - 1) * p.glassR - thick, soft));
  const bridge = Math.max(Math.abs(py - p.eyeY + 1) - thick, ax - (p.eyeX - p.glassR));
  const temple = Math.max(Math.abs(py - p.eyeY + 2) - thick, p.eyeX + p.glassR - ax);
  paint(out, o, p.glassColour, cover(Math.min(bridge, temple), soft));
}

/** The head: turned sphere, hair, features, nose, light. */
function drawHead(out: Float32Array, size: number, p: Person, s: Shot, cos: number, sin: number): void {
  const unit = 112 / size;
  const inv = 1 / s.scale;
  const soft = Math.max(1, unit) * 1.3;
  const [sy, cy] = sinCos(s.yaw);
  const [sp, cp] = sinCos(s.pitch);
  const ln = Math.sqrt(s.light[0] ** 2 + s.light[1] ** 2 + s.light[2] ** 2);
  const [lx, ly, lz] = dim(s.light, 1 / ln);
  const c = palette(p);
  const glasses = p.glasses && !s.noGlasses;
  // nose root and tip lie in front of the sphere: place them in 3-d, then turn forward
  const place = (py: number, depth: number): [number, number] => {
    const v = py / p.b;
    const w = Math.sqrt(1 - v * v) + depth;
    return [w * sy * p.a, (v * cp + w * cy * sp) * p.b];
  };
  const [rx, ry] = place(p.eyeY, 0.02);
  const [tx, ty] = place(p.eyeY + p.noseLen, p.noseDepth);
  const noseLen2 = (tx - rx) * (tx - rx) + (ty - ry) * (ty - ry);
  const noseLen = Math.sqrt(noseLen2);
  for (let iy = 0, o = 0; iy < size; iy++) {
    for (let ix = 0; ix < size; ix++, o += 3) {
      const x0 = ((ix + 0.5) * unit - 56 - s.dx) * inv;
      const y0 = ((iy + 0.5) * unit - 62 - s.dy) * inv;
      const hx = x0 * cos + y0 * sin;
      const hy = y0 * cos - x0 * sin;
      const v = hy / p.b;
      const t = Math.max(v, 0);
      const width = p.a * (1 - p.jaw * t * t);
      const u = hx / width;
      const rr = u * u + v * v;
      if (rr > 1.1) continue;
      const alpha = cover((Math.sqrt(rr) - 1) * p.a * 0.9, soft);
      if (alpha <= 0) continue;
      const w = rr < 1 ? Math.sqrt(1 - rr) : 0;
      const cv = v * cp - w * sp;
      const w1 = v * sp + w * cp;
      const cu = u * cy - w1 * sy;
      const cw = u * sy + w1 * cy;
      const px = cu * p.a;
      const py = cv * p.b;
      const under0 = out[o]!;
      const under1 = out[o + 1]!;
      const under2 = out[o + 2]!;
      paint(out, o, p.skin, 1);
      // nose first: it tilts the normal and shades the skin
      let nx = u;
      let ny = v;
      const ax = (hx - rx) * (tx - rx) + (hy - ry) * (ty - ry);
      const along = ax / noseLen2;
      const across = ((hx - rx) * (ty - ry) - (hy - ry) * (tx - rx)) / noseLen;
      if (cw > 0) drawFeatures(out, o, px, py, soft, p, s, c);
      if (along > -0.1 && along < 1.45) {
        const grow = along < 0 ? 0 : Math.min(along, 1);
        const half = p.noseW * (p.bridge + (1 - p.bridge) * grow * grow);
        const q = across / half;
        const tail = along > 1 ? (along - 1) * noseLen * 0.28 : 0;
        if (q > -1.6 && q < 1.6 && tail < 1.6) {
          const near = clamp01((1.6 - Math.abs(q)) * 1.4) * clamp01(1.6 - tail) * clamp01((along + 0.1) * 5);
          nx += q * 0.75 * near * (0.4 + 1.6 * p.noseDepth);
          ny += (along > 0.95 ? 1 : along < 0.8 ? -0.12 : 0) * 0.6 * near;
          const nostril = Math.abs(Math.abs(across) - p.noseW * 0.42);
          const below = Math.abs((along - 1.08) * noseLen);
          paint(out, o, c.skin25, cover(Math.sqrt(nostril * nostril + below * below * 1.8) - 1.3, 2) * 0.8);
          paint(out, o, c.skin55, cover(Math.abs(below - 1.6) + Math.abs(across) * 0.3 - p.noseW * 0.35, 2.5) * 0.35);
        }
      }
      // hair on the sphere
      if (!p.bald) {
        const k = px - p.part;
        const lineY = p.hairline + s.hairShift * 0.4 + k * k * p.hairCurve;
        const sides = cw < 0.33 ? py - p.side : 99;
        const edge = Math.min(py - lineY, sides);
        if (edge < 4) {
          const streak = (px * 0.37 + py * 0.11 + s.hairShift) % 1;
          paint(out, o, p.hair, cover(edge, soft * 2));
          paint(out, o, c.hair135, cover(edge + 3, 4) * 0.3 * (streak < 0 ? -streak : streak));
        }
      }
      if (cw < 0.05) paint(out, o, p.bald ? c.skin80 : p.hair, clamp01((0.05 - cw) * 8));
      if (glasses && cw > 0.15) drawGlasses(out, o, px, py, soft, p);
      const lit = nx * lx + ny * ly + w * lz;
      const shade = s.ambient + (1.15 - s.ambient * 0.7) * (lit > 0 ? lit : lit * 0.12);
      out[o] = under0 + (out[o]! * shade - under0) * alpha;
      out[o + 1] = under1 + (out[o + 1]! * shade - under1) * alpha;
      out[o + 2] = under2 + (out[o + 2]! * shade - under2) * alpha;
    }
  }
}

/** Something between the camera and the face. */
function drawOccluder(out: Float32Array, size: number, s: Shot): void {
  if (s.occluder === 'none') return;
  const unit = 112 / size;
  for (let iy = 0, o = 0; iy < size; iy++) {
    for (let ix = 0; ix < size; ix++, o += 3) {
      const x = (ix + 0.5) * unit - s.occX;
      const y = (iy + 0.5) * unit - s.occY;
      const d = s.occluder === 'disc' ? Math.sqrt(x * x + y * y) - s.occR : Math.abs(y + x * s.occDir) - s.occR * 0.5;
      if (d < 2) paint(out, o, s.occColour, cover(d, 1.5));
    }
  }
}

/** Binomial 1-2-1 blur in both directions, `passes` times, edges repeated. */
function blur(a: Float32Array, size: number, passes: number): void {
  const row = size * 3;
  for (let pass = 0; pass < passes; pass++) {
    for (let axis = 0; axis < 2; axis++) {
      const step = axis === 0 ? 3 : row;
      const other = axis === 0 ? row : 3;
      for (let i = 0; i < size; i++) {
        for (let c = 0; c < 3; c++) {
          let o = i * other + c;
          let before = a[o]!;
          for (let j = 0; j < size; j++, o += step) {
            const here = a[o]!;
            const after = j + 1 < size ? a[o + step]! : here;
            a[o] = 0.25 * before + 0.5 * here + 0.25 * after;
            before = here;
          }
        }
      }
    }
  }
}

/**
 * One picture of one synthetic person.
 * @param seed what family of people; `identity` which of them; `image` which picture.
 * @param size side in pixels.
 * @returns RGB bytes, [size, size, 3].
 */
export function syntheticFace(seed: number, identity: number, image: number, size = 112): Uint8Array {
  if (!Number.isInteger(size) || size < 8) {
    throw new UsageError(`syntheticFace: size must be a whole number of at least 8 pixels, got ${size}`);
  }
  const p = person(seed, identity);
  const key = fold(fold(fold(keyOf(seed), 'picture'), identity), image);
  const s = shot(key);
  const f = new Float32Array(size * size * 3);
  const [sin, cos] = sinCos(s.roll);
  drawBackdrop(f, size, p, s, cos, sin);
  drawHead(f, size, p, s, cos, sin);
  drawOccluder(f, size, s);
  blur(f, size, Math.round((s.blur * size) / 112));
  const out = new Uint8Array(f.length);
  let state = threefry(fold(key, 'noise'), 0, 0)[0] | 1;
  const gain = Float64Array.from(s.gain, (g) => g * (1 - s.fade));
  for (let i = 0, channel = 0; i < f.length; i++) {
    // xorshift32; two of its bytes make a triangular noise
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const noise = ((state & 255) + ((state >>> 8) & 255) - 255) / 255;
    const x = s.fade + f[i]! * gain[channel]! + noise * s.noise;
    channel = channel === 2 ? 0 : channel + 1;
    out[i] = Math.floor(clamp01(x) * 255 + 0.5);
  }
  return out;
}
