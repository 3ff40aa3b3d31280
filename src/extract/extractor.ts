import { UserError } from "../base/errors.ts";
import { type Example, exampleProblem, type LabelSet, quoted } from "../data/example.ts";
import type { LabelMask } from "../data/label-types.ts";
import { type Normalization, normalizedExample } from "../data/normalize.ts";
import { batchQuestions, isLarge, labelProbabilities, leafProbabilities } from "../decode/choose-label.ts";
import { forcedDraft, trieDraft } from "../decode/draft.ts";
import { generate } from "../decode/generate.ts";
import { buildLabelTrie, type LabelQuestion, type LabelTrie, noTokens, type TokenCount } from "../decode/label-trie.ts";
import type { Mixture } from "../linear/mixture.ts";
import { type Scale, scaledProbabilities } from "../linear/scale.ts";
import { arithmeticOf, type Decoder } from "../models/decoder.ts";
import type { Renderer } from "../prompts/renderer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { combineDirections, type Prediction, type RelationChoice } from "./combine.ts";
import { decodeProbabilities, type MixedCompanion } from "./decoding.ts";
import { distinctQuestions } from "./distinct-questions.ts";

export type { Prediction } from "./combine.ts";
export type { MixedCompanion } from "./decoding.ts";

export interface ExtractorSettings extends RelationChoice {
  /** Whether the weight of "no relation" was fitted on validation rows (decode.noRelationWeight: auto). */
  isFitted?: boolean;
  /** Calibrates the probabilities that are shown. */
  scale?: Scale | null;
  /** labels: choose among the schema's labels; generate: greedy text, parsed. */
  method: "labels" | "generate";
  /** Ask for (tail, head) too and average through the declared inverse labels; method "labels" only. */
  bothDirections: boolean;
  /** Most tokens of one forward pass. */
  maxBatchTokens: number;
  maxAnswerTokens: number;
}

/** The result for one example. */
export interface Extraction {
  /** The chosen relations, the most probable first. */
  predictions: Prediction[];
  /** Probability of every label, in the label set's order; they add up to 1. */
  probabilities: Float64Array;
  /** Those of the language model alone, not calibrated: before a companion is mixed in. */
  modelProbabilities: Float64Array;
  /** Whether the sentence had to be shortened to fit. */
  truncated: boolean;
  /** method "generate" only: the text, and the parts of it that could not be read. */
  generated: { text: string; unparsed: string | null; unknownLabels: string[]; ended: boolean } | null;
}

/** Why an example could not be extracted. */
export interface Unextracted {
  problem: string;
}

/** The public API of a trained model: examples in, relations with probabilities out. */
export interface Extractor {
  readonly labels: LabelSet;
  readonly settings: ExtractorSettings;
  /** Instruction set and precision that its numbers come from; with another arithmetic they differ in their last digits. */
  readonly arithmetic?: string;
  /** What is done to the texts of an example before they are read, as in training. */
  readonly normalize?: Normalization;
  /** How the linear companion is mixed in; null or absent for the language model alone. */
  readonly mixture?: Mixture | null;
  /** Its answers are texts of a server that gives no probabilities: all probabilities are NaN, and no output has them. */
  readonly hasNoProbabilities?: boolean;
  /** What was computed up to now, and for which prompts: what prompts share is computed once. */
  readonly tokens?: Readonly<TokenCount>;
  /** Results in the order of the examples. Throws a UserError for an example that cannot be used or does not fit the model. */
  extract(examples: readonly Example[]): Promise<Extraction[]>;
  /**
   * As `extract`, but an example that cannot be used gives its problem while the others are extracted. `masks` are the labels that each
   * example may have; null or absent: all.
   */
  extractEach(
    examples: readonly Example[],
    masks?: readonly (LabelMask | null)[],
  ): Promise<(Extraction | Unextracted)[]>;
}

const NO_NUMBERS = "the model's scores are not finite numbers (NaN or Infinity)";
const NO_NUMBERS_HINT = "Are there NaN or Infinity in the weights of the model or of the adapter?";

function hasNoNumbers({ probabilities }: Extraction): boolean {
  return !probabilities.every(Number.isFinite);
}

/** An example as the model reads it. */
interface Prepared {
  example: Example;
  question: LabelQuestion;
  /** The example asked from tail to head, when both directions are asked. */
  mirror: LabelQuestion | null;
  mask: LabelMask | null;
  truncated: boolean;
}

/** A companion is mixed in by the method "labels" only: the text of "generate" is the language model's. */
export function createExtractor(
  model: Decoder,
  tokenizer: Tokenizer,
  renderer: Renderer,
  settings: ExtractorSettings,
  normalize: Normalization = "none",
  companion: MixedCompanion | null = null,
): Extractor {
  const { labels } = renderer;
  const tokens = noTokens();
  const buildTrie = (example: Example) =>
    buildLabelTrie(labels.labels.map((label) => ({ label, ids: renderer.renderAnswer(example, label) })));
  let common: LabelTrie | null = null;
  const trieOf = (example: Example): LabelTrie => {
    if (renderer.style.answersNameEntities) return buildTrie(example);
    common ??= buildTrie(example);
    return common;
  };

  const prepare = (given: Example, mask: LabelMask | null = null): Prepared => {
    const example = normalizedExample(given, normalize);
    const problem = typeof example === "string" ? example : exampleProblem(example);
    if (typeof example === "string" || problem !== null) throw new UserError(problem as string);
    const { ids, truncated } = renderer.renderPrompt(example);
    const question = { promptIds: ids, trie: trieOf(example) };
    if (!settings.bothDirections || settings.method === "generate")
      return { example, question, mirror: null, mask, truncated };
    const opposite = mirrored(example);
    const mirror = { promptIds: renderer.renderPrompt(opposite).ids, trie: trieOf(opposite) };
    return { example, question, mirror, mask, truncated };
  };

  /** Label probabilities of questions, in passes of similar length. */
  const score = async (questions: readonly LabelQuestion[]): Promise<Float64Array[]> => {
    const { distinct, places } = distinctQuestions(questions);
    const probabilities: Float64Array[] = new Array(distinct.length);
    for (const batch of batchQuestions(distinct, settings.maxBatchTokens, model.spec.promptAttention)) {
      const results = await labelProbabilities(
        model,
        batch.map((i) => distinct[i]),
        tokens,
      );
      for (const [j, i] of batch.entries()) probabilities[i] = results[j];
    }
    return places.map((place) => probabilities[place]);
  };

  const byLabels = async (prepared: readonly Prepared[]): Promise<Extraction[]> => {
    const mirrors = prepared.flatMap(({ mirror }) => mirror ?? []);
    const probabilities = await score([...prepared.map(({ question }) => question), ...mirrors]);
    let next = prepared.length;
    const own = prepared.map(({ mirror }, i) =>
      mirror ? combineDirections(probabilities[i], probabilities[next++], labels) : probabilities[i],
    );
    const decoded = decodeProbabilities(
      { labels, choice: settings, scale: settings.scale ?? null, companion },
      prepared.map(({ example }) => example),
      own,
      prepared.map(({ mask }) => mask),
    );
    return decoded.map((one, i) => {
      return { ...one, modelProbabilities: own[i], truncated: prepared[i].truncated, generated: null };
    });
  };

  /** Small trees of labels are read as drafts: their probabilities come with the answers, and no prompt is read twice. */
  const byGeneration = async (prepared: readonly Prepared[]): Promise<Extraction[]> => {
    const large = prepared.filter(({ question }) => isLarge(question));
    const scored = await score(large.map(({ question }) => question));
    const ofLarge = new Map(large.map((one, i) => [one, scored[i]]));
    const answers = await generate(
      model,
      prepared.map(({ question }) => question.promptIds),
      {
        ...{ maxNewTokens: settings.maxAnswerTokens, eosId: renderer.eosId },
        ...{ maxPassTokens: settings.maxBatchTokens, count: tokens },
        propose(i, ids) {
          const { example, question } = prepared[i];
          if (ids.length === 0 && !isLarge(question)) return trieDraft(question.trie);
          return forcedDraft(question.trie, (label) => renderer.renderAnswer(example, labels.labels[label]), ids);
        },
      },
    );
    const none = labels.noRelation === null ? -1 : labels.labels.indexOf(labels.noRelation);
    return prepared.map((one, i) => {
      const { example, question, mask, truncated } = one;
      const modelProbabilities = ofLarge.get(one) ?? leafProbabilities(question.trie, answers[i].asked ?? []);
      const { scale = null } = settings;
      const probabilities = scale ? scaledProbabilities(modelProbabilities, none, scale) : modelProbabilities;
      const text = tokenizer.decode(answers[i].ids);
      const { relations, unparsed, unknownLabels } = renderer.parse(text, example);
      const isAllowed = (relation: string) => mask === null || mask[labels.labels.indexOf(relation)] === 1;
      const predictions = [...new Set(relations)]
        .filter(isAllowed)
        .map((relation) => ({ relation, probability: probabilities[labels.labels.indexOf(relation)] }));
      const generated = { text, unparsed, unknownLabels, ended: answers[i].ended };
      return { predictions, probabilities, modelProbabilities, truncated, generated };
    });
  };

  const answer = settings.method === "labels" ? byLabels : byGeneration;
  return {
    labels,
    settings,
    arithmetic: arithmeticOf(model),
    normalize,
    tokens,
    mixture: settings.method === "labels" && companion ? companion.mixture : null,
    async extract(examples) {
      const extractions = await answer(examples.map((example) => prepare(example)));
      const unusable = extractions.findIndex(hasNoNumbers);
      if (unusable >= 0) {
        throw new UserError(`${quoted(examples[unusable].sentence)}: ${NO_NUMBERS}.`, { hint: NO_NUMBERS_HINT });
      }
      return extractions;
    },
    async extractEach(examples, masks = []) {
      const prepared = examples.map((example, i): Prepared | Unextracted => {
        try {
          return prepare(example, masks[i]);
        } catch (error) {
          if (error instanceof UserError) return { problem: error.message };
          throw error;
        }
      });
      const extractions = await answer(prepared.flatMap((one) => ("problem" in one ? [] : [one])));
      let next = 0;
      return prepared.map((one) => {
        if ("problem" in one) return one;
        const extraction = extractions[next++];
        return hasNoNumbers(extraction) ? { problem: NO_NUMBERS } : extraction;
      });
    },
  };
}

/** The example from tail to head. */
export function mirrored(example: Example): Example {
  return {
    ...example,
    head: example.tail,
    tail: example.head,
    headSpan: example.tailSpan,
    tailSpan: example.headSpan,
  };
}
