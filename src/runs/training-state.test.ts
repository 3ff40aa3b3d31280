import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend, Weight } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import {
  checkWeightValues,
  loadTrainingState,
  previousState,
  saveTrainingState,
  saveWeightValues,
  type TrainedWeights,
} from "./training-state.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-state-"));
afterAll(() => rmSync(directory, { recursive: true }));

let backend: Backend;
let weight: Weight;
let trained: TrainedWeights;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
  const shape = { name: "w", rows: 4, columns: 8, storage: "float32", trainable: true } as const;
  weight = backend.weight(shape, new Float32Array(32));
  trained = { backend, weights: [weight], origin: { recipe: "a", rows: "b" } };
});
afterEach(() => backend.close());

let files = 0;
/** Saves the states after steps 1 to `steps`, whose weights are all the step's number. */
async function savedStates(steps: number): Promise<string> {
  const file = join(directory, `state-${files++}.safetensors`);
  for (let step = 1; step <= steps; step++) {
    backend.writeWeight(weight, new Float32Array(32).fill(step), "value");
    await saveTrainingState(trained, { step, best: null, waited: 0, averaged: 0 }, file);
  }
  backend.writeWeight(weight, new Float32Array(32).fill(-1), "value");
  return file;
}

function flip(file: string, bit: number): void {
  const bytes = readFileSync(file);
  bytes[bit >> 3] ^= 1 << (bit & 7);
  writeFileSync(`${file}.new`, bytes);
  rmSync(file);
  writeFileSync(file, bytes);
  rmSync(`${file}.new`);
}

describe("the state of a training", () => {
  it("is kept with the one before it", async () => {
    const first = await savedStates(1);
    expect(existsSync(previousState(first))).toBe(false);
    const file = await savedStates(3);
    expect(await loadTrainingState(trained, file)).toMatchObject({ progress: { step: 3 }, notices: [] });
    expect((await backend.readWeight(weight))[5]).toBe(3);
    expect(await loadTrainingState(trained, previousState(file))).toMatchObject({ progress: { step: 2 } });
    rmSync(file);
    expect(await loadTrainingState(trained, file)).toMatchObject({ progress: { step: 2 }, notices: [] });
    rmSync(previousState(file));
    expect(await loadTrainingState(trained, file)).toBeNull();
  });

  it("gives way to the one before it when it is damaged, with a notice", async () => {
    const file = await savedStates(2);
    const bits = readFileSync(file).length * 8;
    for (const bit of [3, 100, 2000, bits >> 1, bits - 1]) {
      const before = readFileSync(file);
      flip(file, bit);
      const loaded = await loadTrainingState(trained, file);
      expect(loaded?.progress.step).toBe(1);
      expect(loaded?.notices[0]).toContain(`${file}: `);
      expect(loaded?.notices[0]).toContain(`Resuming from the checkpoint before it, ${previousState(file)}.`);
      expect(Array.from(await backend.readWeight(weight))).toEqual(new Array(32).fill(1));
      writeFileSync(file, before);
    }
    truncateSync(file, 0);
    expect((await loadTrainingState(trained, file))?.progress.step).toBe(1);
    flip(previousState(file), 4000);
    await expect(loadTrainingState(trained, file)).rejects.toThrow(`${file}: has 0 bytes`);
  });

  it("of another instruction set is loaded with a notice", async () => {
    const file = await savedStates(2);
    const other = openReference({ precision: "float64" });
    const shape = { name: "w", rows: 4, columns: 8, storage: "float32", trainable: true } as const;
    const elsewhere = { ...trained, backend: other, weights: [other.weight(shape)] };
    const loaded = await loadTrainingState(elsewhere, file);
    expect(loaded?.progress.step).toBe(2);
    expect(loaded?.notices).toEqual([
      expect.stringContaining(
        `${file}: was computed with another instruction set (plain TypeScript, float32), the steps from here are with plain TypeScript, float64`,
      ),
    ]);
    truncateSync(file, 0);
    expect((await loadTrainingState(elsewhere, file))?.notices).toEqual([
      expect.stringContaining("Resuming from the checkpoint before it"),
      expect.stringContaining(`${previousState(file)}: was computed with another instruction set`),
    ]);
    await other.close();
  });

  it("of other settings is refused, not passed over", async () => {
    const file = await savedStates(2);
    const other = { ...trained, origin: { recipe: "other", rows: "b" } };
    await expect(loadTrainingState(other, file)).rejects.toThrow(`${file}: was saved with other settings`);
    truncateSync(file, 10);
    await expect(loadTrainingState(other, file)).rejects.toThrow(
      `${previousState(file)}: was saved with other settings`,
    );
  });
});

describe("the best weights", () => {
  it("that are damaged are refused by name before training resumes", async () => {
    const file = join(directory, "best.safetensors");
    await saveWeightValues(backend, [weight], file);
    await checkWeightValues(file);
    flip(file, readFileSync(file).length * 8 - 5);
    await expect(checkWeightValues(file)).rejects.toMatchObject({
      message: expect.stringMatching(/best\.safetensors: tensor "w" is damaged/),
      hint: expect.stringContaining("delete it to continue without them"),
    });
  });
});
