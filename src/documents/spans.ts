/** A part of a sentence that may be a name. Offsets are UTF-16 code units. */
export interface CandidateSpan {
  text: string;
  /** Every place of the text in the sentence, in order. */
  starts: number[];
}

/** Longest span in units: Chinese characters, and whole Latin words or numbers. */
export const MAX_SPAN_UNITS = 24;

/** Latin words and numbers stay whole; every other code point is a unit. */
const UNIT = /[A-Za-zÀ-ɏ0-9＋+&.'’_-]*[A-Za-zÀ-ɏ0-9][A-Za-zÀ-ɏ0-9＋+&'’_-]*|[\s\S]/gu;
/** No name has these inside: ends of sentences and clauses, line breaks. */
const BREAK = /^[。！？!?；;，,：:…\n\r\t]$/u;
/** No name begins or ends with these. */
const EDGE = /^[\s\p{P}]$/u;
/** Brackets and quotes that a name may begin or end with, in pairs. */
const PAIRS: Readonly<Record<string, string>> = { "《": "》", "“": "”", "「": "」", "（": "）", "(": ")" };

/**
 * The parts of a sentence that may be names: whole units, at most {@link MAX_SPAN_UNITS}, not across a comma or the end of a sentence, without
 * punctuation at their ends (a closed pair such as 《红楼梦》 is allowed). Equal texts are one candidate.
 */
export function candidateSpans(sentence: string, maxUnits = MAX_SPAN_UNITS): CandidateSpan[] {
  const units = Array.from(sentence.matchAll(UNIT), (match) => ({ text: match[0], start: match.index }));
  const found = new Map<string, CandidateSpan>();
  for (const [first, { text: opening, start }] of units.entries()) {
    const closing = PAIRS[opening];
    if (BREAK.test(opening) || (EDGE.test(opening) && closing === undefined)) continue;
    const end = Math.min(units.length, first + maxUnits);
    for (let last = first; last < end; last++) {
      const unit = units[last];
      if (BREAK.test(unit.text)) break;
      const isClosed = closing !== undefined && unit.text === closing;
      if (EDGE.test(unit.text) && !isClosed && !closes(units, first, last)) continue;
      if (closing !== undefined && !isClosed && !holds(units, first, last, closing)) continue;
      const text = sentence.slice(start, unit.start + unit.text.length);
      const known = found.get(text);
      if (known) known.starts.push(start);
      else found.set(text, { text, starts: [start] });
    }
  }
  return [...found.values()];
}

type Unit = { text: string; start: number };

/** Whether the last unit closes a pair that was opened inside the span: 联想集团（香港）. */
function closes(units: readonly Unit[], first: number, last: number): boolean {
  const opening = Object.keys(PAIRS).find((one) => PAIRS[one] === units[last].text);
  if (opening === undefined) return false;
  for (let i = last - 1; i > first; i--) if (units[i].text === opening) return true;
  return false;
}

function holds(units: readonly Unit[], first: number, last: number, text: string): boolean {
  for (let i = first + 1; i <= last; i++) if (units[i].text === text) return true;
  return false;
}
