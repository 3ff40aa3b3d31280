import { ownTurn } from "../base/loop-turns.ts";
import type { Document, Sentence } from "../documents/document.ts";
import type { Mention, MentionFinder, SlowMentionFinder } from "../documents/mention.ts";

/** Characters that are searched between two pauses. */
const PART = 10_000;

/** Finds in a long text part by part, with pauses for other requests. Parts end with sentences, so no mention within one is lost. */
export function findInParts(finder: MentionFinder): SlowMentionFinder {
  return {
    async find(document, sentences) {
      if (document.text.length <= PART) return finder.find(document, sentences);
      const found: Mention[] = [];
      for (const part of partsOf(sentences)) {
        await ownTurn();
        const start = part[0].start;
        const inside = part.map((sentence) => ({
          ...sentence,
          start: sentence.start - start,
          end: sentence.end - start,
        }));
        const own: Document = { ...document, text: document.text.slice(start, part[part.length - 1].end) };
        for (const mention of finder.find(own, inside)) {
          found.push({ ...mention, start: mention.start + start, end: mention.end + start });
        }
      }
      return found;
    },
  };
}

function* partsOf(sentences: readonly Sentence[]): Generator<Sentence[]> {
  let part: Sentence[] = [];
  for (const sentence of sentences) {
    part.push(sentence);
    if (sentence.end - part[0].start < PART) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}
