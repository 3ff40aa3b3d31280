import { showValue, UserErrors } from "../base/errors.ts";
import type { PeftFolder } from "./peft-folder.ts";
import type { TensorDtype, TensorSource, TensorToWrite } from "./tensor-source.ts";

/** The tensors of a checkpoint, ready to write; blocks of few bits become float16. */
export function tensorsToWrite(source: TensorSource, dtype?: TensorDtype): TensorToWrite[] {
  return [...source.tensors.values()].map(({ name, dtype: stored, shape }) => ({
    name,
    dtype: dtype ?? (stored === "F32" || stored === "BF16" ? stored : "F16"),
    shape,
    values: () => source.read(name),
  }));
}

/**
 * Adds a LoRA adapter to the tensors it was trained for: w + alpha/rank · b·a (in float64), computed when a tensor is written, so that no
 * model has to fit into memory. Works by name, for every family. Throws a UserErrors for adapter tensors that belong to no tensor or do not fit.
 */
export function mergeLoraInto(tensors: readonly TensorToWrite[], adapter: PeftFolder, where: string): TensorToWrite[] {
  const { rank, alpha } = adapter.config;
  const { tensors: parts } = adapter.tensors;
  const problems: string[] = [];
  const used = new Set<string>();
  const merged = tensors.map((tensor): TensorToWrite => {
    const module = tensor.name.replace(/\.weight$/, "");
    const names = ["A", "B"].map((part) => `base_model.model.${module}.lora_${part}.weight`);
    const [a, b] = names.map((name) => parts.get(name));
    if (!a && !b) return tensor;
    for (const name of names) used.add(name);
    const [O, I] = tensor.shape;
    const fits = a?.shape.join() === `${rank},${I}` && b?.shape.join() === `${O},${rank}`;
    if (!fits || tensor.shape.length !== 2) {
      const got = `lora_A [${a?.shape ?? "missing"}] and lora_B [${b?.shape ?? "missing"}]`;
      problems.push(`${showValue(module, 200)} is [${tensor.shape}], its ${got} do not fit rank ${rank}`);
      return tensor;
    }
    const values = async () => {
      const [base, valuesA, valuesB] = [
        await tensor.values(),
        await adapter.tensors.read(names[0]),
        await adapter.tensors.read(names[1]),
      ];
      const sum = Float32Array.from(base);
      addLowRank(sum, valuesA, valuesB, alpha / rank, [O, I, rank]);
      return sum;
    };
    return { ...tensor, values };
  });
  for (const name of parts.keys()) {
    if (!used.has(name)) problems.push(`tensor ${showValue(name, 200)} belongs to no tensor of the model`);
  }
  if (problems.length === 0) return merged;
  throw new UserErrors(`${where}: the adapter does not fit the model:`, problems, {
    hint: "Was the adapter trained on another base model?",
  });
}

/** w[O,I] += scale · b[O,R] · a[R,I], summed in float64 and rounded once. */
export function addLowRank(
  w: Float32Array | Float64Array,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  scale: number,
  [O, I, R]: [number, number, number],
): void {
  const row = new Float64Array(I);
  for (let o = 0; o < O; o++) {
    row.fill(0);
    for (let r = 0; r < R; r++) {
      const factor = scale * b[o * R + r];
      for (let i = 0; i < I; i++) row[i] += factor * a[r * I + i];
    }
    for (let i = 0; i < I; i++) w[o * I + i] += row[i];
  }
}
