/**
 * Expressions as WGSL, in f32.
 *
 * The one idea: a value that is read twice becomes a `let`, the rest nests. WGSL has no infinity or NaN literals and lets
 * an implementation assume there are none, so infinite constants become the largest finite number. Its transcendental
 * functions may be far off (exp by 3 + 2·|x| units in the last place, log by 2^-21 near 1, sin by 2^-11, tanh by 1e-5, acos
 * by 7e-5; NaN and infinities as the driver likes), so ours are called: kernels/pointwiseMath.wgsl. Division (2.5 units),
 * sqrt and the rest are its own.
 */
import { UsageError } from '../core/errors.ts';
import { type BinaryOp, type Expr, linearise, type Step, typeOf, type UnaryOp } from './nodes.ts';

const maxFinite = 3.4028234663852886e38;

/** The shortest WGSL f32 literal that rounds to the same number. */
export function wgslNumber(value: number): string {
  if (Number.isNaN(value)) {
    throw new UsageError('printWgsl: WGSL has no NaN literal\nKeep NaN out of constants; select a finite number.');
  }
  const x = Math.fround(Math.min(maxFinite, Math.max(-maxFinite, value)));
  if (Object.is(x, -0)) return '-0.0f';
  // No shorter decimal is inside the range of f32, as WGSL wants it.
  if (Math.abs(x) > 3.4028233e38) return `${x < 0 ? '-' : ''}0x1.fffffep+127f`;
  let text = String(x);
  for (let digits = 1; digits <= 9; digits++) {
    const short = String(Number(x.toPrecision(digits)));
    if (Math.fround(Number(short)) === x) {
      text = short;
      break;
    }
  }
  return `${/[.e]/.test(text) ? text : `${text}.0`}f`;
}

const infix: Partial<Record<BinaryOp, string>> = {
  add: '+',
  sub: '-',
  mul: '*',
  div: '/',
  lt: '<',
  le: '<=',
  gt: '>',
  ge: '>=',
  eq: '==',
  and: '&&',
  or: '||',
};

/** Functions of kernels/pointwiseMath.wgsl. */
const functions: Partial<Record<UnaryOp, string>> = {
  exp: 'mathExp',
  log: 'mathLog',
  tanh: 'mathTanh',
  sigmoid: 'mathSigmoid',
  sin: 'mathSin',
  cos: 'mathCos',
  acos: 'mathAcos',
};

/** x^n by squaring for a small integer n, roots by sqrt, as in printWasm.ts. `keep` names a value that is read twice. */
function printPow(x: string, y: string, exponent: Expr, keep: (text: string) => string): string {
  const n = exponent.kind === 'const' ? exponent.value : Number.NaN;
  if (n === 0.5) return `sqrt(${x})`;
  if (n === -0.5) return `(1.0f / sqrt(${x}))`;
  if (!Number.isInteger(n) || n === 0 || Math.abs(n) > 8) return `mathPow(${x}, ${y})`;
  let square = x;
  let power = '';
  for (let k = Math.abs(n); ; k >>= 1) {
    if (k & 1) power = power ? `(${power} * ${square})` : square;
    if (k <= 1) return n > 0 ? power : `(1.0f / ${power})`;
    square = keep(`${square} * ${square}`);
  }
}

/**
 * Several expressions as WGSL statements and values.
 *
 * `names[i]` is the text of operand i (f32, or bool for truth values); it may appear several times, so give an identifier
 * or a cheap load. `lets` holds the statements, one a line; `values` one text per expression.
 */
export function printWgslLets(
  exprs: readonly Expr[],
  names: readonly string[],
  prefix = 't',
): { lets: string; values: string[] } {
  const { steps, roots } = linearise(exprs);
  const lets: string[] = [];
  const texts: string[] = [];
  const keep = (text: string): string => {
    const name = `${prefix}${lets.length}`;
    lets.push(`let ${name} = ${text};`);
    return name;
  };
  // pow prints its base several times.
  const repeated = new Set(
    steps.flatMap(({ node, args }) => (node.kind === 'binary' && node.op === 'pow' ? args.slice(0, 1) : [])),
  );
  const print = ({ node, args }: Step): string => {
    const [a = '', b = '', c = ''] = args.map((i) => texts[i]!);
    switch (node.kind) {
      case 'const':
        return wgslNumber(node.value);
      case 'input': {
        const name = names[node.index];
        if (name === undefined) {
          throw new UsageError(
            `printWgsl: expression reads operand ${node.index}, but ${names.length} names are given\nGive one name per operand.`,
          );
        }
        return name;
      }
      case 'where':
        return `select(${c}, ${b}, ${a})`;
      case 'unary':
        switch (node.op) {
          case 'neg':
            return `(-${a})`;
          case 'not':
            return `(!${a})`;
          case 'toNumber':
            return `select(0.0f, 1.0f, ${a})`;
          default:
            return `${functions[node.op] ?? node.op}(${a})`;
        }
      case 'binary': {
        if (node.op === 'pow') return printPow(a, b, node.b, keep);
        // `!=` is false for NaN in SPIR-V's ordered comparison.
        if (node.op === 'ne') return `!(${a} == ${b})`;
        const op = infix[node.op];
        return op ? `(${a} ${op} ${b})` : `${node.op}(${a}, ${b})`;
      }
    }
  };
  steps.forEach((step, i) => {
    const text = print(step);
    const leaf = step.node.kind === 'const' || step.node.kind === 'input';
    texts.push(leaf || (step.uses < 2 && !repeated.has(i)) ? text : keep(text));
  });
  return { lets: lets.join('\n'), values: roots.map((r) => texts[r]!) };
}

/**
 * The body of a WGSL function that returns the expression: `let`s for shared values, then `return …;`.
 * `names[i]` is the text of operand i. Its type is f32, or bool for a truth value (`wgslType`).
 */
export function printWgsl(expr: Expr, names: readonly string[]): string {
  const { lets, values } = printWgslLets([expr], names);
  return `${lets}${lets && '\n'}return ${values[0]};`;
}

export const wgslType = (expr: Expr): 'f32' | 'bool' => (typeOf(expr) === 'bool' ? 'bool' : 'f32');
