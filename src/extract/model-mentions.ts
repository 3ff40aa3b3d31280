import type { Entities } from "../documents/entities.ts";
import { combinedMentions, type Mention, type SlowMentionFinder } from "../documents/mention.ts";
import type { MentionModel } from "./mention-finder.ts";

/** Sentences that the model reads in one go. */
const SENTENCES = 256;

/**
 * The mentions of some sources and those that a model finds. A known name wins over a mention of the model that it overlaps: the model only finds what
 * is not known. The id of a mention of the model is its text.
 */
export function withModelMentions(
  { finder, overlap }: { finder: SlowMentionFinder } & Pick<Entities, "overlap">,
  model: Pick<MentionModel, "find">,
): SlowMentionFinder {
  return {
    async find(document, sentences) {
      const known = await finder.find(document, sentences);
      const found: Mention[] = [];
      for (let from = 0; from < sentences.length; from += SENTENCES) {
        const some = sentences.slice(from, from + SENTENCES);
        const mentions = await model.find(some.map(({ text }) => text));
        for (const [i, ofSentence] of mentions.entries()) {
          for (const { text, starts, probability } of ofSentence) {
            for (const at of starts) {
              const start = some[i].start + at;
              found.push({ start, end: start + text.length, id: text, name: text, type: null, probability });
            }
          }
        }
      }
      const isFree = ({ start, end }: Mention) => known.every((one) => end <= one.start || start >= one.end);
      return combinedMentions([...known, ...found.filter(isFree)], overlap);
    },
  };
}
