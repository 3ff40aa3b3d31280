import { UserError } from "../base/errors.ts";
import { buildAtFirstUse } from "../compute/native/first-build.ts";
import type { Example } from "../data/example.ts";
import type { Extraction, Extractor, Unextracted } from "../extract/extractor.ts";
import type { MentionModel } from "../extract/mention-finder.ts";
import type { FoundMention } from "../extract/mention-scores.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "../extract/windows.ts";
import type { Decoder } from "../models/decoder.ts";
import type { Renderer } from "../prompts/renderer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { type EvaluatedRun, type EvaluateOptions, evaluateRun, type RunEvaluation } from "./evaluation.ts";
import { type RunSource, sourceFolder } from "./given-adapter.ts";
import { type OpenOptions, openTrained } from "./open.ts";
import type { Stop } from "./protocol.ts";
import type { StopSignal } from "./stop-signals.ts";

/** A finished run, opened to extract and to evaluate. The command line and every program use it alike. Close it to free its weights. */
export interface Run extends EvaluatedRun, AsyncDisposable {
  /**
   * Finds the relations between the two entities of an example. Throws a UserError for an example that cannot be used (an entity that is not
   * in the sentence) or does not fit the model.
   */
  extract(example: Example): Promise<Extraction>;
  /** The same for many examples, computed together; results in their order. */
  extract(examples: readonly Example[]): Promise<Extraction[]>;
  /**
   * Extracts from a stream of any length with bounded memory: one result for each example, in order. An example that cannot be used gives
   * `{ problem }` while the others are extracted. `windowRows` examples (default 512) are read and computed together.
   */
  stream(
    examples: AsyncIterable<Example> | Iterable<Example>,
    options?: { windowRows?: number },
  ): AsyncGenerator<Extraction | Unextracted, void, void>;
  /** The parts of the run, for other questions than its own. */
  readonly model: Decoder;
  readonly tokenizer: Tokenizer;
  readonly renderer: Renderer;
  /** Finds entities, with the shares before any decision; null for a run that was not trained for it. */
  readonly mentions: MentionModel | null;
  /**
   * Finds the entities of sentences, the most probable first. Throws a UserError for a run that was not trained for it (`tasks` in its recipe).
   */
  findMentions(sentences: readonly string[]): Promise<FoundMention[][]>;
  /** Extracts labelled rows and scores the result, by default of the test split of the data that the run was trained on. */
  evaluate(options?: EvaluateOptions): Promise<RunEvaluation>;
  /** Frees the weights; the run cannot be used afterwards. */
  close(): Promise<void>;
}

/** Thrown when a training was stopped before its end. Its state is saved: resume the run to continue. */
export class RunStopped extends Error {
  readonly directory: string;
  /** The step of the checkpoint. */
  readonly step: number;
  /** The process signal that stopped it; null for an AbortSignal. */
  readonly signal: StopSignal | null;

  constructor(directory: string, { step, signal }: Stop) {
    super(`${directory}: training stopped after step ${step}; its state is saved.`);
    this.name = "RunStopped";
    this.directory = directory;
    this.step = step;
    this.signal = signal;
  }
}

/**
 * Opens a finished run: its best weights, with the prompt, template and labels that it was trained with. Throws a UserError for a folder that
 * is not a run, a run whose training has not finished, or a base model that was replaced. An adapter that another program made is opened with
 * the labels and the recipe that are given with it.
 */
export async function openRun(source: RunSource, options: OpenOptions = {}): Promise<Run> {
  const directory = sourceFolder(source);
  await buildAtFirstUse(options.onNotice ?? (() => {}));
  const {
    folder,
    recipe,
    model,
    tokenizer,
    renderer,
    extractor: trained,
    mentions,
    companion,
    calibration,
    close,
  } = await openTrained(source, options);
  let isClosed = false;
  const whileOpen = <T>(work: () => T): T => {
    if (isClosed) throw new UserError(`${directory}: the run is closed.`, { hint: "Open it again with openRun." });
    return work();
  };
  const extractor: Extractor = {
    ...trained,
    extract: async (examples) => whileOpen(() => trained.extract(examples)),
    extractEach: async (examples, masks) => whileOpen(() => trained.extractEach(examples, masks)),
  };
  async function extract(example: Example): Promise<Extraction>;
  async function extract(examples: readonly Example[]): Promise<Extraction[]>;
  async function extract(given: Example | readonly Example[]): Promise<Extraction | Extraction[]> {
    return isList(given) ? extractor.extract(given) : (await extractor.extract([given]))[0];
  }
  const run: Run = {
    folder,
    given: typeof source === "string" ? null : source,
    recipe,
    labels: renderer.labels,
    extractor,
    companion,
    calibration,
    model,
    tokenizer,
    renderer,
    mentions,
    extract,
    async *stream(examples, { windowRows = DEFAULT_WINDOW_ROWS } = {}) {
      for await (const window of windowsOf(examples, windowRows)) yield* await extractor.extractEach(window);
    },
    async findMentions(sentences) {
      if (!mentions) throw new UserError(`${directory}: ${NO_MENTIONS}`, { hint: MENTIONS_HINT });
      return whileOpen(() => mentions.find(sentences));
    },
    evaluate: (evaluateOptions) => evaluateRun(run, evaluateOptions),
    async close() {
      if (isClosed) return;
      isClosed = true;
      await close();
    },
    [Symbol.asyncDispose]: () => run.close(),
  };
  return run;
}

const NO_MENTIONS = "the run was not trained to find entities.";
const MENTIONS_HINT = "Train one with tasks: [relations, mentions] in the recipe, or give the entities.";

function isList(given: Example | readonly Example[]): given is readonly Example[] {
  return Array.isArray(given);
}
