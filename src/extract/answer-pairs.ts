import type { LabelSet } from "../data/example.ts";
import type { Pair, PairQuestion } from "../documents/pairs.ts";
import type { Extraction, Extractor, Unextracted } from "./extractor.ts";
import { type Decision, decidePair } from "./triples.ts";

/** What was decided of a pair, and whether its sentence had to be shortened. */
export type AnsweredPair = Decision & { truncated: boolean };

/** The questions of a pair: one for each order that is asked. */
export const questionsOf = ({ forward, backward }: Pair): PairQuestion[] => [forward ?? [], backward ?? []].flat();

/** Asks pairs together and decides each from its answers; a pair that cannot be asked gives its problem. */
export async function answerPairs(
  extractor: Extractor,
  pairs: readonly Pair[],
  labels: LabelSet,
  leastProbability: (relation: string) => number,
): Promise<(AnsweredPair | Unextracted)[]> {
  const questions = pairs.flatMap(questionsOf);
  const answers = await extractor.extractEach(
    questions.map(({ example }) => example),
    questions.map(({ mask }) => mask),
  );
  let next = 0;
  return pairs.map((pair) => {
    const forward = pair.forward && answers[next++];
    const backward = pair.backward && answers[next++];
    const problem = problemOf(forward) ?? problemOf(backward);
    if (problem !== null) return { problem };
    const own = { forward: forward as Extraction | null, backward: backward as Extraction | null };
    const truncated = own.forward?.truncated === true || own.backward?.truncated === true;
    return { ...decidePair(pair, own, labels, leastProbability), truncated };
  });
}

function problemOf(answer: Extraction | Unextracted | null): string | null {
  return answer !== null && "problem" in answer ? answer.problem : null;
}
