/** `facegrad ops`: every op with the devices that have it, as the README shows it; and ONNX's operators that are read. */
import type { Command } from 'commander';
import { type Op, registry } from '../ops/define.ts';
import { pointwiseRegistry } from '../ops/pointwise.ts';
import '../ops/index.ts';
import { onnxOperators } from '../weights/onnx/operators.ts';
import { print, printJson } from './output.ts';

interface Row {
  readonly op: string;
  readonly reference: boolean;
  readonly wasm: boolean;
  readonly webgpu: boolean;
  readonly gradient: boolean | string;
}

/** A row per op record, and one for all pointwise operations together. */
export function supportMatrix(): Row[] {
  return [...registry.values()].map((op: Op) => {
    const { kernels } = op;
    const own = kernels.kind === 'kernel';
    return {
      op: op.name === 'pointwise' ? `pointwise (${[...pointwiseRegistry.keys()].join(', ')})` : op.name,
      reference: typeof op.reference === 'function',
      // What has no kernel of its own is arithmetic that every device generates, or a view.
      wasm: own ? kernels.wasm !== undefined : true,
      webgpu: own ? kernels.wgsl !== undefined : true,
      gradient: typeof op.backward === 'function' ? true : op.backward.reason,
    };
  });
}

const mark = (yes: boolean | string) => (yes === true ? 'yes' : yes === false ? 'no' : `none: ${yes}`);

export function matrixTable(rows: readonly Row[]): string {
  const head = ['op', 'reference', 'wasm', 'webgpu', 'gradient'] as const;
  return [
    `| ${head.join(' | ')} |`,
    `| ${head.map(() => '---').join(' | ')} |`,
    ...rows.map((r) => `| ${[r.op, ...head.slice(1).map((h) => mark(r[h as 'wasm']))].join(' | ')} |`),
  ].join('\n');
}

/** ONNX's operators that importing reads, with the versions of the operator set and what of them it does not. */
const onnxRows = () =>
  [...onnxOperators.values()].map(({ name, opsets: [from, to], limits }) => ({ operator: name, from, to, limits }));

const onnxTable = (): string =>
  [
    '| operator | opsets | limits |',
    '| --- | --- | --- |',
    ...onnxRows().map((r) => `| ${r.operator} | ${r.from}–${r.to} | ${r.limits} |`),
  ].join('\n');

export function register(program: Command): void {
  program
    .command('ops')
    .description('list every op with the devices that have it and whether it has a gradient (a Markdown table)')
    .option('--onnx', 'list the operators of ONNX that models may have to be imported')
    .option('--json', 'the same as JSON')
    .action((flags: { readonly onnx?: boolean; readonly json?: boolean }) => {
      const rows = flags.onnx ? onnxRows() : supportMatrix();
      if (flags.json) printJson(rows);
      else print(flags.onnx ? onnxTable() : matrixTable(supportMatrix()));
    });
}
