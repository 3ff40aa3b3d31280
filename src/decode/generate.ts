import type { Random } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import type { AttentionSegment } from "../compute/backend.ts";
import { createCache, type Decoder, forward, freeCache, type KeyValueCache } from "../models/decoder.ts";

/** How the next token is drawn; without sampling it is the most likely one (greedy). */
export interface Sampling {
  temperature: number;
  /** Keep the most likely tokens up to this much probability. */
  topP: number;
  /** Most tokens to keep; 0 keeps all. */
  topK: number;
  random: Random;
}

export interface GenerateOptions {
  maxNewTokens: number;
  /** Ends a sequence; not part of the result. */
  eosId: number | null;
  sampling?: Sampling | null;
  /** Called with each new token of sequence `index`. */
  onToken?: (index: number, token: number) => void;
}

export interface Generated {
  ids: number[];
  /** False when the sequence was cut at maxNewTokens. */
  ended: boolean;
}

/**
 * Continues all prompts in one batch with one key/value cache; sequences that have ended leave the batch.
 * Memory: Σ (prompt + maxNewTokens) rows of keys and values in each layer.
 */
export async function generate(
  model: Decoder,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): Promise<Generated[]> {
  const results: Generated[] = prompts.map(() => ({ ids: [], ended: false }));
  if (prompts.length === 0 || options.maxNewTokens === 0) return results;
  const bases: number[] = [];
  let capacity = 0;
  for (const prompt of prompts) {
    bases.push(capacity);
    capacity += prompt.length + options.maxNewTokens;
  }
  const cache = createCache(model, capacity);
  try {
    let live = prompts.map((_, i) => i);
    let fed: ArrayLike<number>[] = [...prompts];
    const lengths = prompts.map(() => 0); // rows in the cache so far
    while (live.length > 0) {
      const next = await nextTokens(model, cache, live, fed, bases, lengths, options.sampling ?? null);
      const stillLive: number[] = [];
      fed = [];
      for (const [i, index] of live.entries()) {
        const token = next[i];
        const result = results[index];
        if (token === options.eosId) {
          result.ended = true;
          continue;
        }
        result.ids.push(token);
        options.onToken?.(index, token);
        if (result.ids.length >= options.maxNewTokens) continue;
        stillLive.push(index);
        fed.push([token]);
      }
      live = stillLive;
    }
    return results;
  } finally {
    freeCache(model, cache);
  }
}

/** Feeds the new tokens of the live sequences and picks the token after each. */
async function nextTokens(
  model: Decoder,
  cache: KeyValueCache,
  live: readonly number[],
  fed: readonly ArrayLike<number>[],
  bases: readonly number[],
  lengths: number[],
  sampling: Sampling | null,
): Promise<number[]> {
  const total = fed.reduce((sum, ids) => sum + ids.length, 0);
  const ids = new Int32Array(total);
  const cacheRows = new Int32Array(total);
  const outputRows = new Int32Array(live.length);
  const segments: AttentionSegment[] = [];
  let start = 0;
  for (const [i, index] of live.entries()) {
    const past = lengths[index];
    const count = fed[i].length;
    const keyStart = bases[index] + past;
    for (let j = 0; j < count; j++) {
      ids[start + j] = fed[i][j];
      cacheRows[start + j] = keyStart + j;
    }
    const context = past > 0 ? [{ start: bases[index], length: past, position: 0 }] : [];
    // A prompt is fed whole, in one pass: its tokens may see each other.
    const bidirectional = past === 0 && model.spec.promptAttention === "both" ? count : 0;
    segments.push({ start, length: count, keyStart, position: past, context, bidirectional });
    outputRows[i] = start + count - 1;
    lengths[index] += count;
    start += count;
  }
  const { backend } = model;
  const tape = createTape(backend, { record: false });
  try {
    const logits = forward(model, tape, {
      ids,
      segments,
      outputRows,
      cache: { store: cache, rows: cacheRows },
    });
    const { vocabularySize, tokenCount } = model.spec;
    const tokenLogits = async () => {
      const values = await backend.read(logits.tensor);
      return live.map((_, i) => values.subarray(i * vocabularySize, i * vocabularySize + tokenCount));
    };
    if (sampling) return (await tokenLogits()).map((row) => pickToken(row, sampling));
    const best = backend.argmax(logits.tensor);
    const picked = Array.from(await backend.read(best));
    backend.free(best);
    if (picked.every((id) => id < tokenCount)) return picked;
    // A padding row of the vocabulary was the largest: choose again among the tokens.
    return (await tokenLogits()).map(largest);
  } finally {
    tape.dispose();
  }
}

/** Index of the largest value, the first one on ties. */
function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Draws a token: temperature first, then the top-k and top-p cuts (Holtzman et al. 2020). */
export function pickToken(logits: ArrayLike<number>, sampling: Sampling): number {
  const { temperature, topP, topK, random } = sampling;
  const order = Array.from({ length: logits.length }, (_, i) => i).sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = topK > 0 ? order.slice(0, topK) : order;
  const best = logits[kept[0]];
  const weights = kept.map((id) => Math.exp((logits[id] - best) / Math.max(temperature, 1e-6)));
  const total = weights.reduce((a, b) => a + b, 0);
  let mass = 0;
  let size = 0;
  while (size < kept.length && mass < topP * total) mass += weights[size++];
  size = Math.max(1, size);
  const target = random.uniform() * weights.slice(0, size).reduce((a, b) => a + b, 0);
  let sum = 0;
  for (let i = 0; i < size; i++) {
    sum += weights[i];
    if (target < sum) return kept[i];
  }
  return kept[size - 1];
}
