import { createHash } from "node:crypto";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Example } from "../data/example.ts";
import { inputKey } from "../data/split.ts";
import type { Shots } from "./instruct.ts";

export interface ShotOptions {
  count: number;
  by: "nearest" | "random";
  seed: number;
}

/** The shots of a question, the most similar one last: right before the question. */
export type ShotsOf = (example: Example) => Shots;

/** The share of rows beyond which a pair of characters says nothing. */
const COMMON_SHARE = 0.3;
/** The value of an equal entity, in pairs of characters that occur once. */
const ENTITY_PAIRS = 3;

/**
 * Chooses training rows to show with each question: the nearest by entities and by words (pairs of neighbouring characters, rare ones counting
 * more), or random ones, which depend on the question and the seed only. Never a row of the question's own sentence.
 */
export function createShots(rows: readonly Example[], { count, by, seed }: ShotOptions): ShotsOf {
  const usable = rows.filter(({ relations = [] }) => relations.length > 0);
  if (count === 0) return () => [];
  return by === "random" ? randomShots(usable, count, seed) : nearestShots(usable, count);
}

const sentenceKey = (sentence: string) => sentence.replace(/\s+/g, "");

function randomShots(rows: readonly Example[], count: number, seed: number): ShotsOf {
  return (example) => {
    const digest = createHash("sha256").update(inputKey(example)).digest();
    const random = createRandom(mixSeed(seed, digest.readUInt32LE(0), digest.readUInt32LE(4)));
    const own = sentenceKey(example.sentence);
    const chosen = new Set<number>();
    // Rows of the own sentence are few; the bound ends the search where there are no others.
    for (let tries = 0; chosen.size < count && tries < 20 * count + 100; tries++) {
      const place = random.below(Math.max(1, rows.length));
      if (place < rows.length && sentenceKey(rows[place].sentence) !== own) chosen.add(place);
    }
    return [...chosen].map((place) => rows[place]);
  };
}

/** The distinct pairs of neighbouring characters of a text. */
function pairsOf(text: string): Set<string> {
  const characters = Array.from(sentenceKey(text));
  return new Set(characters.slice(1).map((character, i) => characters[i] + character));
}

function nearestShots(rows: readonly Example[], count: number): ShotsOf {
  const rowsOf = new Map<string, number[]>();
  const add = (key: string, row: number) => {
    const known = rowsOf.get(key);
    if (known) known.push(row);
    else rowsOf.set(key, [row]);
  };
  const lengths = new Float64Array(rows.length);
  for (const [row, { sentence, head, tail }] of rows.entries()) {
    const pairs = pairsOf(sentence);
    lengths[row] = Math.sqrt(pairs.size + 1);
    for (const pair of pairs) add(pair, row);
    // Entities have keys that no pair of characters has.
    for (const entity of new Set([head, tail])) add(`\n${entity}`, row);
  }
  const keys = rows.map(({ sentence }) => sentenceKey(sentence));
  return (example) => {
    const scores = new Float64Array(rows.length);
    const collect = (key: string, value: number) => {
      const found = rowsOf.get(key) ?? [];
      if (found.length > COMMON_SHARE * rows.length && rows.length > 50) return;
      const weight = value * Math.log(1 + rows.length / (1 + found.length));
      for (const row of found) scores[row] += weight;
    };
    for (const pair of pairsOf(example.sentence)) collect(pair, 1);
    for (const entity of new Set([example.head, example.tail])) collect(`\n${entity}`, ENTITY_PAIRS);
    const own = sentenceKey(example.sentence);
    const best: number[] = [];
    const nearness = (row: number) => scores[row] / lengths[row];
    for (let row = 0; row < rows.length; row++) {
      if (keys[row] === own) continue;
      const value = nearness(row);
      if (best.length === count && value <= nearness(best[count - 1])) continue;
      let place = best.length;
      while (place > 0 && nearness(best[place - 1]) < value) place--;
      best.splice(place, 0, row);
      if (best.length > count) best.pop();
    }
    return best.reverse().map((row) => rows[row]);
  };
}
