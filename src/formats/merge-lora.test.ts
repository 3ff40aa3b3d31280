import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserErrors } from "../base/errors.ts";
import { mergeLoraInto } from "./merge-lora.ts";
import { openPeftFolder, savePeftFolder } from "./peft-folder.ts";
import type { TensorToWrite } from "./tensor-source.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-merge-"));
afterAll(() => rmSync(folder, { recursive: true }));

const tensor = (name: string, shape: number[], values: number[]): TensorToWrite => ({
  name,
  dtype: "F32",
  shape,
  values: async () => values,
});
const part = (module: string, letter: "A" | "B", shape: number[], values: number[]) =>
  tensor(`base_model.model.${module}.lora_${letter}.weight`, shape, values);

async function merge(base: TensorToWrite[], parts: TensorToWrite[]): Promise<number[][]> {
  const config = {
    rank: 2,
    alpha: 6,
    dropout: 0,
    scaling: "lora" as const,
    hasMagnitudes: false,
    targetModules: ["w"],
    baseModel: null,
  };
  await savePeftFolder(folder, config, parts);
  const adapter = await openPeftFolder(folder);
  try {
    const merged = mergeLoraInto(base, adapter, "x");
    return await Promise.all(merged.map(async ({ values }) => Array.from(await values())));
  } finally {
    await adapter.tensors.close();
  }
}

describe("mergeLoraInto", () => {
  const base = [tensor("l.w.weight", [2, 3], [1, 2, 3, 4, 5, 6]), tensor("norm.weight", [3], [1, 1, 1])];

  it("adds alpha / rank · b · a to its tensor and leaves the others", async () => {
    const a = part("l.w", "A", [2, 3], [1, 0, 2, 0, 1, 1]);
    const b = part("l.w", "B", [2, 2], [1, 2, 3, 0]);
    // b · a = [[1, 2, 4], [3, 0, 6]], times 3.
    expect(await merge(base, [a, b])).toEqual([
      [4, 8, 15, 13, 5, 24],
      [1, 1, 1],
    ]);
  });

  it("reports what does not fit, all together", async () => {
    const parts = [
      part("l.w", "A", [1, 3], [1, 1, 1]),
      part("l.w", "B", [2, 2], [1, 1, 1, 1]),
      part("elsewhere", "A", [2, 1], [1, 1]),
    ];
    const error = await merge(base, parts).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserErrors);
    expect((error as UserErrors).problems).toEqual([
      '"l.w" is [2,3], its lora_A [1,3] and lora_B [2,2] do not fit rank 2',
      'tensor "base_model.model.elsewhere.lora_A.weight" belongs to no tensor of the model',
    ]);
  });
});
