import type { PageTriple, SentencePlace, TripleMention } from "./page-triple.ts";
import { isSameMention } from "./results.ts";

/** Two places of a sentence, and the relation between them that is looked at; null where the model gave none. */
export interface PairSelection {
  document: string;
  sentence: SentencePlace;
  head: TripleMention;
  tail: TripleMention;
  key: string | null;
}

/** What the user has chosen. */
export type Selection =
  | { kind: "pair"; pair: PairSelection }
  /** One mention, which waits for another one. */
  | { kind: "mention"; document: string; sentence: SentencePlace; mention: TripleMention }
  | null;

export function selectTriple(triple: PageTriple): Selection {
  const { document, sentence, sentenceStart, head, tail, headSpan, key } = triple;
  const place = { text: sentence, start: head.startUtf16 - headSpan[0], startPoints: sentenceStart };
  return { kind: "pair", pair: { document, sentence: place, head, tail, key } };
}

/** What a click on a mention selects: the first one waits, the second one of the sentence makes a pair. */
export function selectMention(
  before: Selection,
  document: string,
  sentence: SentencePlace,
  mention: TripleMention,
): Selection {
  const waits = before?.kind === "mention" && before.document === document && before.sentence.start === sentence.start;
  if (!waits) return { kind: "mention", document, sentence, mention };
  if (isSameMention(before.mention, mention)) return null;
  return { kind: "pair", pair: { document, sentence, head: before.mention, tail: mention, key: null } };
}
