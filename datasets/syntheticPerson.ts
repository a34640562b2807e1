/**
 * Who a synthetic person is, and how a picture of one was taken: the numbers that `syntheticFace` draws.
 *
 * The one idea: the two are drawn from separate keys, so pictures of a person share the person and nothing else.
 */
import { fold, type Key, keyOf, uniformAt } from '../src/core/random.ts';

export type Rgb = readonly [number, number, number];

/** Uniform draws one after the other from a key. */
export class Draws {
  private i = 0;
  private readonly key: Key;
  constructor(key: Key) {
    this.key = key;
  }
  u(lo = 0, hi = 1): number {
    return lo + (hi - lo) * uniformAt(this.key, this.i++);
  }
  /** Sum of three uniforms, about normal, within ±range. */
  n(range: number): number {
    return ((this.u() + this.u() + this.u()) / 1.5 - 1) * range;
  }
  chance(p: number): boolean {
    return this.u() < p;
  }
  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.u() * items.length)]!;
  }
}

const mix = (a: Rgb, b: Rgb, t: number): Rgb => [
  a[0] + (b[0] - a[0]) * t,
  a[1] + (b[1] - a[1]) * t,
  a[2] + (b[2] - a[2]) * t,
];
const hairColours: readonly Rgb[] = [
  [0.07, 0.06, 0.06],
  [0.17, 0.11, 0.08],
  [0.3, 0.19, 0.11],
  [0.45, 0.31, 0.17],
  [0.72, 0.56, 0.33],
  [0.5, 0.22, 0.1],
  [0.62, 0.61, 0.6],
];
const irisColours: readonly Rgb[] = [
  [0.16, 0.09, 0.05],
  [0.3, 0.19, 0.09],
  [0.28, 0.36, 0.18],
  [0.25, 0.42, 0.6],
  [0.42, 0.47, 0.5],
];

/** What makes a person; lengths in pixels of the 112 grid, measured from the head's centre, y down. */
export function person(seed: number, identity: number) {
  const d = new Draws(fold(fold(keyOf(seed), 'person'), identity));
  const tone = d.u();
  const red = d.n(0.05);
  const skin = mix([0.93, 0.75, 0.64], [0.4, 0.26, 0.18], tone);
  const hairTone = tone > 0.6 ? d.pick(hairColours.slice(0, 3)) : d.pick(hairColours);
  const eyeX = d.u(13.5, 20.5);
  const eyeY = d.u(-13, -7);
  return {
    skin: [skin[0] + red, skin[1], skin[2] - red * 0.5] as Rgb,
    hair: mix(hairTone, [0.5, 0.4, 0.3], d.u(0, 0.15)),
    a: d.u(35.5, 43.5),
    b: d.u(46, 55),
    jaw: d.u(0.02, 0.42),
    bald: d.chance(0.12),
    // front edge of the hair: height, bend, where it parts; how far down it comes at the sides
    hairline: d.u(-43, -27),
    hairCurve: d.u(-0.006, 0.016),
    part: d.n(22),
    side: d.u(-26, 14),
    long: d.chance(0.35),
    volume: d.u(1.02, 1.2),
    earSize: d.u(6, 10),
    eyeX,
    eyeY,
    eyeW: d.u(5.2, 8.4),
    eyeH: d.u(2.2, 4.4),
    slant: d.n(0.28),
    iris: mix(d.pick(irisColours), d.pick(irisColours), d.u(0, 0.3)),
    irisR: d.u(2.3, 3.2),
    lid: d.u(0.1, 0.9),
    socket: d.u(0, 0.35),
    browY: eyeY - d.u(6.5, 12),
    browLen: d.u(6.5, 10.5),
    browThick: d.u(0.8, 2.7),
    browTilt: d.n(0.3),
    browArch: d.u(0, 0.04),
    browDark: d.u(0.45, 1),
    noseLen: d.u(16, 26),
    noseW: d.u(5, 10.5),
    noseDepth: d.u(0.1, 0.34),
    bridge: d.u(0.25, 0.6),
    mouthGap: d.u(9, 15),
    mouthW: d.u(9.5, 17),
    lipUp: d.u(1, 3.4),
    lipLow: d.u(1.4, 4.4),
    lip: mix(skin, [0.62, 0.2, 0.22], d.u(0.3, 0.8)),
    fold: d.u(0, 0.35),
    blush: d.u(0, 0.16),
    beard: d.chance(0.3) ? d.pick(['full', 'stubble', 'moustache', 'goatee'] as const) : 'none',
    glasses: d.chance(0.25),
    glassR: d.u(8, 12),
    glassSquare: d.u(),
    glassThick: d.u(0.9, 2.2),
    glassColour: d.pick<Rgb>([
      [0.08, 0.08, 0.09],
      [0.35, 0.18, 0.1],
      [0.6, 0.55, 0.45],
      [0.5, 0.1, 0.12],
    ]),
    moles: Array.from({ length: d.chance(0.5) ? d.pick([1, 2, 3]) : 0 }, () => [d.n(26), d.u(-20, 34), d.u(0.7, 1.6)]),
  };
}
export type Person = ReturnType<typeof person>;

/** How one picture was taken. */
export function shot(key: Key) {
  const d = new Draws(key);
  const level = d.u(0.5, 1.25);
  const warm = d.n(0.28);
  const tint = d.n(0.12);
  return {
    yaw: d.n(0.7),
    pitch: d.n(0.38),
    roll: d.n(0.2),
    scale: d.u(0.84, 1.06),
    dx: d.n(7),
    dy: d.n(7),
    smile: d.n(1),
    open: d.chance(0.35) ? d.u(0.5, 6) : 0,
    lids: d.chance(0.06) ? 0.1 : d.u(0.65, 1.1),
    gazeX: d.n(2),
    gazeY: d.n(0.8),
    browLift: d.n(2.2),
    light: [d.n(1.3), d.u(-0.9, 0.5), d.u(0.25, 0.9)] as Rgb,
    ambient: d.u(0.22, 0.7),
    gain: [level * (1 + warm), level * (1 + tint), level * (1 - warm)] as Rgb,
    fade: d.u(0, 0.14),
    back: [0, 1].map(() => [d.u(), d.u(), d.u()] as const),
    backDir: d.n(1),
    blobs: Array.from({ length: 5 }, () => ({
      x: d.u(0, 112),
      y: d.u(0, 112),
      r: d.u(8, 45),
      colour: [d.u(), d.u(), d.u()] as Rgb,
    })),
    cloth: [d.u(0, 0.9), d.u(0, 0.9), d.u(0, 0.9)] as Rgb,
    clothShape: d.u(0.4, 1.1),
    hairShift: d.n(4),
    noGlasses: d.chance(0.12),
    occluder: d.chance(0.16) ? d.pick(['bar', 'disc'] as const) : 'none',
    occX: d.u(10, 102),
    occY: d.u(15, 105),
    occR: d.u(9, 20),
    occDir: d.n(1),
    occColour: [d.u(), d.u(), d.u()] as Rgb,
    blur: d.pick([0, 0, 0, 1, 1, 2, 4]),
    noise: d.u(0, 0.07),
  };
}
export type Shot = ReturnType<typeof shot>;
