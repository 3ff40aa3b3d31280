import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { openBackend } from "../compute/open.ts";
import { parameterCount } from "../models/layer.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { missingPretrainPaths, type PretrainRecipe, pretrainRecipeText } from "../pretrain/recipe.ts";
import type { TokenSource } from "../pretrain/token-file.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { expectRoom, passBytes, weightNeed } from "./memory.ts";
import type { NoticeEvent } from "./notice.ts";
import { specFromInit } from "./prepare.ts";
import {
  createPretrainFolder,
  openPretrainData,
  openPretrainFolder,
  type PretrainData,
  type PretrainEvent,
  pretrainRun,
} from "./pretrain-run.ts";
import { expectStart, firstWeights } from "./pretrain-start.ts";
import { type RunKind, type Stop, type TrainableRun, workInRun } from "./protocol.ts";
import { expectSameBase, type RunFolder } from "./run-folder.ts";
import type { StopOptions } from "./stop-signals.ts";
import { openModelTokenizer } from "./tokenizer.ts";

export const PRETRAINING: RunKind<PretrainRecipe> = {
  create: createPretrainFolder,
  open: openPretrainFolder,
  missingPaths: missingPretrainPaths,
  hint: "--set data.folder=DIR names the folder of the sources.",
  expectSameBase: (folder, { model }) =>
    expectSameBase(folder, { model: { path: model.start, tokenizer: model.tokenizer } }, "model.start"),
};

/** Documents of a source that are tokenized. */
export interface TokensEvent {
  kind: "tokens";
  source: string;
  documents: number;
  characters: number;
}

/** An event of a pretraining: of what is read before the first step, then of the run. */
export type PretrainingEvent =
  | NoticeEvent
  | TokensEvent
  | { kind: "model"; parameters: number; backend: string; sources: readonly TokenSource[] }
  | PretrainEvent;

export interface PretrainingOptions extends StopOptions {
  /** Stop after this step, or after this time. */
  untilStep?: number;
  seconds?: number;
  /** Start a final phase of this many steps at the checkpoint. */
  decayNow?: number;
  /** Folder that keeps the token ids of the text; default: `tokens` in the run's folder. */
  tokens?: string;
  onEvent?: (event: PretrainingEvent) => void;
}

/** The tokenizer of a recipe and the sizes of its model. Throws a UserError when they do not fit together. */
export async function openPretrainSizes(recipe: PretrainRecipe): Promise<{ tokenizer: Tokenizer; spec: DecoderSpec }> {
  const tokenizer = await openModelTokenizer(recipe.model.tokenizer, { modelType: recipe.model.init.family });
  return { tokenizer, spec: specFromInit(recipe.model.init, tokenizer) };
}

/** The text of a run as token ids, from its folder of tokens or from `tokens`. */
export async function openRunTokens(
  folder: RunFolder,
  recipe: PretrainRecipe,
  tokenizer: Tokenizer,
  tokens: string | undefined,
  onEvent: (event: TokensEvent) => void,
): Promise<PretrainData> {
  return openPretrainData(
    recipe,
    tokenizer,
    tokens ?? join(folder.directory, "tokens"),
    (source, documents, characters) => onEvent({ kind: "tokens", source, documents, characters }),
  );
}

/**
 * Pretrains a run to its end, to a limit, or to a request to stop: makes and locks the folder, tokenizes the text, saves log and checkpoints.
 * Returns where it stopped, null when it finished. Throws a UserError for text or sizes that cannot be used.
 */
export async function runPretraining(
  run: TrainableRun<PretrainRecipe>,
  options: PretrainingOptions = {},
): Promise<Stop | null> {
  const { folder, recipe } = run;
  const { untilStep, seconds, decayNow = null, onEvent = () => {} } = options;
  return workInRun(run, options, async ({ signal, begin }) => {
    const { tokenizer, spec } = await openPretrainSizes(recipe);
    await expectStart(recipe, spec, tokenizer);
    const { storage } = recipe.model;
    const { passSequences, sequenceTokens, recompute } = recipe.train;
    const tokens = passSequences * sequenceTokens;
    const need = weightNeed(spec, storage, { ofModel: true, added: 0 });
    const pass = passBytes(spec, { tokens, outputs: tokens, recompute });
    expectRoom(folder.directory, { ...need, pass }, (text) => onEvent({ kind: "notice", text }));
    const backend = openBackend(recipe.precision, (text) => onEvent({ kind: "notice", text }));
    let stoppedAt: number | null = null;
    try {
      if (recipe.train.optimizer === "muon" && !backend.hasMuon) {
        throw new UserError(`train.optimizer: muon is not part of the backend ${backend.name}.`, {
          hint: "The native backend has it (npm run build), or give train.optimizer adamw.",
        });
      }
      // Before the text is tokenized: the run's folder keeps the tokens.
      await begin(recipe);
      const data = await openRunTokens(folder, recipe, tokenizer, options.tokens, onEvent);
      const model = await firstWeights(backend, recipe, spec);
      const parameters = parameterCount(spec);
      onEvent({ kind: "model", parameters, backend: backend.description, sources: data.sources });
      for await (const event of pretrainRun(
        model,
        recipe,
        data,
        folder,
        { signal, untilStep, seconds, isNew: run.isNew },
        decayNow,
      )) {
        // Overrides given when the run was resumed are kept.
        if (event.kind === "start") await writeFileAtomic(folder.recipe, pretrainRecipeText(recipe));
        if (event.kind === "stopped") stoppedAt = event.step;
        onEvent(event);
      }
    } finally {
      await backend.close();
    }
    return stoppedAt;
  });
}
