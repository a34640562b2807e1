import type { Program, TwinOptions } from './task.ts';

export function openTfjs(options: TwinOptions): Promise<Program>;
