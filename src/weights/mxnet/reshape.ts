/** MXNet's codes for shapes: 0 copies an axis, -1 is the rest, -2 copies all that follow, -3 joins two, -4 cuts one in two. */
import { DataError } from '../../core/errors.ts';
import type { Shape } from '../../core/shape.ts';
import { sizeOf } from '../../core/shape.ts';
import type { Attributes } from './symbol.ts';

/** @throws DataError for a shape that does not hold as many numbers */
export function reshapeTo(from: Shape, attrs: Attributes): number[] {
  const codes = attrs.numbers('shape', []);
  const fail = (): never => {
    throw new DataError(`expected a shape for the numbers of [${from}], got (${codes})\nThe symbol is damaged.`);
  };
  if (attrs.flag('reverse', false)) {
    if (codes.some((c) => c < -1)) fail();
    const back = [...from].reverse();
    return fill([...codes].reverse().map((c, i) => (c === 0 ? (back[i] ?? fail()) : c))).reverse();
  }
  const out: number[] = [];
  let at = 0;
  const next = () => from[at++] ?? fail();
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!;
    if (code === 0) out.push(next());
    else if (code === -2) while (at < from.length) out.push(next());
    else if (code === -3) out.push(next() * next());
    else if (code === -4) {
      const whole = next();
      const [a, b] = [codes[++i] ?? fail(), codes[++i] ?? fail()];
      out.push(a === -1 ? whole / b : a, b === -1 ? whole / a : b);
    } else {
      out.push(code);
      at++;
    }
  }
  return fill(out);

  function fill(shape: number[]): number[] {
    const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
    const whole = shape.map((d) => (d === -1 ? sizeOf(from) / known : d));
    if (whole.some((d) => !Number.isSafeInteger(d) || d < 1) || sizeOf(whole) !== sizeOf(from)) fail();
    return whole;
  }
}
