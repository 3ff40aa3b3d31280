import { splitSentences } from "../../../documents/sentences.ts";
import { codePoints, type SentencePlace } from "./page-triple.ts";

/** Whole sentences of a text that are asked in one request. */
export interface TextPart {
  text: string;
  /** UTF-16 units and code points of the text before it. */
  start: number;
  startPoints: number;
  sentences: number;
}

/** A part is answered within a second or two, so that progress is seen and a request never runs into its time limit. */
const PART_CHARACTERS = 2_000;

/** The sentences of a text, cut as the server cuts them. */
export function sentencesOf(text: string, maxCharacters: number): SentencePlace[] {
  let [at, points] = [0, 0];
  return splitSentences(text, { maxCharacters }).map((sentence) => {
    points += codePoints(text.slice(at, sentence.start));
    at = sentence.start;
    return { text: sentence.text, start: sentence.start, startPoints: points };
  });
}

/** Cuts a text into parts of whole sentences; all together they have every sentence once. */
export function partsOf(text: string, maxCharacters: number, most: number = PART_CHARACTERS): TextPart[] {
  const parts: TextPart[] = [];
  let own: SentencePlace[] = [];
  const end = ({ text: own, start }: SentencePlace) => start + own.length;
  const close = () => {
    const [first, last] = [own[0], own[own.length - 1]];
    const { start, startPoints } = first;
    parts.push({ text: text.slice(start, end(last)), start, startPoints, sentences: own.length });
    own = [];
  };
  for (const sentence of sentencesOf(text, maxCharacters)) {
    if (own.length > 0 && end(sentence) - own[0].start > most) close();
    own.push(sentence);
  }
  if (own.length > 0) close();
  return parts;
}
