/** What each scalar operation means: plain f64 arithmetic. Truth values are 0 and 1. */
import type { BinaryOp, UnaryOp } from './nodes.ts';

/** To the nearest integer, halves to the even one. */
export function roundHalfEven(x: number): number {
  const f = Math.floor(x);
  const d = x - f;
  // An infinity minus itself is NaN: it falls through both tests and is its own floor.
  if (d > 0.5 || (d === 0.5 && f % 2 !== 0)) return f === -1 ? -0 : f + 1;
  return f;
}

export function evaluateUnary(op: UnaryOp, a: number): number {
  switch (op) {
    case 'neg':
      return -a;
    case 'abs':
      return Math.abs(a);
    case 'sign':
      return Math.sign(a);
    case 'floor':
      return Math.floor(a);
    case 'ceil':
      return Math.ceil(a);
    case 'round':
      return roundHalfEven(a);
    case 'sqrt':
      return Math.sqrt(a);
    case 'exp':
      return Math.exp(a);
    case 'log':
      return Math.log(a);
    case 'tanh':
      return Math.tanh(a);
    case 'sigmoid':
      return 1 / (1 + Math.exp(-a));
    case 'sin':
      return Math.sin(a);
    case 'cos':
      return Math.cos(a);
    case 'acos':
      return Math.acos(a);
    case 'not':
      return a ? 0 : 1;
    case 'toNumber':
      return a;
  }
}

export function evaluateBinary(op: BinaryOp, a: number, b: number): number {
  switch (op) {
    case 'add':
      return a + b;
    case 'sub':
      return a - b;
    case 'mul':
      return a * b;
    case 'div':
      return a / b;
    case 'min':
      return Math.min(a, b);
    case 'max':
      return Math.max(a, b);
    case 'pow':
      return a ** b;
    case 'lt':
      return a < b ? 1 : 0;
    case 'le':
      return a <= b ? 1 : 0;
    case 'gt':
      return a > b ? 1 : 0;
    case 'ge':
      return a >= b ? 1 : 0;
    case 'eq':
      return a === b ? 1 : 0;
    case 'ne':
      return a !== b ? 1 : 0;
    case 'and':
      return a && b ? 1 : 0;
    case 'or':
      return a || b ? 1 : 0;
  }
}
