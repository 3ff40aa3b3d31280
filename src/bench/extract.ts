import { createRandom } from "../base/random.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { noTokens, type TokenCount } from "../decode/label-trie.ts";
import type { Extractor } from "../extract/extractor.ts";
import { questionsOfPair } from "../extract/pair-answers.ts";

/** Extraction of some rows, measured several times. */
export interface ExtractSpeed {
  rows: number;
  /** Median over the rounds. */
  rowsPerSecond: number;
  /** Tokens of a row's prompts, and tokens that were computed for it, labels included. */
  promptTokens: number;
  computedTokens: number;
  /** Tokens of a row's generated answer, and those of them that were accepted from drafts; 0 with method "labels". */
  generatedTokens: number;
  acceptedTokens: number;
  /** Of a round. */
  passes: number;
}

/** Measures an extractor on the same rows, after a round that does not count. */
export async function measureExtraction(
  extractor: Extractor,
  examples: readonly Example[],
  rounds: number,
  onRound: (done: number) => void = () => {},
): Promise<ExtractSpeed> {
  const seconds: number[] = [];
  let tokens = noTokens();
  for (let round = 0; round <= rounds; round++) {
    const before = { ...noTokens(), ...extractor.tokens };
    const started = performance.now();
    await extractor.extract(examples);
    if (round > 0) seconds.push((performance.now() - started) / 1000);
    tokens = tokensSince(before, { ...noTokens(), ...extractor.tokens });
    onRound(round);
  }
  const sorted = seconds.sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  return {
    rows: examples.length,
    rowsPerSecond: examples.length / median,
    promptTokens: tokens.prompt / examples.length,
    computedTokens: tokens.computed / examples.length,
    generatedTokens: tokens.generated / examples.length,
    acceptedTokens: tokens.accepted / examples.length,
    passes: tokens.passes,
  };
}

function tokensSince(before: TokenCount, after: TokenCount): TokenCount {
  return {
    prompt: after.prompt - before.prompt,
    computed: after.computed - before.computed,
    passes: after.passes - before.passes,
    generated: after.generated - before.generated,
    accepted: after.accepted - before.accepted,
  };
}

/** Sentences that are as long as those of some rows and name `entities` entities each. */
export interface ManyEntities {
  /** One pair of each sentence. */
  one: Example[];
  /** What documents ask about all pairs of each sentence: one order of a pair where every label has a declared inverse, else both. */
  all: Example[];
  /** Pairs of both orders that these questions decide. */
  orderedPairs: number;
}

/** Sentences with many entities, and the questions about them. */
export function manyEntities(
  rows: readonly Example[],
  sentences: number,
  entities: number,
  labels: LabelSet,
): ManyEntities {
  const random = createRandom(1);
  const names = [...new Set(rows.flatMap(({ head, tail }) => [head, tail]))];
  const made: ManyEntities = { one: [], all: [], orderedPairs: 0 };
  for (let i = 0; i < sentences; i++) {
    const chosen = new Set<string>();
    for (let tries = 0; chosen.size < Math.min(entities, names.length) && tries < 100 * entities; tries++) {
      chosen.add(names[random.below(names.length)]);
    }
    const own = [...chosen];
    const sentence = `${rows[i % rows.length].sentence}${own.join("、")}。`;
    const pairs = own.flatMap((first, k) =>
      own.slice(k + 1).map((second) => ({
        forward: { sentence, head: first, tail: second },
        backward: { sentence, head: second, tail: first },
        isLabelled: false,
      })),
    );
    made.one.push(pairs[0].forward);
    for (const pair of pairs) made.all.push(...questionsOfPair(pair, labels));
    made.orderedPairs += 2 * pairs.length;
  }
  return made;
}
