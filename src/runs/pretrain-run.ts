import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../base/files.ts";
import type { Weight } from "../compute/backend.ts";
import { measurePeak } from "../compute/peak.ts";
import { type Decoder, decoderWeights } from "../models/decoder.ts";
import { type HeldOutScore, scoreHeldOut } from "../pretrain/held-out.ts";
import { flopsPerToken, type PretrainStep, pretrain } from "../pretrain/pretrain.ts";
import { type PretrainRecipe, pretrainRecipeText, readPretrainRecipe } from "../pretrain/recipe.ts";
import { type Decay, totalSteps } from "../pretrain/schedule.ts";
import { type DocumentMarks, planSequences } from "../pretrain/sequences.ts";
import { digestOfFile, openTokenSource, type TokenSource } from "../pretrain/token-file.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { appendLog, expectFreeFolder, type RunFolder, removeLeftovers, runFolder, truncateLog } from "./run-folder.ts";
import { loadTrainingState, saveTrainingState, type TrainingOrigin } from "./training-state.ts";

/** Held-out bits per character of every source and of all of them together, each character counting once. */
export interface PretrainValidation {
  step: number;
  bitsPerCharacter: number;
  sources: Record<string, HeldOutScore>;
  seconds: number;
}

/** What the caller of a pretraining run hears. */
export type PretrainEvent =
  | { kind: "start"; totalSteps: number; resumedAt: number; tokensPerStep: number; perRound: Record<string, number> }
  | ({ kind: "step"; tokensPerSecond: number; shareOfPeak: number | null } & PretrainStep)
  | ({ kind: "validation" } & PretrainValidation)
  | { kind: "checkpoint"; step: number }
  | { kind: "stopped"; step: number }
  | { kind: "end"; step: number };

export interface PretrainLimits {
  /** Ends the step in progress, saves a checkpoint and stops. */
  signal?: AbortSignal;
  /** Stops likewise after this step. */
  untilStep?: number;
  /** Stops likewise after this time. */
  seconds?: number;
}

/** The text of a run in ids. */
export interface PretrainData {
  sources: TokenSource[];
  marks: DocumentMarks;
}

const MAX_DECAY_BYTES = 10_000;

const decayFile = (folder: RunFolder) => join(folder.directory, "decay.json");

/** Tokenizes what a recipe names, or takes it from the cache. Throws a UserError for a tokenizer without an end mark. */
export async function openPretrainData(
  recipe: PretrainRecipe,
  tokenizer: Tokenizer,
  cacheFolder: string,
  onProgress: (source: string, documents: number, characters: number) => void = () => {},
): Promise<PretrainData> {
  const { eosId, bosId } = tokenizer;
  if (eosId === null) {
    throw new UserError(`${recipe.model.tokenizer}: has no end mark, which separates documents.`);
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
  return { sources, marks: { start: bosId ?? eosId, end: eosId } };
}

/** Makes the folder of a new pretraining run with its resolved recipe; refuses a folder that holds something. */
export async function createPretrainFolder(directory: string, recipe: PretrainRecipe): Promise<RunFolder> {
  await expectFreeFolder(directory);
  const folder = runFolder(directory);
  await writeFileAtomic(folder.recipe, pretrainRecipeText(recipe));
  return folder;
}

/** Opens the folder of a pretraining run that was begun. */
export async function openPretrainFolder(
  directory: string,
  overrides: readonly string[] = [],
): Promise<{ folder: RunFolder; recipe: PretrainRecipe }> {
  const folder = runFolder(directory);
  if (!existsSync(folder.recipe)) throw new UserError(`${directory}: is not a run folder (it has no recipe.yaml).`);
  return { folder, recipe: await readPretrainRecipe(folder.recipe, overrides) };
}

/** The final phase that was started by hand, if any. */
export async function readDecay(folder: RunFolder): Promise<Decay | null> {
  const file = decayFile(folder);
  if (!existsSync(file)) return null;
  let value: Partial<Decay> | null = null;
  try {
    value = JSON.parse(await readTextFile(file, "a final phase", MAX_DECAY_BYTES));
  } catch (error) {
    throw new UserError(`${file}: is not JSON (${messageOf(error)}).`);
  }
  const { startStep, steps } = value ?? {};
  const isCount = (one: unknown, least: number): one is number => Number.isSafeInteger(one) && (one as number) >= least;
  if (isCount(startStep, 0) && isCount(steps, 1)) return { startStep, steps };
  throw new UserError(`${file}: expected whole numbers "startStep" and "steps".`);
}

/** What decides a run's numbers beside its first weights; where files lie and how often is saved does not. */
function originOf(
  { model, data, train, precision, seed }: PretrainRecipe,
  sources: readonly TokenSource[],
): TrainingOrigin {
  const { checkpointSeconds: _seconds, validateEverySteps: _every, steps, decaySteps: _decay, ...settings } = train;
  // A trapezoid's length may be decided while it goes on; every step of a cosine depends on it.
  const length = train.schedule === "cosine" ? steps : null;
  const weights = Object.values(data.sources).map(({ weight }) => weight);
  const digest = (value: unknown) => createHash("sha256").update(JSON.stringify(value)).digest("hex");
  return {
    recipe: digest({ init: model.init, storage: model.storage, settings, length, precision, seed, weights }),
    rows: digest(sources.map((source) => source.digest)),
  };
}

/**
 * Pretrains from the last checkpoint of a run (or from the start): yields every step, validation and checkpoint. Everything that decides the
 * numbers follows from recipe, seed and `decay.json`, so a run that was killed and resumed ends with the same weights as one that was not.
 * `decayNow` starts the final phase of so many steps at the checkpoint; the run ends with it.
 */
export async function* pretrainRun(
  model: Decoder,
  recipe: PretrainRecipe,
  data: PretrainData,
  folder: RunFolder,
  limits: PretrainLimits = {},
  decayNow: number | null = null,
): AsyncGenerator<PretrainEvent, void, void> {
  const { backend } = model;
  const weights: Weight[] = decoderWeights(model);
  const { train } = recipe;
  const origin = originOf(recipe, data.sources);
  await removeLeftovers(folder);
  const saved = await loadTrainingState(backend, weights, origin, folder.state);
  const progress = saved?.progress ?? { step: 0, best: null, averaged: 0 };
  await truncateLog(folder, progress.step);
  const decay = await decayOf(folder, progress.step, decayNow);
  const last = totalSteps(train, decay);
  const weightOf = (name: string) => recipe.data.sources[name].weight;
  const plan = planSequences(
    data.sources.map(({ name, train: documents }) => ({ name, documents, weight: weightOf(name) })),
    train.sequenceTokens,
    data.marks,
    recipe.seed,
  );
  const perRound = Object.fromEntries(data.sources.map(({ name }, i) => [name, plan.perRound[i]]));
  const tokensPerStep = train.sequenceTokens * train.passSequences * train.accumulation;
  yield { kind: "start", totalSteps: last, resumedAt: progress.step, tokensPerStep, perRound };
  const peak = await measurePeak(backend);
  const flops = flopsPerToken(model.spec, train.sequenceTokens);
  const started = performance.now();
  let lastSaved = started;
  for await (const step of pretrain(model, weights, plan, train, decay, progress.step)) {
    progress.step = step.step;
    const tokensPerSecond = step.tokens / step.seconds;
    const shareOfPeak = peak === null ? null : (tokensPerSecond * flops) / (peak.registers * 1e9);
    const event = { kind: "step" as const, ...step, tokensPerSecond, shareOfPeak };
    await appendLog(folder, event);
    yield event;
    const isLast = step.step === last;
    if (train.validateEverySteps > 0 && (isLast || step.step % train.validateEverySteps === 0)) {
      const validation = { kind: "validation" as const, ...(await validate(model, recipe, data, step.step)) };
      await appendLog(folder, validation);
      yield validation;
    }
    const now = performance.now();
    const isOver = now - started > (limits.seconds ?? Number.POSITIVE_INFINITY) * 1000;
    const stops = !isLast && (isOver || step.step === limits.untilStep || (limits.signal?.aborted ?? false));
    if (isLast || stops || now - lastSaved > train.checkpointSeconds * 1000) {
      await saveTrainingState(backend, weights, progress, origin, folder.state);
      lastSaved = performance.now();
      yield { kind: "checkpoint", step: step.step };
    }
    if (stops) {
      yield { kind: "stopped", step: step.step };
      return;
    }
  }
  await writeFileAtomic(folder.done, `${JSON.stringify({ steps: progress.step })}\n`);
  yield { kind: "end", step: progress.step };
}

/** The run's final phase, which is remembered when it starts now. */
async function decayOf(folder: RunFolder, step: number, decayNow: number | null): Promise<Decay | null> {
  const decay = await readDecay(folder);
  if (decayNow === null) return decay;
  if (decay) {
    throw new UserError(`${decayFile(folder)}: the final phase has begun already, at step ${decay.startStep}.`, {
      hint: "Go on without --decay-now.",
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
