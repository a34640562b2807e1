/** `facegrad doctor` as a process. */
import { availableParallelism } from 'node:os';
import { expect, it } from 'vitest';
import { facegrad } from '../helpers/killedRuns.ts';

it('names every device, what it runs and why', async () => {
  const { code, stdout } = await facegrad(['doctor', '--json', '--threads', '2']);
  expect(code).toBe(0);
  const { devices, machine, default: chosen } = JSON.parse(stdout);
  expect(devices.map((d: { name: string }) => d.name)).toEqual(['reference', 'wasm', 'webgpu']);
  for (const d of devices)
    expect(d).toEqual({
      name: expect.any(String),
      available: d.name === 'webgpu' ? expect.any(Boolean) : true,
      threads: expect.any(Number),
      simd: expect.any(String),
      reason: expect.stringMatching(/\w+ \w+/),
    });
  expect(devices[1]).toMatchObject({
    threads: 2,
    simd: expect.stringMatching(/^(wide|narrow)-(relaxed|strict)-shared$/),
  });
  expect(chosen).toBe('wasm');
  expect(machine).toMatchObject({ cores: availableParallelism(), node: process.versions.node });
});

it('speaks to people, and asks for one device', async () => {
  const human = await facegrad(['doctor', '--threads', '1']);
  expect(human.stdout).toMatch(/^\* wasm +1 thread, /m);
  expect(human.stdout).toContain(`Node ${process.versions.node}`);
  const one = await facegrad(['doctor', '--device', 'reference', '--json']);
  expect(one.code).toBe(0);
  expect(JSON.parse(one.stdout).devices).toHaveLength(1);
  const gpu = await facegrad(['doctor', '--device', 'webgpu', '--json']);
  expect(gpu.code).toBe(JSON.parse(gpu.stdout).devices[0].available ? 0 : 1);
});

it('bad options', async () => {
  for (const [args, message] of [
    [['doctor', '--device', 'gpu'], /--device: expected auto, wasm, webgpu, reference, got 'gpu'/],
    [['doctor', '--threads', '0'], /--threads: expected a whole number of at least 1, got '0'/],
    [['doctor', '--threads', '1000'], /1 to 128 threads, got 1000/],
  ] as [string[], RegExp][]) {
    const ended = await facegrad(args);
    expect(ended.stderr).toMatch(message);
    expect(ended.code).toBe(2);
  }
});
