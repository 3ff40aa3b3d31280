import { batchQuestions, labelProbabilities } from "../../decode/choose-label.ts";
import type { LabelQuestion } from "../../decode/label-trie.ts";
import { type ScoredToken, scoreTokens } from "../../decode/score-tokens.ts";
import type { Run } from "../../runs/run.ts";
import type { Lane } from "../scheduler.ts";

/** A prompt and texts of which one is the answer; gives their probabilities, which add up to 1, as extraction chooses among labels. */
export type ChoiceLane = Lane<LabelQuestion, Float64Array>;

const MOST_QUESTIONS = 64;
const MOST_TOKENS = 8192;

export function createChoiceLane(name: string, { model, recipe }: Pick<Run, "model" | "recipe">): ChoiceLane {
  return {
    name: `${name} choices`,
    costOf: ({ promptIds, trie }) => promptIds.length + trie.inner.length,
    bounds: () => ({ items: MOST_QUESTIONS, cost: MOST_TOKENS }),
    async turn(jobs) {
      const questions = jobs.map(({ item }) => item);
      for (const batch of batchQuestions(questions, recipe.decode.maxBatchTokens, model.spec.promptAttention)) {
        const found = await labelProbabilities(
          model,
          batch.map((i) => questions[i]),
        );
        for (const [j, i] of batch.entries()) jobs[i].settle(found[j]);
      }
    },
  };
}

/** Tokens to score, given all before them. */
export interface TextToScore {
  ids: readonly number[];
  from: number;
  top: number;
  promptTokens: number;
}

export type ScoreLane = Lane<TextToScore, ScoredToken[]>;

/** Logits that one pass may give: each is a number of four bytes, read at once. */
const MOST_LOGITS = 1 << 24;

/** Scores given texts, one after the other. */
export function createScoreLane(name: string, { model }: Pick<Run, "model">): ScoreLane {
  return {
    name: `${name} scores`,
    costOf: ({ ids }) => ids.length,
    bounds: () => ({ items: 4, cost: 2048 }),
    async turn(jobs) {
      for (const job of jobs) job.settle(await scoreTokens(model, job.item.ids, job.item));
    },
  };
}

/** Whether the most likely tokens of a text can be told. */
export function canScore({ model }: Pick<Run, "model">, { ids, from, top }: TextToScore): boolean {
  return top === 0 || (ids.length - from) * model.spec.vocabularySize <= MOST_LOGITS;
}
