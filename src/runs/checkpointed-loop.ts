import { appendLog, type RunFolder, removeLeftovers, syncLog, truncateLog } from "./run-folder.ts";
import { type LoadedState, loadTrainingState, type TrainedWeights, type TrainingProgress } from "./training-state.ts";

/** What ends a training before its last step. It always finishes the step in progress and saves a checkpoint. */
export interface LoopLimits {
  signal?: AbortSignal;
  /** Stop after this step. */
  untilStep?: number;
  /** Stop after this time. */
  seconds?: number;
  /** Whether the run is new: its folder is not locked yet, and what is in it belongs to another process that makes it just now. */
  isNew?: boolean;
}

/** The parts of a training that the loop puts together. Only `steps` computes updates; the loop writes log and checkpoints. */
export interface CheckpointedTraining<Step extends { step: number }, Validation extends { step: number }> {
  totalSteps: number;
  checkpointSeconds: number;
  /** The updates that are left, in order. */
  steps: AsyncIterable<Step>;
  /** Called once a step is logged and before it is validated. */
  afterStep?: (step: number) => Promise<void>;
  /** Validates after a step, if one is due then; null otherwise. */
  validateAfter(step: number): Promise<Validation | null>;
  /** Whether no step is left although the last one was not reached: for a training that validations end. */
  endsEarly?: () => boolean;
  /** Save a checkpoint after each validation: for a training whose state holds the best validation. */
  saveAfterValidation: boolean;
  /** Writes weights, optimizer state and progress as one file. */
  save(): Promise<void>;
}

export type LoopEvent<Step, Validation> =
  | ({ kind: "step" } & Step)
  | ({ kind: "validation" } & Validation)
  | { kind: "checkpoint"; step: number }
  | { kind: "stopped"; step: number };

/**
 * Loads the last checkpoint of a run into its weights, or the one before it when the last is damaged, and makes its files agree with it:
 * removes half-written files, cuts the log after the checkpoint's step. A new run starts without looking. Throws a UserError when no checkpoint is whole, or for one with
 * another origin.
 */
export async function loadCheckpoint(
  folder: RunFolder,
  trained: TrainedWeights,
  { isNew = false }: LoopLimits = {},
): Promise<LoadedState> {
  const first = { progress: { step: 0, best: null, waited: 0, averaged: 0 }, average: [], notices: [] };
  if (isNew) return first;
  await removeLeftovers(folder);
  const saved = (await loadTrainingState(trained, folder.state)) ?? first;
  await truncateLog(folder, saved.progress.step);
  return saved;
}

/**
 * The loop of fine-tuning and pretraining: logs every step and validation, saves checkpoints when they are due and at the end, stops at a
 * limit. Yields each event after its file is written, and keeps `progress.step` up to date. Returns whether the training is over.
 */
export async function* checkpointedLoop<Step extends { step: number }, Validation extends { step: number }>(
  folder: RunFolder,
  progress: TrainingProgress,
  training: CheckpointedTraining<Step, Validation>,
  limits: LoopLimits,
): AsyncGenerator<LoopEvent<Step, Validation>, boolean, void> {
  const { totalSteps, checkpointSeconds, saveAfterValidation } = training;
  const { untilStep, seconds = Number.POSITIVE_INFINITY } = limits;
  const started = performance.now();
  let lastSaved = started;
  const secondsSince = (time: number) => (performance.now() - time) / 1000;
  const endsEarly = () => training.endsEarly?.() ?? false;
  if (endsEarly()) return true;
  for await (const made of training.steps) {
    const { step } = made;
    progress.step = step;
    const event = { kind: "step" as const, ...made };
    await appendLog(folder, event);
    yield event;
    await training.afterStep?.(step);
    const result = await training.validateAfter(step);
    if (result) {
      const validation = { kind: "validation" as const, ...result };
      await appendLog(folder, validation);
      yield validation;
    }
    const isLast = step === totalSteps || endsEarly();
    const isOver = step === untilStep || (limits.signal?.aborted ?? false) || secondsSince(started) > seconds;
    const isStopped = isOver && !isLast;
    const isDue = secondsSince(lastSaved) > checkpointSeconds || (saveAfterValidation && result !== null);
    if (isLast || isStopped || isDue) {
      // On disk before the checkpoint: a log cannot be made again from a state that is ahead of it.
      await syncLog(folder);
      await training.save();
      lastSaved = performance.now();
      yield { kind: "checkpoint", step };
    }
    if (isStopped) {
      yield { kind: "stopped", step };
      return false;
    }
    if (isLast) return true;
  }
  return true;
}
