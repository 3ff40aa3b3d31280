import { splitSentences } from "../../../documents/sentences.ts";
import { codePoints, type SentencePlace } from "./page-triple.ts";

/** The sentences of a text, cut as the server cuts them. */
export function sentencesOf(text: string, maxCharacters: number): SentencePlace[] {
  let [at, points] = [0, 0];
  return splitSentences(text, { maxCharacters }).map((sentence) => {
    points += codePoints(text.slice(at, sentence.start));
    at = sentence.start;
    return { text: sentence.text, start: sentence.start, startPoints: points };
  });
}

const endOf = ({ text, start }: SentencePlace) => start + text.length;

/** The place of sentences that follow each other, with the text between them. */
export function joined(text: string, sentences: readonly SentencePlace[]): SentencePlace {
  const [first, last] = [sentences[0], sentences[sentences.length - 1]];
  const { start, startPoints } = first;
  return { text: text.slice(start, endOf(last)), start, startPoints };
}

/** Sentences of a text that are asked in one request. */
export interface Parts {
  readonly sentences: number;
  /** The next ones; null at the end. */
  next(): readonly SentencePlace[] | null;
  /** A part was answered in this time: the next ones get as long as a target time allows. */
  answered(part: readonly SentencePlace[], ms: number): void;
}

const FIRST_CHARACTERS = 400;
const MOST_CHARACTERS = 4_000;
/** Progress is seen, and a request is far from the time limit of the server. */
const TARGET_MS = 3_000;

/** Cuts a text into parts of whole sentences; all together they have every sentence once. */
export function partsOf(text: string, maxCharacters: number): Parts {
  const sentences = sentencesOf(text, maxCharacters);
  let at = 0;
  let most = FIRST_CHARACTERS;
  return {
    sentences: sentences.length,
    next() {
      if (at >= sentences.length) return null;
      const from = at++;
      while (at < sentences.length && endOf(sentences[at]) - sentences[from].start <= most) at++;
      return sentences.slice(from, at);
    },
    answered(part, ms) {
      const { length } = joined(text, part).text;
      const fitting = (length * TARGET_MS) / Math.max(1, ms);
      most = Math.round(Math.min(Math.max(fitting, most / 2), 2 * most, MOST_CHARACTERS));
    },
  };
}
