import { UserErrors } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { type Span, spanProblem } from "./example.ts";
import { isObject, isRange } from "./formats/labelled.ts";
import { type Normalization, normalizedExample } from "./normalize.ts";
import type { SplitName } from "./split.ts";

/** A sentence with the places of all of its entities, those without a relation too. */
export interface AnnotatedSentence {
  sentence: string;
  mentions: readonly Span[];
}

/** Mentions of one sentence at most: more are a slip, and their pairs would fill the memory. */
export const MOST_MENTIONS = 300;
const MAX_LINE_BYTES = 1_000_000;
const MAX_SHOWN = 20;

/** The file of a data folder with the mentions of a split. */
export function mentionsFileName(split: SplitName): string {
  return `${split}.mentions.jsonl`;
}

/** A line of that file, without a line end. */
export function mentionsLine({ sentence, mentions }: AnnotatedSentence): string {
  return JSON.stringify({ sentence, mentions: mentions.map(({ start, end }) => [start, end]) });
}

/** Reads the mentions of a split, normalised as its rows are. Throws UserErrors for rows that cannot be used. */
export async function readMentionsFile(file: string, normalize: Normalization = "none"): Promise<AnnotatedSentence[]> {
  const sentences: AnnotatedSentence[] = [];
  const problems: string[] = [];
  for await (const { number, text, problem } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
    if (text?.trim() === "") continue;
    const found = text === null ? (problem as string) : annotatedSentence(text, normalize);
    if (typeof found === "string") problems.push(`${file}, line ${number}: ${found}.`);
    else sentences.push(found);
  }
  if (problems.length === 0) return sentences;
  const shown = problems.slice(0, MAX_SHOWN);
  if (problems.length > shown.length) shown.push(`… and ${problems.length - shown.length} more`);
  throw new UserErrors(`${file}: ${problems.length} rows cannot be used:`, shown);
}

/** The sentence of a line, or what is wrong with it. */
function annotatedSentence(text: string, normalize: Normalization): AnnotatedSentence | string {
  const row = parsed(text);
  if (!isObject(row) || typeof row.sentence !== "string" || !Array.isArray(row.mentions)) {
    return 'got no sentence with mentions, expected {"sentence": TEXT, "mentions": [[start, end], …]}';
  }
  const { sentence, mentions } = row;
  if (mentions.length > MOST_MENTIONS) return `got ${mentions.length} mentions, expected at most ${MOST_MENTIONS}`;
  const spans: Span[] = [];
  let whole = sentence;
  for (const place of mentions) {
    const [start, end] = Array.isArray(place) && place.length === 2 ? place : [];
    if (!isRange(start, end, sentence.length)) {
      return `got the mention ${JSON.stringify(place)}, expected [start, end] in UTF-16 units within the ${sentence.length} of the sentence`;
    }
    const name = sentence.slice(start, end);
    const span = { start, end };
    const problem = /\p{Surrogate}/u.test(name)
      ? "half a surrogate pair"
      : spanProblem(sentence, "mention", name, span);
    if (problem !== null) return `got the mention [${start}, ${end}] with ${problem}, expected whole characters`;
    const moved = normalizedExample({ sentence, head: name, tail: name, headSpan: span, tailSpan: span }, normalize);
    if (typeof moved === "string") return moved;
    spans.push(moved.headSpan as Span);
    whole = moved.sentence;
  }
  return { sentence: whole, mentions: spans };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
