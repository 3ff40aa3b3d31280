import type { Example } from "../data/example.ts";
import type { LabelMask } from "../data/label-types.ts";
import type { Extraction, Extractor, Unextracted } from "../extract/extractor.ts";
import type { MentionModel } from "../extract/mention-finder.ts";
import type { FoundMention } from "../extract/mention-scores.ts";
import { createPace } from "./pace.ts";
import type { Lane } from "./scheduler.ts";

/** A pair to ask. */
export interface Question {
  example: Example;
  mask: LabelMask | null;
}

export type ExtractLane = Lane<Question, Extraction | Unextracted>;
export type MentionLane = Lane<string, FoundMention[]>;

/** What a prompt costs besides its sentence, in UTF-16 units of text. */
const PROMPT_COST = 48;

/** The pairs of all requests to one run. */
export function createExtractLane(name: string, extractor: Extractor, maxPromptTokens: number): ExtractLane {
  const pace = createPace();
  // A longer sentence is shortened.
  const costOf = ({ example }: Question) => Math.min(example.sentence.length, maxPromptTokens) + PROMPT_COST;
  return {
    name: `${name} pairs`,
    costOf,
    bounds: () => pace.bounds(),
    async turn(jobs) {
      const examples = jobs.map(({ item }) => item.example);
      const masks = jobs.map(({ item }) => item.mask);
      const cost = jobs.reduce((sum, { item }) => sum + costOf(item), 0);
      const results = await pace.measure(jobs.length, cost, () => extractor.extractEach(examples, masks));
      for (const [i, job] of jobs.entries()) job.settle(results[i]);
    },
  };
}

/** The sentences of all requests whose mentions a run finds. */
export function createMentionLane(name: string, mentions: Pick<MentionModel, "find">): MentionLane {
  const pace = createPace();
  return {
    name: `${name} mentions`,
    // Every part of a sentence is an answer.
    costOf: (sentence) => 8 * sentence.length + PROMPT_COST,
    bounds: () => pace.bounds(),
    async turn(jobs) {
      const sentences = jobs.map(({ item }) => item);
      const cost = sentences.reduce((sum, { length }) => sum + 8 * length + PROMPT_COST, 0);
      const found = await pace.measure(jobs.length, cost, () => mentions.find(sentences));
      for (const [i, job] of jobs.entries()) job.settle(found[i]);
    },
  };
}

/** An extractor whose pairs wait and share turns with those of other requests; its answers are the given one's. */
export function queuedExtractor(
  extractor: Extractor,
  ask: (questions: readonly Question[]) => Promise<(Extraction | Unextracted)[]>,
): Extractor {
  return {
    ...extractor,
    extract: () => Promise.reject(new Error("A queued extractor answers extractEach only.")),
    extractEach: (examples, masks = []) => ask(examples.map((example, i) => ({ example, mask: masks[i] ?? null }))),
  };
}
