/**
 * Expressions as JavaScript functions in f64: the reference.
 *
 * The one idea: a closure per step of the straight-line form, all writing one register file. No `eval`, so it runs under
 * a strict content security policy.
 */
import { evaluateBinary, evaluateUnary, roundHalfEven } from './evaluate.ts';
import { type BinaryOp, type Expr, linearise, type UnaryOp } from './nodes.ts';

type Registers = Float64Array;
type Run = (r: Registers) => void;

const unarySteps: Partial<Record<UnaryOp, (to: number, a: number) => Run>> = {
  neg: (to, a) => (r) => {
    r[to] = -r[a]!;
  },
  abs: (to, a) => (r) => {
    r[to] = Math.abs(r[a]!);
  },
  sqrt: (to, a) => (r) => {
    r[to] = Math.sqrt(r[a]!);
  },
  exp: (to, a) => (r) => {
    r[to] = Math.exp(r[a]!);
  },
  round: (to, a) => (r) => {
    r[to] = roundHalfEven(r[a]!);
  },
};
const binarySteps: Partial<Record<BinaryOp, (to: number, a: number, b: number) => Run>> = {
  add: (to, a, b) => (r) => {
    r[to] = r[a]! + r[b]!;
  },
  sub: (to, a, b) => (r) => {
    r[to] = r[a]! - r[b]!;
  },
  mul: (to, a, b) => (r) => {
    r[to] = r[a]! * r[b]!;
  },
  div: (to, a, b) => (r) => {
    r[to] = r[a]! / r[b]!;
  },
  gt: (to, a, b) => (r) => {
    r[to] = r[a]! > r[b]! ? 1 : 0;
  },
};

type Numbers = { [index: number]: number; readonly length: number };

/**
 * Several expressions over the same operands as one function: `inputs[i]` is operand i (truth values as 0 or 1), the
 * results go to `out` in the order of the expressions (truth values as 0 or 1). `round` is applied to constants and to
 * the result of every operation: `Math.fround` gives the plain f32 computation.
 */
export function compileJs(
  exprs: readonly Expr[],
  round?: (x: number) => number,
): (inputs: ArrayLike<number>, out: Numbers) => void {
  const { steps, roots } = linearise(exprs);
  const registers = new Float64Array(steps.length);
  const reads: { to: number; index: number }[] = [];
  const runs: Run[] = [];
  steps.forEach(({ node, args }, to) => {
    const [a = 0, b = 0, c = 0] = args;
    switch (node.kind) {
      case 'const':
        registers[to] = round ? round(node.value) : node.value;
        return;
      case 'input':
        reads.push({ to, index: node.index });
        return;
      case 'unary': {
        const { op } = node;
        runs.push(
          unarySteps[op]?.(to, a) ??
            ((r) => {
              r[to] = evaluateUnary(op, r[a]!);
            }),
        );
        break;
      }
      case 'binary': {
        const { op } = node;
        runs.push(
          binarySteps[op]?.(to, a, b) ??
            ((r) => {
              r[to] = evaluateBinary(op, r[a]!, r[b]!);
            }),
        );
        break;
      }
      case 'where':
        runs.push((r) => {
          r[to] = r[a]! ? r[b]! : r[c]!;
        });
    }
    if (round) {
      runs.push((r) => {
        r[to] = round(r[to]!);
      });
    }
  });
  return (inputs, out) => {
    for (const { to, index } of reads) registers[to] = inputs[index]!;
    for (const run of runs) run(registers);
    for (let i = 0; i < roots.length; i++) out[i] = registers[roots[i]!]!;
  };
}

/** One expression as a function of its operands; see `compileJs`. A truth value comes out as 0 or 1. */
export function printJs(expr: Expr, round?: (x: number) => number): (inputs: ArrayLike<number>) => number {
  const run = compileJs([expr], round);
  const out = [0];
  return (inputs) => {
    run(inputs, out);
    return out[0]!;
  };
}
