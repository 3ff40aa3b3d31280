import { createTape } from "../compute/autograd.ts";
import type { AttentionSegment, Values } from "../compute/backend.ts";
import { createCache, type Decoder, forward, freeCache, type KeyValueCache } from "../models/decoder.ts";

/** A text that is continued token by token. */
export interface LiveSequence {
  promptIds: ArrayLike<number>;
  maxNewTokens: number;
  /** Hears the logits [V] behind the sequence and says the next token; null ends the sequence. The array is used again afterwards. */
  next(logits: Values): number | null;
}

/**
 * Sequences that begin and end at any time and share every pass. One key/value cache of `capacity` rows holds them; a sequence has the rows
 * of its prompt and of all its new tokens from the start, so that none has to wait in the middle.
 */
export interface LiveSequences {
  readonly size: number;
  /** Whether a sequence of this many rows would find room now. */
  hasRoom(rows: number): boolean;
  /** False when there is no room now. */
  add(sequence: LiveSequence): boolean;
  remove(sequence: LiveSequence): void;
  /** One pass: a token for every sequence whose prompt has been read. Returns those that have ended. */
  step(): Promise<LiveSequence[]>;
  /** Frees the cache; it is made again when needed. */
  free(): void;
}

/** Tokens of prompts that one pass reads: a long prompt is read in parts, and the others continue meanwhile. */
const PROMPT_TOKENS = 512;

interface Place {
  sequence: LiveSequence;
  start: number;
  rows: number;
  /** Tokens that are in the cache. */
  past: number;
  /** Tokens that are not. */
  fed: number[];
  made: number;
}

export const rowsOf = ({ promptIds, maxNewTokens }: Pick<LiveSequence, "promptIds" | "maxNewTokens">): number =>
  promptIds.length + maxNewTokens;

export function createLiveSequences(model: Decoder, capacity: number): LiveSequences {
  let cache: KeyValueCache | null = null;
  /** In the order of their rows. */
  const places: Place[] = [];

  const roomFor = (rows: number): { start: number; at: number } | null => {
    let start = 0;
    for (const [at, place] of places.entries()) {
      if (place.start - start >= rows) return { start, at };
      start = place.start + place.rows;
    }
    return capacity - start >= rows ? { start, at: places.length } : null;
  };
  const remove = (sequence: LiveSequence) => {
    const at = places.findIndex((place) => place.sequence === sequence);
    if (at >= 0) places.splice(at, 1);
  };

  return {
    get size() {
      return places.length;
    },
    hasRoom: (rows) => roomFor(rows) !== null,
    add(sequence) {
      const rows = rowsOf(sequence);
      const room = roomFor(rows);
      if (room === null) return false;
      const fed = Array.from(sequence.promptIds);
      places.splice(room.at, 0, { sequence, start: room.start, rows, past: 0, fed, made: 0 });
      return true;
    },
    remove,
    async step() {
      if (places.length === 0) return [];
      cache ??= createCache(model, capacity);
      const plan = planOf(places, model);
      const rows = await pass(model, cache, plan);
      const ended: LiveSequence[] = [];
      for (const [i, place] of plan.asked.entries()) {
        // Removed while it was computed.
        if (!places.includes(place)) continue;
        const token = place.sequence.next(rows[i]);
        place.made++;
        if (token !== null) place.fed = [token];
        if (token !== null && place.made < place.sequence.maxNewTokens) continue;
        remove(place.sequence);
        ended.push(place.sequence);
      }
      return ended;
    },
    free() {
      if (cache && places.length === 0) {
        freeCache(model, cache);
        cache = null;
      }
    },
  };
}

/** The tokens of one pass, and the sequences whose next token it gives. */
interface Plan {
  ids: number[];
  cacheRows: number[];
  segments: AttentionSegment[];
  outputRows: number[];
  asked: Place[];
}

function planOf(places: readonly Place[], { spec }: Decoder): Plan {
  const plan: Plan = { ids: [], cacheRows: [], segments: [], outputRows: [], asked: [] };
  let left = PROMPT_TOKENS;
  for (const place of places) {
    const { past, start, fed } = place;
    const isBidirectional = past === 0 && spec.promptAttention === "both";
    const isPrompt = fed.length > 1 || past === 0;
    // A prompt whose tokens see each other is read whole.
    const count = !isPrompt || isBidirectional ? fed.length : Math.min(fed.length, left);
    if (count === 0) continue;
    if (isPrompt) left = Math.max(0, left - count);
    const row = plan.ids.length;
    for (let i = 0; i < count; i++) {
      plan.ids.push(fed[i]);
      plan.cacheRows.push(start + past + i);
    }
    plan.segments.push({
      ...{ start: row, length: count, keyStart: start + past, position: past },
      context: past > 0 ? [{ start, length: past, position: 0 }] : [],
      bidirectional: isBidirectional ? count : 0,
    });
    place.past += count;
    place.fed = fed.slice(count);
    if (place.fed.length > 0) continue;
    plan.outputRows.push(plan.ids.length - 1);
    plan.asked.push(place);
  }
  return plan;
}

/** The logits [V] of each output row, without the rows of the vocabulary that have no token. */
async function pass(model: Decoder, store: KeyValueCache, plan: Plan): Promise<Values[]> {
  const { backend } = model;
  const tape = createTape(backend, { record: false });
  try {
    const logits = forward(model, tape, {
      ids: Int32Array.from(plan.ids),
      segments: plan.segments,
      // A pass that only reads a part of a prompt still gives a row.
      outputRows: Int32Array.from(plan.outputRows.length > 0 ? plan.outputRows : [plan.ids.length - 1]),
      cache: { store, rows: Int32Array.from(plan.cacheRows) },
    });
    const values = await backend.read(logits.tensor);
    const { vocabularySize, tokenCount } = model.spec;
    return plan.asked.map((_, i) => values.subarray(i * vocabularySize, i * vocabularySize + tokenCount));
  } finally {
    tape.dispose();
  }
}
