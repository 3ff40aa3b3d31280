import { existsSync } from "node:fs";
import { UserError } from "../base/errors.ts";
import type { Backend, Weight, WeightPart } from "../compute/backend.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { TensorToWrite } from "../formats/tensor-source.ts";

/** Where training stands, beside the weights themselves. */
export interface TrainingProgress {
  /** Updates made. */
  step: number;
  /** The best validation so far: its metric (0..1) and after which step; null before the first. */
  best: { metric: number; step: number } | null;
}

const STATE_PARTS: readonly WeightPart[] = ["value", "moment1", "moment2"];

function tensorName(weight: Weight, part: WeightPart): string {
  return part === "value" ? weight.name : `${weight.name}#${part}`;
}

async function saveParts(
  backend: Backend,
  weights: readonly Weight[],
  parts: readonly WeightPart[],
  file: string,
  metadata: Record<string, string>,
): Promise<void> {
  const tensors: TensorToWrite[] = weights.flatMap((weight) =>
    parts.map((part) => ({
      name: tensorName(weight, part),
      dtype: "F32" as const,
      shape: [weight.rows, weight.columns],
      values: () => backend.readWeight(weight, part),
    })),
  );
  await writeSafetensors(file, tensors, metadata);
}

async function loadParts(
  backend: Backend,
  weights: readonly Weight[],
  parts: readonly WeightPart[],
  file: string,
): Promise<Readonly<Record<string, string>>> {
  const source = await openSafetensors(file);
  try {
    for (const weight of weights) {
      for (const part of parts) {
        const name = tensorName(weight, part);
        const shape = source.tensors.get(name)?.shape;
        if (shape?.join() !== `${weight.rows},${weight.columns}`) {
          throw new UserError(
            `${file}: "${name}" is [${shape ?? "missing"}], expected [${weight.rows},${weight.columns}].`,
            {
              hint: "The recipe was changed since this run began; start a new run.",
            },
          );
        }
        backend.writeWeight(weight, await source.read(name), part);
      }
    }
    return source.metadata;
  } finally {
    await source.close();
  }
}

/** Saves weights, moments and progress as one file, written beside and renamed: a crash leaves the old one or the new one. */
export async function saveTrainingState(
  backend: Backend,
  weights: readonly Weight[],
  progress: TrainingProgress,
  file: string,
): Promise<void> {
  await saveParts(backend, weights, STATE_PARTS, file, { progress: JSON.stringify(progress) });
}

/** Loads what {@link saveTrainingState} saved; null when there is no such file yet. */
export async function loadTrainingState(
  backend: Backend,
  weights: readonly Weight[],
  file: string,
): Promise<TrainingProgress | null> {
  if (!existsSync(file)) return null;
  const metadata = await loadParts(backend, weights, STATE_PARTS, file);
  let progress: Partial<TrainingProgress> = {};
  try {
    progress = JSON.parse(metadata.progress ?? "{}");
  } catch {
    // Reported below together with a progress of the wrong form.
  }
  if (!Number.isSafeInteger(progress.step)) throw new UserError(`${file}: does not say after which step it was saved.`);
  return { step: progress.step as number, best: progress.best ?? null };
}

/** Saves the values of the trainable weights only. */
export async function saveWeightValues(backend: Backend, weights: readonly Weight[], file: string): Promise<void> {
  await saveParts(backend, weights, ["value"], file, { format: "pt" });
}

/** Loads what {@link saveWeightValues} saved. */
export async function loadWeightValues(backend: Backend, weights: readonly Weight[], file: string): Promise<void> {
  await loadParts(backend, weights, ["value"], file);
}
