import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../base/files.ts";
import { parseJson } from "../base/json-text.ts";
import { measurePeak } from "../compute/peak.ts";
import { type Decoder, decoderWeights } from "../models/decoder.ts";
import { type HeldOutScore, scoreHeldOut } from "../pretrain/held-out.ts";
import { flopsPerToken, muonWeights, type PretrainStep, pretrain } from "../pretrain/pretrain.ts";
import { type PretrainRecipe, pretrainRecipeText, readPretrainRecipe } from "../pretrain/recipe.ts";
import { type Decay, finalStep, totalSteps } from "../pretrain/schedule.ts";
import { type DocumentMarks, planSequences } from "../pretrain/sequences.ts";
import { digestOfFile, openTokenSource, type TokenSource } from "../pretrain/token-file.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import {
  type CheckpointedTraining,
  checkpointedLoop,
  type LoopEvent,
  type LoopLimits,
  loadCheckpoint,
} from "./checkpointed-loop.ts";
import type { NoticeEvent } from "./notice.ts";
import { appendLog, createFolderOf, type LogLine, type RunFolder, readLog, runFolder, syncLog } from "./run-folder.ts";
import { saveTrainingState, type TrainedWeights, type TrainingOrigin } from "./training-state.ts";

/** Held-out bits per character, of every source and of all characters together. */
export interface PretrainValidation {
  step: number;
  bitsPerCharacter: number;
  sources: Record<string, HeldOutScore>;
  seconds: number;
}

/** A step with its speed; `shareOfPeak` is null where the backend has no measured peak. */
export interface MeasuredStep extends PretrainStep {
  tokensPerSecond: number;
  shareOfPeak: number | null;
}

/** An event of a pretraining run, in the order: a notice on the checkpoint, start, steps with validations and checkpoints, then stopped or end. */
export type PretrainEvent =
  | NoticeEvent
  | { kind: "start"; totalSteps: number; resumedAt: number; tokensPerStep: number; perRound: Record<string, number> }
  | LoopEvent<MeasuredStep, PretrainValidation>
  | { kind: "end"; step: number };

/** The text of a run as token ids. */
export interface PretrainData {
  sources: TokenSource[];
  marks: DocumentMarks;
}

const MAX_DECAY_BYTES = 10_000;

const decayFile = (folder: RunFolder) => join(folder.directory, "decay.json");

/** Tokenizes the sources of a recipe, or reads them from the cache. Throws a UserError for a tokenizer without an end mark. */
export async function openPretrainData(
  recipe: PretrainRecipe,
  tokenizer: Tokenizer,
  cacheFolder: string,
  onProgress: (source: string, documents: number, characters: number) => void = () => {},
): Promise<PretrainData> {
  const { eosId, bosId } = tokenizer;
  if (eosId === null) {
    throw new UserError(`${recipe.model.tokenizer}: has no end-of-sequence token, which separates documents.`);
  }
  const tokenizerFile = existsSync(join(recipe.model.tokenizer, "tokenizer.model"))
    ? join(recipe.model.tokenizer, "tokenizer.model")
    : recipe.model.tokenizer;
  const tokenizerDigest = await digestOfFile(tokenizerFile);
  const sources: TokenSource[] = [];
  for (const [name, source] of Object.entries(recipe.data.sources)) {
    const say = (documents: number, characters: number) => onProgress(name, documents, characters);
    sources.push(await openTokenSource(name, source, tokenizer, tokenizerDigest, recipe.seed, cacheFolder, say));
  }
  const { padId } = tokenizer;
  if (recipe.train.maskShare && padId === null) {
    throw new UserError(`${recipe.model.tokenizer}: has no padding token, which train.maskShare puts for masked ones.`);
  }
  return { sources, marks: { start: bosId ?? eosId, end: eosId, mask: padId } };
}

/** Makes the folder of a new pretraining run with its resolved recipe. Throws a UserError for a folder that is not empty. */
export async function createPretrainFolder(directory: string, recipe: PretrainRecipe): Promise<RunFolder> {
  const { start, tokenizer } = recipe.model;
  return createFolderOf(directory, { path: start, tokenizer }, pretrainRecipeText(recipe));
}

/** Opens the folder of a pretraining run. */
export async function openPretrainFolder(
  directory: string,
  overrides: readonly string[] = [],
): Promise<{ folder: RunFolder; recipe: PretrainRecipe }> {
  const folder = runFolder(directory);
  if (!existsSync(folder.recipe)) throw new UserError(`${directory}: is not a run folder (it has no recipe.yaml).`);
  const recipe = await readPretrainRecipe(folder.recipe, overrides);
  if (overrides.length > 0) expectSameKind((await readPretrainRecipe(folder.recipe)).model.start, recipe, folder);
  return { folder, recipe };
}

/** Throws a UserError for an override that gives a run a start, or takes it away: its weights are there already. */
function expectSameKind(start: string | undefined, { model }: PretrainRecipe, folder: RunFolder): void {
  if ((start === undefined) === (model.start === undefined)) return;
  const began = start === undefined ? "began with random weights" : `began with the weights of ${start}`;
  throw new UserError(`model.start: ${folder.directory} ${began}, which --set cannot change.`, {
    hint: "Start a new run.",
  });
}

/** The final phase that --decay-now started, if any. */
export async function readDecay(folder: RunFolder): Promise<Decay | null> {
  const file = decayFile(folder);
  if (!existsSync(file)) return null;
  const text = await readTextFile(file, "a final phase", MAX_DECAY_BYTES);
  const { startStep, steps } = (parseJson(text, `${file}:`) ?? {}) as Partial<Decay>;
  const isCount = (one: unknown, least: number): one is number => Number.isSafeInteger(one) && (one as number) >= least;
  if (isCount(startStep, 0) && isCount(steps, 1)) return { startStep, steps };
  throw new UserError(`${file}: expected whole numbers "startStep" and "steps".`);
}

/** Digests of all that decides a run's numbers, except its first weights. Paths and the time between checkpoints decide nothing. */
function originOf(
  { model, data, train, precision, seed }: PretrainRecipe,
  sources: readonly TokenSource[],
): TrainingOrigin {
  const { checkpointSeconds: _seconds, validateEverySteps: _every, steps, decaySteps: _decay, ...all } = train;
  // Runs of older versions had no other optimizer.
  const settings = all.optimizer === "adamw" ? { ...all, optimizer: undefined } : all;
  // The length of a trapezoid may be decided during the run; every step of a cosine depends on it.
  const length = train.schedule === "cosine" ? steps : null;
  const weights = Object.values(data.sources).map(({ weight, finalWeight }) =>
    finalWeight === undefined ? weight : [weight, finalWeight],
  );
  const digest = (value: unknown) => createHash("sha256").update(JSON.stringify(value)).digest("hex");
  return {
    recipe: digest({ init: model.init, storage: model.storage, settings, length, precision, seed, weights }),
    rows: digest(sources.map((source) => source.digest)),
  };
}

function trainedOf(model: Decoder, recipe: PretrainRecipe, sources: readonly TokenSource[]): TrainedWeights {
  const weights = decoderWeights(model);
  const muon = recipe.train.optimizer === "muon" ? muonWeights(model, weights).matrices : [];
  return { backend: model.backend, weights, origin: originOf(recipe, sources), withoutSecond: new Set(muon) };
}

/**
 * Pretrains a run from its last checkpoint, or from the start: yields every step, validation and checkpoint. Recipe, seed, text and
 * `decay.json` decide all numbers, so a run that was killed and resumed ends with the same weights as one that was not. `decayNow` starts a
 * final phase of that many steps at the checkpoint; the run ends with it.
 */
export async function* pretrainRun(
  model: Decoder,
  recipe: PretrainRecipe,
  data: PretrainData,
  folder: RunFolder,
  limits: LoopLimits = {},
  decayNow: number | null = null,
): AsyncGenerator<PretrainEvent, void, void> {
  const { train } = recipe;
  const { checkpointSeconds, validateEverySteps } = train;
  const trained = trainedOf(model, recipe, data.sources);
  const { progress, notices } = await loadCheckpoint(folder, trained, limits);
  for (const text of notices) yield { kind: "notice", text };
  const decay = await decayOf(folder, progress.step, decayNow);
  const last = totalSteps(train, decay);
  const weightsOf = (name: string) => {
    const { weight, finalWeight } = recipe.data.sources[name];
    return { weight, finalWeight };
  };
  const plan = planSequences(
    data.sources.map(({ name, train: documents }) => ({ name, documents, ...weightsOf(name) })),
    train.sequenceTokens,
    data.marks,
    recipe.seed,
    { prefixShare: train.prefixShare ?? 0, maskShare: train.maskShare ?? 0 },
    { from: finalStep(train, decay) * train.passSequences * train.accumulation },
  );
  const perRound = Object.fromEntries(data.sources.map(({ name }, i) => [name, plan.perRound[i]]));
  const tokensPerStep = train.sequenceTokens * train.passSequences * train.accumulation;
  yield { kind: "start", totalSteps: last, resumedAt: progress.step, tokensPerStep, perRound };
  if (recipe.model.start !== undefined && progress.step === 0 && validateEverySteps > 0) {
    const isNoted = (await readLog(folder)).some(({ kind }) => kind === "validation");
    if (!isNoted) {
      const validation = { kind: "validation" as const, ...(await validate(model, recipe, data, 0)) };
      await appendLog(folder, validation);
      yield validation;
    }
  }
  const training: CheckpointedTraining<MeasuredStep, PretrainValidation> = {
    totalSteps: last,
    checkpointSeconds,
    steps: measured(model, pretrain(model, trained.weights, plan, train, decay, progress.step), train.sequenceTokens),
    async validateAfter(step) {
      const isDue = validateEverySteps > 0 && (step === last || step % validateEverySteps === 0);
      return isDue ? await validate(model, recipe, data, step) : null;
    },
    saveAfterValidation: false,
    save: () => saveTrainingState(trained, progress, folder.state),
  };
  if (!(yield* checkpointedLoop(folder, progress, training, limits))) return;
  await writeFileAtomic(folder.done, `${JSON.stringify({ steps: progress.step })}\n`);
  yield { kind: "end", step: progress.step };
}

/** Saves weights that were trained elsewhere as a run that has finished: log, a validation computed here, checkpoint. */
export async function saveFinishedPretraining(
  model: Decoder,
  recipe: PretrainRecipe,
  data: PretrainData,
  folder: RunFolder,
  log: readonly LogLine[],
): Promise<PretrainValidation> {
  const trained = trainedOf(model, recipe, data.sources);
  const step = recipe.train.steps;
  const validation = await validate(model, recipe, data, step);
  for (const line of log) await appendLog(folder, line);
  await appendLog(folder, { kind: "validation", ...validation });
  await syncLog(folder);
  await saveTrainingState(trained, { step, best: null, waited: 0, averaged: 0 }, folder.state);
  await writeFileAtomic(folder.done, `${JSON.stringify({ steps: step })}\n`);
  return validation;
}

/** Steps with their speed, in tokens and as a share of the arithmetic peak that was measured before the first one. */
async function* measured(
  model: Decoder,
  steps: AsyncIterable<PretrainStep>,
  sequenceTokens: number,
): AsyncGenerator<MeasuredStep, void, void> {
  const peak = await measurePeak(model.backend);
  const flops = flopsPerToken(model.spec, sequenceTokens);
  for await (const step of steps) {
    const tokensPerSecond = step.tokens / step.seconds;
    const shareOfPeak = peak === null ? null : (tokensPerSecond * flops) / (peak.registers * 1e9);
    yield { ...step, tokensPerSecond, shareOfPeak };
  }
}

/** The run's final phase; one that starts now is written to decay.json. */
async function decayOf(folder: RunFolder, step: number, decayNow: number | null): Promise<Decay | null> {
  const decay = await readDecay(folder);
  if (decayNow === null) return decay;
  if (decay) {
    throw new UserError(`${decayFile(folder)}: the final phase has begun already, at step ${decay.startStep}.`, {
      hint: "Resume without --decay-now.",
    });
  }
  const started = { startStep: step, steps: decayNow };
  await writeFileAtomic(decayFile(folder), `${JSON.stringify(started)}\n`);
  return started;
}

async function validate(
  model: Decoder,
  recipe: PretrainRecipe,
  data: PretrainData,
  step: number,
): Promise<PretrainValidation> {
  const started = performance.now();
  const { sequenceTokens, passSequences } = recipe.train;
  const sources: Record<string, HeldOutScore> = {};
  let bits = 0;
  let characters = 0;
  for (const { name, heldOut } of data.sources) {
    if (heldOut.ends.length === 0) continue;
    const score = await scoreHeldOut(model, heldOut, data.marks, sequenceTokens, sequenceTokens * passSequences);
    sources[name] = score;
    bits += score.bitsPerCharacter * score.characters;
    characters += score.characters;
  }
  const seconds = (performance.now() - started) / 1000;
  return { step, bitsPerCharacter: bits / Math.max(1, characters), sources, seconds };
}
