import { createTape } from "../compute/autograd.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import { packSequences } from "../models/shared-prefixes.ts";
import { type TokenScore, tokenScores } from "./draw.ts";

/** log P of a token behind all before it, and of the most likely tokens at its place. */
export interface ScoredToken {
  id: number;
  /** Null for the first token of a text, which has nothing before it. */
  logProbability: number | null;
  top: TokenScore[];
}

/**
 * Scores the tokens of a text from place `from` on, given all before them; `top` most likely ones with each. `promptTokens` is how many see each
 * other in a model that reads prompts so. Memory: V numbers for each scored token when `top` is above 0.
 */
export async function scoreTokens(
  model: Decoder,
  ids: ArrayLike<number>,
  options: { from: number; top: number; promptTokens: number },
): Promise<ScoredToken[]> {
  const from = Math.max(1, options.from);
  const scored: ScoredToken[] =
    options.from === 0 && ids.length > 0 ? [{ id: ids[0], logProbability: null, top: [] }] : [];
  if (from >= ids.length) return scored;
  const { backend, spec } = model;
  const bidirectional = spec.promptAttention === "both" ? [Math.min(options.promptTokens, ids.length - 1)] : null;
  // The last token is only asked for.
  const packed = packSequences([Array.from(ids).slice(0, -1)], false, bidirectional);
  const places = Array.from({ length: ids.length - from }, (_, i) => from + i);
  const outputRows = Int32Array.from(places, (place) => packed.rows[0][place - 1]);
  const tape = createTape(backend, { record: false });
  try {
    const logits = forward(model, tape, { ids: packed.ids, segments: packed.segments, outputRows });
    if (options.top === 0) {
      const tokens = Int32Array.from(places, (place) => ids[place]);
      const scores = backend.logProbabilities(logits.tensor, Int32Array.from(places.keys()), tokens);
      const values = backend.read(scores);
      backend.free(scores);
      const read = await values;
      for (const [i, place] of places.entries()) scored.push({ id: ids[place], logProbability: read[i], top: [] });
      return scored;
    }
    const values = await backend.read(logits.tensor);
    for (const [i, place] of places.entries()) {
      const row = values.subarray(i * spec.vocabularySize, i * spec.vocabularySize + spec.tokenCount);
      const { own, top } = tokenScores(row, ids[place], options.top);
      scored.push({ id: ids[place], logProbability: own, top });
    }
    return scored;
  } finally {
    tape.dispose();
  }
}
