import { UserError } from "../base/errors.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { type LabelQuestion, labelProbabilities, questionTokens } from "../decode/choose-label.ts";
import { generate } from "../decode/generate.ts";
import { buildLabelTrie, type LabelTrie } from "../decode/label-trie.ts";
import type { Decoder } from "../models/decoder.ts";
import type { Renderer } from "../prompts/renderer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { chooseRelations, combineDirections, type RelationChoice } from "./combine.ts";

export interface ExtractorSettings extends RelationChoice {
  /** labels: choose among the schema's labels; generate: greedy text, parsed. */
  method: "labels" | "generate";
  /** Ask for (tail, head) too and average through the declared inverse labels. */
  bothDirections: boolean;
  /** Most tokens of one forward pass. */
  maxBatchTokens: number;
  maxAnswerTokens: number;
}

export interface Prediction {
  relation: string;
  /** Share of the probability among all labels, 0..1. */
  probability: number;
}

/** What was found for one example. */
export interface Extraction {
  /** The relations that hold, the most probable first. */
  predictions: Prediction[];
  /** Probability of every label, in the label set's order; they add up to 1. */
  probabilities: Float64Array;
  /** Whether the sentence had to be shortened to fit. */
  truncated: boolean;
  /** method "generate" only: the text, and what of it could not be read. */
  generated: { text: string; unparsed: string | null; unknownLabels: string[]; ended: boolean } | null;
}

/** The public API of a trained model: examples in, relations with probabilities out. */
export interface Extractor {
  readonly labels: LabelSet;
  readonly settings: ExtractorSettings;
  /** Results in the order of the examples. Throws a UserError for an example that does not fit the model. */
  extract(examples: readonly Example[]): Promise<Extraction[]>;
  /** What is wrong with an example before any computation, or null. */
  problemOf(example: Example): string | null;
}

export function createExtractor(
  model: Decoder,
  tokenizer: Tokenizer,
  renderer: Renderer,
  settings: ExtractorSettings,
): Extractor {
  const { labels } = renderer;
  const tries = new Map<string, LabelTrie>();
  const trieOf = (example: Example): LabelTrie => {
    const answers = labels.labels.map((label) => ({ label, ids: renderer.renderAnswer(example, label) }));
    // Styles whose answer is only the label give the same tree for every example.
    const key = answers.map(({ ids }) => ids.join()).join(";");
    let trie = tries.get(key);
    if (!trie) {
      trie = buildLabelTrie(answers);
      if (tries.size > 64) tries.clear();
      tries.set(key, trie);
    }
    return trie;
  };

  /** Label probabilities of examples, in passes of similar length. */
  const scoreLabels = async (examples: readonly Example[]) => {
    const questions: LabelQuestion[] = [];
    const truncated: boolean[] = [];
    for (const example of examples) {
      const prompt = renderer.renderPrompt(example);
      questions.push({ promptIds: prompt.ids, trie: trieOf(example) });
      truncated.push(prompt.truncated);
    }
    const probabilities: Float64Array[] = new Array(examples.length);
    for (const batch of batchesByTokens(questions.map(questionTokens), settings.maxBatchTokens)) {
      const results = await labelProbabilities(
        model,
        batch.map((i) => questions[i]),
      );
      for (const [j, i] of batch.entries()) probabilities[i] = results[j];
    }
    return { probabilities, truncated };
  };

  const byLabels = async (examples: readonly Example[]): Promise<Extraction[]> => {
    const asked = settings.bothDirections ? [...examples, ...examples.map(mirrored)] : examples;
    const { probabilities, truncated } = await scoreLabels(asked);
    return examples.map((_, i) => {
      const own = probabilities[i];
      const combined = settings.bothDirections
        ? combineDirections(own, probabilities[examples.length + i], labels)
        : own;
      return { ...chooseRelations(combined, labels, settings), truncated: truncated[i], generated: null };
    });
  };

  const byGeneration = async (examples: readonly Example[]): Promise<Extraction[]> => {
    const prompts = examples.map((example) => renderer.renderPrompt(example));
    const { probabilities } = await scoreLabels(examples);
    const results: Extraction[] = new Array(examples.length);
    const sizes = prompts.map(({ ids }) => ids.length + settings.maxAnswerTokens);
    for (const batch of batchesByTokens(sizes, settings.maxBatchTokens)) {
      const texts = await generate(
        model,
        batch.map((i) => prompts[i].ids),
        { maxNewTokens: settings.maxAnswerTokens, eosId: renderer.eosId },
      );
      for (const [j, i] of batch.entries()) {
        const text = tokenizer.decode(texts[j].ids);
        const parsed = renderer.parse(text, examples[i]);
        const predictions = [...new Set(parsed.relations)].map((relation) => ({
          relation,
          probability: probabilities[i][labels.labels.indexOf(relation)],
        }));
        const { unparsed, unknownLabels } = parsed;
        results[i] = {
          predictions,
          probabilities: probabilities[i],
          truncated: prompts[i].truncated,
          generated: { text, unparsed, unknownLabels, ended: texts[j].ended },
        };
      }
    }
    return results;
  };

  return {
    labels,
    settings,
    extract: (examples) => (settings.method === "labels" ? byLabels(examples) : byGeneration(examples)),
    problemOf(example) {
      try {
        renderer.renderPrompt(example);
        return null;
      } catch (error) {
        if (error instanceof UserError) return error.message;
        throw error;
      }
    },
  };
}

/** The same sentence asked from tail to head. */
export function mirrored(example: Example): Example {
  return {
    ...example,
    head: example.tail,
    tail: example.head,
    headSpan: example.tailSpan,
    tailSpan: example.headSpan,
  };
}

/** Groups indices into batches of at most `maxTokens` (a longer item alone), similar sizes together. */
export function batchesByTokens(sizes: readonly number[], maxTokens: number): number[][] {
  const order = sizes.map((_, i) => i).sort((a, b) => sizes[b] - sizes[a] || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  let tokens = 0;
  for (const i of order) {
    if (batch.length > 0 && tokens + sizes[i] > maxTokens) {
      batches.push(batch);
      batch = [];
      tokens = 0;
    }
    batch.push(i);
    tokens += sizes[i];
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}
