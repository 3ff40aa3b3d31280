import type { Random } from "../base/random.ts";

/** How one token is drawn: temperature 0 takes the most likely one. */
export interface Drawing {
  temperature: number;
  /** Keep the most likely tokens up to this much probability. */
  topP: number;
  random: Random;
}

/** Draws a token of those that are allowed (all where `allowed` is null); −1 where none is. */
export function drawToken(logits: ArrayLike<number>, drawing: Drawing, allowed: Uint8Array | null): number {
  let best = -1;
  for (let id = 0; id < logits.length; id++) {
    if (allowed !== null && allowed[id] === 0) continue;
    if (best < 0 || logits[id] > logits[best]) best = id;
  }
  const { temperature, topP, random } = drawing;
  if (best < 0 || temperature === 0) return best;
  let total = 0;
  let count = 0;
  const weights = new Float64Array(logits.length);
  for (let id = 0; id < logits.length; id++) {
    if (allowed !== null && allowed[id] === 0) continue;
    weights[id] = Math.exp((logits[id] - logits[best]) / temperature);
    total += weights[id];
    count++;
  }
  if (topP < 1) {
    // All tokens below this together have less than 1 − topP: none of them is kept, and the others are few enough to sort.
    const least = ((1 - topP) * total) / count;
    const likely: number[] = [];
    for (let id = 0; id < weights.length; id++) if (weights[id] >= least && weights[id] > 0) likely.push(id);
    likely.sort((a, b) => weights[b] - weights[a] || a - b);
    let mass = 0;
    let kept = 0;
    while (kept < likely.length && mass < topP * total) mass += weights[likely[kept++]];
    return pick(likely.slice(0, Math.max(1, kept)), weights, mass, random);
  }
  return pick(weights.keys(), weights, total, random);
}

function pick(ids: Iterable<number>, weights: Float64Array, total: number, random: Random): number {
  const target = random.uniform() * total;
  let sum = 0;
  let last = -1;
  for (const id of ids) {
    if (weights[id] === 0) continue;
    sum += weights[id];
    last = id;
    if (target < sum) return id;
  }
  return last;
}

/** A token with its natural logarithm of probability. */
export interface TokenScore {
  id: number;
  logProbability: number;
}

/** log P of one token, and of the `top` most likely ones with those that are named. */
export function tokenScores(
  logits: ArrayLike<number>,
  token: number,
  top: number,
  named: readonly number[] = [],
): { own: number; top: TokenScore[] } {
  let most = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) if (logits[id] > most) most = logits[id];
  let total = 0;
  for (let id = 0; id < logits.length; id++) total += Math.exp(logits[id] - most);
  const base = most + Math.log(total);
  const best: number[] = [];
  for (let id = 0; top > 0 && id < logits.length; id++) {
    if (best.length === top && logits[id] <= logits[best[top - 1]]) continue;
    let place = best.length;
    while (place > 0 && logits[id] > logits[best[place - 1]]) place--;
    best.splice(place, 0, id);
    if (best.length > top) best.pop();
  }
  const told = named.length > 0 ? [...new Set([...best, ...named])] : best;
  return { own: logits[token] - base, top: told.map((id) => ({ id, logProbability: logits[id] - base })) };
}
