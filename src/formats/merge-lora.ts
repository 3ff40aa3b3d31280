import { showValue, UserErrors } from "../base/errors.ts";
import type { PeftFolder } from "./peft-adapter.ts";
import { targetSettings } from "./peft-targets.ts";
import { type PeftPart, peftTensorName } from "./peft-tensors.ts";
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
 * Merges a LoRA or DoRA adapter into the tensors it was trained for ({@link mergeLowRank}), computed when a tensor is written, so that no
 * model has to fit into memory. Works by name, for every family. `merged` names tensors of the adapter that the given tensors hold already. Throws
 * a UserErrors for adapter tensors that belong to no tensor or do not fit.
 */
export function mergeLoraInto(
  tensors: readonly TensorToWrite[],
  adapter: PeftFolder,
  where: string,
  merged: ReadonlySet<string> = new Set(),
): TensorToWrite[] {
  const { hasMagnitudes } = adapter.config;
  const { tensors: parts } = adapter.tensors;
  const problems: string[] = [];
  const used = new Set<string>(merged);
  const namesOf = (module: string) => {
    const ends: PeftPart[] = ["lora_A.weight", "lora_B.weight"];
    if (hasMagnitudes) ends.push("lora_magnitude_vector");
    return ends.map((end) => peftTensorName(module, end));
  };
  const moduleOf = ({ name }: TensorToWrite) => name.replace(/\.weight$/, "");
  const adapted = tensors.map(moduleOf).filter((module) => {
    return namesOf(module).some((name) => parts.has(name) && !merged.has(name));
  });
  const targets = targetSettings(adapter, adapted);
  const out = tensors.map((tensor): TensorToWrite => {
    const module = moduleOf(tensor);
    const target = targets.get(module);
    if (!target) return tensor;
    const { rank, scale } = target;
    const names = namesOf(module);
    const [a, b, magnitude] = names.map((name) => parts.get(name));
    for (const name of names) used.add(name);
    const [O, I] = tensor.shape;
    const hasLengths = !hasMagnitudes || magnitude?.shape.join() === `${O}`;
    const fits = a?.shape.join() === `${rank},${I}` && b?.shape.join() === `${O},${rank}` && hasLengths;
    if (!fits || tensor.shape.length !== 2) {
      const lengths = hasMagnitudes ? `, lora_magnitude_vector [${magnitude?.shape ?? "missing"}]` : "";
      const got = `lora_A [${a?.shape ?? "missing"}] and lora_B [${b?.shape ?? "missing"}]${lengths}`;
      problems.push(`${showValue(module, 200)} is [${tensor.shape}], its ${got} do not fit rank ${rank}`);
      return tensor;
    }
    const values = async () => {
      const read = (name: string) => adapter.tensors.read(name);
      const merged = Float32Array.from(await tensor.values());
      const [a, b] = [await read(names[0]), await read(names[1])];
      const magnitude = hasMagnitudes ? await read(names[2]) : null;
      mergeLowRank(merged, { a, b, scale, magnitude }, [O, I, rank]);
      return merged;
    };
    return { ...tensor, values };
  });
  for (const name of parts.keys()) {
    if (!used.has(name)) problems.push(`tensor ${showValue(name, 200)} belongs to no tensor of the model`);
  }
  if (problems.length === 0) return out;
  throw new UserErrors(`${where}: the adapter does not fit the model:`, problems, {
    hint: "Was the adapter trained on another base model?",
  });
}

/** The weights of one adapted matrix. */
interface Adapter {
  a: ArrayLike<number>; // [R,I]
  b: ArrayLike<number>; // [O,R]
  scale: number;
  /** The length of each row of the sum (DoRA); null: the one that it has. */
  magnitude: ArrayLike<number> | null;
}

/** Replaces w[O,I] by w + scale · b·a, with rows of the adapter's lengths where it has them; in float64, rounded once. */
export function mergeLowRank(
  w: Float32Array | Float64Array,
  { a, b, scale, magnitude }: Adapter,
  [O, I, R]: [number, number, number],
): void {
  const row = new Float64Array(I);
  for (let o = 0; o < O; o++) {
    row.fill(0);
    for (let r = 0; r < R; r++) {
      const factor = scale * b[o * R + r];
      for (let i = 0; i < I; i++) row[i] += factor * a[r * I + i];
    }
    let squares = 0;
    for (let i = 0; i < I; i++) {
      row[i] += w[o * I + i];
      squares += row[i] ** 2;
    }
    const factor = magnitude ? magnitude[o] / (Math.sqrt(squares) || 1) : 1;
    for (let i = 0; i < I; i++) w[o * I + i] = factor * row[i];
  }
}
