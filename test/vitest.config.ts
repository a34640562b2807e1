/**
 * Tests run in processes of their own, two at a time: V8 flags (wide kernels, relaxed SIMD) are process-wide, and a test
 * that sets them must not reach the next. `vitest run` runs what ends in minutes; `vitest run --mode long` runs
 * the files named *.long.test.ts.
 */
import { defineConfig } from 'vitest/config';

export default defineConfig(({ mode }) => {
  const long = mode === 'long';
  return {
    test: {
      include: [long ? 'test/**/*.long.test.ts' : 'test/**/*.test.ts'],
      globalSetup: ['test/helpers/exercised.ts'],
      setupFiles: ['test/helpers/seed.ts'],
      exclude: long ? [] : ['test/**/*.long.test.ts'],
      pool: 'forks',
      // The two kinds of load are a thread pool's own threads and this many files; a machine of two cores carries both.
      maxWorkers: 2,
      isolate: true,
      // The allocation test measures the heap after a collection.
      execArgv: ['--expose-gc'],
      testTimeout: long ? 900_000 : 180_000,
      hookTimeout: long ? 900_000 : 120_000,
      teardownTimeout: 20_000,
      passWithNoTests: long,
      slowTestThreshold: 2_000,
    },
  };
});
