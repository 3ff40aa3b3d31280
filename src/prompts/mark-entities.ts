import { type Example, mentionsOf } from "../data/example.ts";

/** Puts `[` `]` around every occurrence of the entity, from the left, without overlaps. */
export function wrapEveryOccurrence(text: string, entity: string): string {
  return text.split(entity).join(`[${entity}]`);
}

interface Mark {
  at: number;
  /** Where the mention's other end is. */
  other: number;
  text: "[" | "]" | "{" | "}";
}

/**
 * Puts `[` `]` around the mentions of the head and `{` `}` around those of the tail. The longer of two nested mentions is outside, of
 * two equal ones the head; mentions that cross keep both pairs of marks (`[A{B]C}`), each at the ends of its mention.
 */
export function wrapMentions(example: Example): string {
  const { sentence, head, tail, headSpan, tailSpan } = example;
  const marks: Mark[] = [
    ...mentionsOf(sentence, head, headSpan).flatMap((mention) => marksOf(mention.start, mention.end, "[", "]")),
    ...mentionsOf(sentence, tail, tailSpan).flatMap((mention) => marksOf(mention.start, mention.end, "{", "}")),
  ];
  marks.sort(inOrderOfText);
  let text = "";
  let at = 0;
  for (const mark of marks) {
    text += sentence.slice(at, mark.at) + mark.text;
    at = mark.at;
  }
  return text + sentence.slice(at);
}

function marksOf(start: number, end: number, open: "[" | "{", close: "]" | "}"): Mark[] {
  return [
    { at: start, other: end, text: open },
    { at: end, other: start, text: close },
  ];
}

/** At one place: ends before beginnings, inner ends and outer beginnings first, of two equal mentions the head outside. */
function inOrderOfText(a: Mark, b: Mark): number {
  if (a.at !== b.at) return a.at - b.at;
  const isOpen = (mark: Mark) => mark.other > mark.at;
  if (isOpen(a) !== isOpen(b)) return isOpen(a) ? 1 : -1;
  if (a.other !== b.other) return b.other - a.other;
  const isHeadFirst = isOpen(a);
  const rank = (mark: Mark) => ((mark.text === "[" || mark.text === "]") === isHeadFirst ? 0 : 1);
  return rank(a) - rank(b);
}

/**
 * The words between the nearest mentions of head and tail, with `[]` for the head and `{}` for the tail, in the order of the sentence; the
 * entities themselves and the other words are left out. Mentions that overlap have nothing between them.
 */
export function textBetween(example: Example): string {
  const { sentence, head, tail, headSpan, tailSpan } = example;
  const tails = mentionsOf(sentence, tail, tailSpan);
  let nearest: { from: number; to: number; isHeadFirst: boolean } | null = null;
  let next = 0; // the first tail that does not start before the head
  for (const headMention of mentionsOf(sentence, head, headSpan)) {
    while (next < tails.length && tails[next].start < headMention.start) next++;
    // Of the tails on one side of a head only the next one can be the nearest, so the cost is linear in the mentions.
    for (const tailMention of tails.slice(Math.max(0, next - 1), next + 1)) {
      const isHeadFirst = headMention.start <= tailMention.start;
      const [first, second] = isHeadFirst ? [headMention, tailMention] : [tailMention, headMention];
      const between = { from: first.end, to: Math.max(first.end, second.start), isHeadFirst };
      if (nearest === null || between.to - between.from < nearest.to - nearest.from) nearest = between;
    }
  }
  if (nearest === null) throw new Error("textBetween needs an example whose head and tail occur in its sentence.");
  const text = sentence.slice(nearest.from, nearest.to);
  return nearest.isHeadFirst ? `[]${text}{}` : `{}${text}[]`;
}
