import { existsSync } from "node:fs";
import { copyFile, link, rm } from "node:fs/promises";
import { UserError } from "../base/errors.ts";
import type { Backend, Weight, WeightPart } from "../compute/backend.ts";
import { sumsOfTensors } from "../formats/folder-sums.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { TensorSource, TensorToWrite } from "../formats/tensor-source.ts";

/** How far a training has come; saved with its weights. */
export interface TrainingProgress {
  /** Updates made. */
  step: number;
  /** The best validation so far: its metric (0..1) and the step before it; null before the first validation. */
  best: { metric: number; step: number } | null;
  /** Validations since the best one. */
  waited: number;
  /** Number of points in the mean of the weights; 0 when no mean is kept. */
  averaged: number;
  /** Memory that steps were cut for, in bytes ({@link passRoom}): the same cut gives the same last digits. */
  passBytes?: number;
}

/** Digests of everything that decides a run's numbers except its weights. Training resumes only from a state with equal digests. */
export interface TrainingOrigin {
  recipe: string;
  rows: string;
}

/** The weights that a training changes, and the origin of its numbers. */
export interface TrainedWeights {
  backend: Backend;
  weights: readonly Weight[];
  origin: TrainingOrigin;
  /** Those whose optimizer has no second moment; default: none. */
  withoutSecond?: ReadonlySet<Weight>;
}

const STATE_PARTS: readonly WeightPart[] = ["value", "moment1", "moment2"];

function tensorName(weight: Weight, part: WeightPart | "average"): string {
  return part === "value" ? weight.name : `${weight.name}#${part}`;
}

type PartsOf = (weight: Weight) => readonly WeightPart[];
const valueOnly: PartsOf = () => ["value"];
const statePartsOf =
  ({ withoutSecond }: TrainedWeights): PartsOf =>
  (weight) =>
    withoutSecond?.has(weight) ? STATE_PARTS.filter((part) => part !== "moment2") : STATE_PARTS;

function partsToWrite(backend: Backend, weights: readonly Weight[], partsOf: PartsOf): TensorToWrite[] {
  return weights.flatMap((weight) =>
    partsOf(weight).map((part) => ({
      name: tensorName(weight, part),
      dtype: "F32" as const,
      shape: [weight.rows, weight.columns],
      values: () => backend.readWeight(weight, part),
    })),
  );
}

/** One part of a weight as float32. Throws a UserError when the file lacks it or has it in another shape. */
async function readTensor(source: TensorSource, weight: Weight, part: WeightPart | "average", file: string) {
  const name = tensorName(weight, part);
  const shape = source.tensors.get(name)?.shape;
  if (shape?.join() !== `${weight.rows},${weight.columns}`) {
    throw new UserError(
      `${file}: "${name}" is ${shape ? `[${shape}]` : "missing"}, expected [${weight.rows},${weight.columns}].`,
      { hint: "Was the model changed since this run began? Then start a new run." },
    );
  }
  return await source.read(name);
}

async function readParts(
  backend: Backend,
  weights: readonly Weight[],
  partsOf: PartsOf,
  source: TensorSource,
  file: string,
): Promise<void> {
  for (const weight of weights) {
    for (const part of partsOf(weight)) backend.writeWeight(weight, await readTensor(source, weight, part, file), part);
  }
}

/** Where the state that {@link saveTrainingState} replaces is kept. */
export const previousState = (file: string) => file.replace(/(\.\w+)?$/, "-previous$1");

/**
 * Saves weights, moments, progress and the mean of the weights (`average`, if one is kept) as one file with checksums. It is written under
 * another name and renamed, so a crash leaves the old file or the new one. The old one is kept as {@link previousState}.
 */
export async function saveTrainingState(
  trained: TrainedWeights,
  progress: TrainingProgress,
  file: string,
  average: readonly Float32Array[] = [],
): Promise<void> {
  const { backend, weights, origin } = trained;
  const { recipe, rows } = origin;
  const metadata = { progress: JSON.stringify(progress), recipe, rows, arithmetic: backend.arithmetic };
  const means = average.map((mean, i) => ({
    name: tensorName(weights[i], "average"),
    dtype: "F32" as const,
    shape: [weights[i].rows, weights[i].columns],
    values: async () => mean,
  }));
  await writeSafetensors(file, [...partsToWrite(backend, weights, statePartsOf(trained)), ...means], {
    metadata,
    checksums: true,
    beforeRename: () => keepPrevious(file),
  });
}

async function keepPrevious(file: string): Promise<void> {
  if (!existsSync(file)) return;
  await rm(previousState(file), { force: true });
  // A second name costs nothing; a file system without such names gets a copy.
  await link(file, previousState(file)).catch(() => copyFile(file, previousState(file)));
}

/** A state that was loaded into the weights. */
export interface LoadedState {
  progress: TrainingProgress;
  average: Float32Array[];
  /** What the user should know: it is the state before the last one, or another instruction set computed it. */
  notices: string[];
}

/**
 * Loads the file of {@link saveTrainingState} into the weights, or the one before it when the file is damaged; null when there is none yet.
 * Throws a UserError when both are damaged, or the state has another origin.
 */
export async function loadTrainingState(trained: TrainedWeights, file: string): Promise<LoadedState | null> {
  const previous = previousState(file);
  if (!existsSync(file)) return existsSync(previous) ? loadState(trained, previous) : null;
  try {
    return await loadState(trained, file);
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof OtherOrigin || !existsSync(previous)) throw error;
    const loaded = await loadState(trained, previous).catch((second: unknown) => {
      // The newer file is the one to speak of, unless the older one says more than that it is damaged, too.
      throw second instanceof OtherOrigin ? second : error;
    });
    const [reason] = error.message.split("\n");
    const notice = `${reason} Resuming from the checkpoint before it, ${previous}.`;
    return { ...loaded, notices: [notice, ...loaded.notices] };
  }
}

async function loadState(trained: TrainedWeights, file: string): Promise<LoadedState> {
  const { backend, weights, origin } = trained;
  const source = await openSafetensors(file);
  try {
    const progress = readProgress(source.metadata.progress, file);
    if (source.metadata.recipe !== origin.recipe) throw new OtherOrigin(file, "settings in recipe.yaml");
    if (source.metadata.rows !== origin.rows) throw new OtherOrigin(file, "training or validation rows");
    await readParts(backend, weights, statePartsOf(trained), source, file);
    const average: Float32Array[] = [];
    if (progress.averaged > 0) {
      for (const weight of weights) average.push(Float32Array.from(await readTensor(source, weight, "average", file)));
    }
    const notice = arithmeticNotice(source.metadata.arithmetic, backend, file);
    return { progress, average, notices: notice === null ? [] : [notice] };
  } finally {
    await source.close();
  }
}

/** What to know of a state that another instruction set computed; older versions did not note theirs. */
function arithmeticNotice(computedWith: string | undefined, { arithmetic }: Backend, file: string): string | null {
  if (computedWith === undefined || computedWith === arithmetic) return null;
  return (
    `${file}: was computed with another instruction set (${computedWith}), the steps from here are with ${arithmetic}: ` +
    "the weights will differ in their last digits from those of one undisturbed training."
  );
}

/** The progress in the state file of a training. Throws a UserError when the header is damaged. */
export async function readTrainingProgress(file: string): Promise<TrainingProgress> {
  const source = await openSafetensors(file);
  try {
    return readProgress(source.metadata.progress, file);
  } finally {
    await source.close();
  }
}

/** The state belongs to a training with other numbers. */
class OtherOrigin extends UserError {
  constructor(file: string, what: string) {
    super(`${file}: was saved with other ${what}; resuming would mix two runs.`, {
      hint: "Undo the change made since the run began, or start a new run.",
    });
  }
}

function readProgress(text: string | undefined, file: string): TrainingProgress {
  let progress: Partial<TrainingProgress> | null = null;
  try {
    progress = JSON.parse(text ?? "null");
  } catch {
    // Reported below, together with a progress of the wrong form.
  }
  // Older versions kept no mean and did not count validations.
  const { step, best = null, averaged = 0, waited = 0, passBytes } = progress ?? {};
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (
    isCount(step) &&
    isCount(averaged) &&
    isCount(waited) &&
    (passBytes === undefined || isCount(passBytes)) &&
    (best === null || (typeof best.metric === "number" && isCount(best.step)))
  )
    return { step, best, waited, averaged, ...(passBytes === undefined ? {} : { passBytes }) };
  throw new UserError(`${file}: has no readable step count; it is not the state of a training.`);
}

/** Saves the values of the trainable weights only. */
export async function saveWeightValues(backend: Backend, weights: readonly Weight[], file: string): Promise<void> {
  await writeSafetensors(file, partsToWrite(backend, weights, valueOnly), { checksums: true });
}

/** Loads the file of {@link saveWeightValues}. */
export async function loadWeightValues(backend: Backend, weights: readonly Weight[], file: string): Promise<void> {
  const source = await openSafetensors(file);
  try {
    await readParts(backend, weights, valueOnly, source, file);
  } finally {
    await source.close();
  }
}

/** Reads the file of {@link saveWeightValues}. Throws a UserError when it is damaged. */
export async function checkWeightValues(file: string): Promise<void> {
  try {
    const source = await openSafetensors(file);
    await sumsOfTensors(source).finally(() => source.close());
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(error.message, {
      hint: `These are the best weights so far. Restore the file from a copy, or delete it to continue without them.`,
      cause: error,
    });
  }
}
