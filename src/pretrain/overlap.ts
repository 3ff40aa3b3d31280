/** Two texts that share a substring of this length count as having one origin. */
export const OVERLAP_CHARACTERS = 18;

/** Sentences that must not be trained on. */
export interface OverlapIndex {
  /** Whether a text has 18 consecutive characters of one of the sentences. */
  sharesRun(text: string): boolean;
  /** Likewise for a single sentence; it also repeats one when either of the two contains the other. */
  repeats(sentence: string): boolean;
}

export function createOverlapIndex(sentences: Iterable<string>): OverlapIndex {
  const distinct = [...new Set(sentences)];
  const runs = new Set<string>();
  for (const sentence of distinct) for (const run of runsOf(sentence)) runs.add(run);
  const short = distinct.filter((sentence) => sentence.length < OVERLAP_CHARACTERS);
  const together = distinct.join("\n");
  const sharesRun = (text: string): boolean => {
    for (const run of runsOf(text)) if (runs.has(run)) return true;
    return false;
  };
  return {
    sharesRun,
    repeats: (sentence) =>
      sharesRun(sentence) || short.some((one) => sentence.includes(one)) || together.includes(sentence),
  };
}

function* runsOf(text: string): Generator<string> {
  for (let at = 0; at + OVERLAP_CHARACTERS <= text.length; at++) yield text.slice(at, at + OVERLAP_CHARACTERS);
}
