import { batchQuestions, labelProbabilities } from "../decode/choose-label.ts";
import { buildLabelTrie, type LabelAnswer, type LabelQuestion } from "../decode/label-trie.ts";
import { candidateSpans } from "../documents/spans.ts";
import type { Decoder } from "../models/decoder.ts";
import type { Renderer } from "../prompts/renderer.ts";
import { chooseMentions, type FoundMention, LEAST_SHARE, type MentionScale, type SpanShare } from "./mention-scores.ts";

/** Finds the entities of sentences with a model that was trained for the task "mentions". */
export interface MentionModel {
  /** The parts of each sentence with a share of at least {@link LEAST_SHARE}, before any decision. */
  score(sentences: readonly string[]): Promise<SpanShare[][]>;
  /** The mentions of each sentence, the most probable first. */
  find(sentences: readonly string[]): Promise<FoundMention[][]>;
}

/**
 * A model names one entity of a sentence; its distribution over the parts of the sentence tells all of them. Only parts of the sentence can be
 * answered (see {@link candidateSpans}), so offsets are exact.
 */
export function createMentionModel(
  model: Decoder,
  renderer: Pick<Renderer, "renderMentionPrompt" | "renderMention">,
  settings: { maxBatchTokens: number },
  scale: MentionScale,
): MentionModel {
  const score = async (sentences: readonly string[]): Promise<SpanShare[][]> => {
    const asked = sentences.map((sentence) => ({ question: ask(renderer, sentence), spans: candidateSpans(sentence) }));
    const open = asked.flatMap(({ question }) => question ?? []);
    const shares = new Map<LabelQuestion, Float64Array>();
    for (const batch of batchQuestions(open, settings.maxBatchTokens, model.spec.promptAttention)) {
      const questions = batch.map((i) => open[i]);
      const found = await labelProbabilities(model, questions);
      for (const [i, question] of questions.entries()) shares.set(question, found[i]);
    }
    return asked.map(({ question, spans }) => {
      if (!question) return [];
      const all = shares.get(question) as Float64Array;
      const startsOf = new Map(spans.map(({ text, starts }) => [text, starts]));
      return question.texts.flatMap((text, i) =>
        all[i] >= LEAST_SHARE ? [{ text, starts: startsOf.get(text) as number[], share: all[i] }] : [],
      );
    });
  };
  return {
    score,
    async find(sentences) {
      return (await score(sentences)).map((shares) => chooseMentions(shares, scale));
    },
  };
}

interface MentionQuestion extends LabelQuestion {
  /** The text of each answer. */
  texts: string[];
}

/** Null for a sentence without any part that may be a name. */
function ask(
  renderer: Pick<Renderer, "renderMentionPrompt" | "renderMention">,
  sentence: string,
): MentionQuestion | null {
  const answers = new Map<string, LabelAnswer>();
  for (const { text } of candidateSpans(sentence)) {
    const ids = renderer.renderMention(text);
    // Texts of characters that the tokenizer does not know may have equal ids: the first is asked for.
    if (ids && !answers.has(ids.join())) answers.set(ids.join(), { label: text, ids });
  }
  const all = [...answers.values()];
  if (all.length === 0) return null;
  const { ids: promptIds } = renderer.renderMentionPrompt(sentence);
  return { promptIds, trie: buildLabelTrie(all), texts: all.map(({ label }) => label) };
}
