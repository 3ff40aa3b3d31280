import { type Example, mentionsOf, type Span } from "../data/example.ts";

/** In the place of a part of a sentence that was left out. */
const GAP = "…";

/**
 * The example with only the characters near its entities: `reach` code units on each side of the head and of the tail, "…" where text
 * between the two was left out. Without spans the two nearest occurrences are kept. Entities stay whole.
 */
export function shortenSentence(example: Example, reach: number): Example {
  const { sentence } = example;
  const [head, tail] = nearestMentions(example);
  const [first, second] = head.start <= tail.start ? [head, tail] : [tail, head];
  const left = widened(sentence, first, reach);
  const right = widened(sentence, second, reach);
  const shift = { from: right.start, by: left.start };
  let text: string;
  if (right.start <= left.end) {
    text = sentence.slice(left.start, Math.max(left.end, right.end));
  } else {
    text = sentence.slice(left.start, left.end) + GAP + sentence.slice(right.start, right.end);
    shift.by += right.start - left.end - GAP.length;
  }
  const moved = ({ start, end }: Span): Span => {
    const by = start >= shift.from ? shift.by : left.start;
    return { start: start - by, end: end - by };
  };
  const shortened: Example = { ...example, sentence: text };
  if (example.headSpan !== undefined) shortened.headSpan = moved(head);
  if (example.tailSpan !== undefined) shortened.tailSpan = moved(tail);
  return shortened;
}

function nearestMentions({ sentence, head, tail, headSpan, tailSpan }: Example): [Span, Span] {
  const heads = mentionsOf(sentence, head, headSpan);
  const tails = mentionsOf(sentence, tail, tailSpan);
  let best: [Span, Span] = [heads[0], tails[0]];
  let bestGap = Number.POSITIVE_INFINITY;
  // Both lists are in the order of the text: advancing the earlier of the two each time meets the nearest pair.
  for (let i = 0, j = 0; i < heads.length && j < tails.length; ) {
    const gap = Math.abs(heads[i].start - tails[j].start);
    if (gap < bestGap) {
      best = [heads[i], tails[j]];
      bestGap = gap;
    }
    if (heads[i].start <= tails[j].start) i++;
    else j++;
  }
  return best;
}

/** The span with `reach` more on both sides, inside the sentence and never through the middle of a surrogate pair. */
function widened(sentence: string, span: Span, reach: number): Span {
  let start = Math.max(0, span.start - reach);
  let end = Math.min(sentence.length, span.end + reach);
  if (start > 0 && isLowSurrogate(sentence, start)) start--;
  if (end < sentence.length && isLowSurrogate(sentence, end)) end++;
  return { start, end };
}

function isLowSurrogate(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff;
}
