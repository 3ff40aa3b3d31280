import { createTape } from "../compute/autograd.ts";
import type { KeySpan, Values } from "../compute/backend.ts";
import { createCache, type Decoder, forward, freeCache, type KeyValueCache } from "../models/decoder.ts";
import { packSequences, SHORTEST_SHARED } from "../models/shared-prefixes.ts";
import { type CacheRows, createCacheRows, type RowSpan } from "./cache-rows.ts";
import { comparePrompts, sharedTokens } from "./choose-label.ts";
import { type Draft, LONGEST_DRAFT, NO_DRAFT } from "./draft.ts";
import type { TokenCount } from "./label-trie.ts";
import { addChain, addTree, emptyPass, type PassTokens, spansOf } from "./pass-tokens.ts";

/** A sequence to continue. */
export interface GrowingRow {
  promptIds: ArrayLike<number>;
  maxNewTokens: number;
  /** What may come behind the new tokens so far. A wrong proposal changes nothing and costs its tokens. Without it a pass gives one token. */
  propose?(ids: readonly number[]): Draft;
}

/** A sequence that has ended. */
export interface GrownRow {
  ids: number[];
  /** False when it was cut at maxNewTokens. */
  ended: boolean;
  /** log P of what the draft behind its prompt asked. */
  asked?: Values;
}

export interface GrowthOptions {
  /** Ends a sequence; not part of the result. */
  eosId: number | null;
  /** Chooses a token by its logits [V]; null: the most likely one. */
  pick: ((logits: Values) => number) | null;
  /** Most tokens of a pass; a longer prompt has a pass of its own. */
  maxPassTokens: number;
  /** Hears each new token of row `index`. */
  onToken?: (index: number, token: number) => void;
  count: TokenCount;
}

/** Bytes of keys and values at most, if a single row needs no more. */
const CACHE_BYTES = 256 * 2 ** 20;
/** Logits of one pass at most, in numbers. */
const MAX_LOGITS = 2 ** 24;
/** Cache rows that stay free for what a live row will add. */
const ROWS_TO_GROW = 16;
/** Rows of the cache for each token of a pass: most rows live for two passes, and some for longer. */
const PASSES_IN_CACHE = 4;

/** A row that is not done: its new tokens, and what its first draft asked. */
interface OpenRow {
  index: number;
  row: GrowingRow;
  result: GrownRow;
}

/** A row with tokens in the cache. */
interface LiveRow extends OpenRow {
  /** Keys of its tokens, without those of the common beginning of all prompts. */
  keys: KeySpan[];
  /** Tokens in the cache, all in all. */
  length: number;
  /** Tokens that are chosen and not in the cache. */
  known: readonly number[];
}

/** Tokens of a live row in a pass: those that are known, and a draft behind them. */
interface Trial {
  live: LiveRow;
  draft: Draft;
  known: number;
  /** Cache rows of both. */
  rows: number[];
  /** Place of the choice behind the last known token; those behind the draft's tokens follow it. */
  output: number;
}

/**
 * Continues rows in passes that are always full: a row that has ended makes room for the next one at once, what the prompts of all rows have in
 * common is computed once, and what neighbours share once a pass. Drafts are accepted as far as the model would have chosen the
 * same tokens, so the results are those of one token at a time. When the cache is full, the row that came last gives its place up and is computed again
 * later.
 */
export async function continueRows(
  model: Decoder,
  rows: readonly GrowingRow[],
  options: GrowthOptions,
): Promise<GrownRow[]> {
  const { spec } = model;
  const results = rows.map((): GrownRow => ({ ids: [], ended: false }));
  const queue = [...rows.keys()]
    .filter((index) => rows[index].maxNewTokens > 0)
    .sort((a, b) => comparePrompts(rows[a].promptIds, rows[b].promptIds) || a - b)
    .map((index): OpenRow => ({ index, row: rows[index], result: results[index] }));
  if (queue.length === 0) return results;
  options.count.prompt += queue.reduce((sum, { row }) => sum + row.promptIds.length, 0);
  const common = spec.promptAttention === "both" ? 0 : commonTokens(queue);
  const capacity = capacityFor(model, queue, common, options.maxPassTokens);
  const store = createCache(model, capacity);
  const growth: Growth = {
    ...{ model, options, queue, live: [], cacheRows: createCacheRows(capacity), common, root: null },
    mostOutputs: Math.max(1, Math.floor(MAX_LOGITS / spec.vocabularySize)),
  };
  try {
    while (growth.queue.length > 0 || growth.live.length > 0) {
      const pass = emptyPass();
      const trials = trialsOfLive(growth, pass);
      trials.push(...admit(growth, pass, trials));
      await readPass(growth, store, pass, trials);
    }
    return results;
  } finally {
    freeCache(model, store);
  }
}

interface Growth {
  model: Decoder;
  options: GrowthOptions;
  /** In the order of their prompts, so that neighbours share their beginnings. */
  queue: OpenRow[];
  /** The oldest first. */
  live: LiveRow[];
  cacheRows: CacheRows;
  /** Tokens that all prompts begin with, and their keys once they are computed. */
  common: number;
  root: KeySpan | null;
  mostOutputs: number;
}

function commonTokens(queue: readonly OpenRow[]): number {
  if (queue.length === 1) return 0;
  // Sorted, so the first and the last prompt have the least in common.
  const [first, last] = [queue[0].row.promptIds, queue[queue.length - 1].row.promptIds];
  const shortest = Math.min(first.length, last.length);
  let common = 0;
  while (common < shortest && first[common] === last[common]) common++;
  // Every row has a token of its own behind it.
  const least = queue.reduce((most, { row }) => Math.min(most, row.promptIds.length - 1), common);
  return least < SHORTEST_SHARED ? 0 : least;
}

function capacityFor({ spec }: Decoder, queue: readonly OpenRow[], common: number, maxPassTokens: number): number {
  const needs = queue.map(({ row }) => row.promptIds.length - common + row.maxNewTokens + LONGEST_DRAFT);
  const largest = needs.reduce((most, need) => Math.max(most, need), 0);
  const all = needs.reduce((sum, need) => sum + need, 0);
  const rowBytes = spec.layers * 2 * spec.keyValueHeads * spec.headWidth * 4;
  const wanted = Math.min(all, PASSES_IN_CACHE * maxPassTokens, Math.floor(CACHE_BYTES / rowBytes));
  return common + Math.max(largest, wanted);
}

const contextOf = ({ root }: Growth, keys: readonly KeySpan[]): readonly KeySpan[] => (root ? [root, ...keys] : keys);
const proposal = ({ row, result }: OpenRow): Draft => row.propose?.(result.ids) ?? NO_DRAFT;

/** Adds the next tokens of the live rows to a pass. Where the cache is full, the rows that came last wait again. */
function trialsOfLive(growth: Growth, pass: PassTokens): Trial[] {
  const { live, cacheRows, mostOutputs, options } = growth;
  const trials: Trial[] = [];
  for (let i = 0; i < live.length; i++) {
    const one = live[i];
    const draft = proposal(one);
    const size = one.known.length + draft.tokens.length;
    const isFull =
      pass.ids.length + size > options.maxPassTokens || pass.outputRows.length + 1 + draft.tokens.length > mostOutputs;
    if (trials.length > 0 && isFull) break;
    let spans = cacheRows.takeAny(size);
    while (spans === null && live.length > i) {
      suspend(growth, live[live.length - 1]);
      if (live.length > i) spans = cacheRows.takeAny(size);
    }
    if (spans !== null) trials.push(tryDraft(growth, pass, one, draft, spans));
  }
  return trials;
}

/** The row gives its place up; the tokens that it has are kept. */
function suspend({ live, cacheRows, queue }: Growth, one: LiveRow): void {
  live.splice(live.indexOf(one), 1);
  for (const span of one.keys) cacheRows.release(span);
  queue.unshift({ index: one.index, row: one.row, result: one.result });
}

/** Adds the known tokens of a row and a draft behind them to a pass. Without known tokens the last row of the prompt is `lastRow`. */
function tryDraft(
  growth: Growth,
  pass: PassTokens,
  live: LiveRow,
  draft: Draft,
  spans: readonly RowSpan[],
  lastRow = -1,
): Trial {
  const known = live.known.length;
  const tokens = [...live.known, ...draft.tokens];
  const parents = [...live.known.map((_, i) => i - 1), ...draft.parents.map((parent) => known + parent)];
  const rows = spans.flatMap(({ start, length }) => Array.from({ length }, (_, i) => start + i));
  const first = pass.ids.length;
  addTree(pass, { tokens, parents }, rows, contextOf(growth, live.keys), live.length);
  const output = pass.outputRows.length;
  pass.outputRows.push(known > 0 ? first + known - 1 : lastRow);
  for (let i = known; i < tokens.length; i++) pass.outputRows.push(first + i);
  return { live, draft, known, rows, output };
}

/** Adds waiting rows to a pass while there is room in it and in the cache. */
function admit(growth: Growth, pass: PassTokens, trials: readonly Trial[]): Trial[] {
  const { queue, live, cacheRows, options, mostOutputs, model } = growth;
  if (trials.length < live.length) return [];
  const wave: { open: OpenRow; draft: Draft }[] = [];
  let tokens = pass.ids.length;
  let outputs = pass.outputRows.length;
  let room = cacheRows.free - ROWS_TO_GROW * live.length;
  if (growth.common > 0 && growth.root === null) {
    tokens += growth.common;
    room -= growth.common;
  }
  let before: ArrayLike<number> = [];
  for (const open of queue) {
    const { promptIds } = open.row;
    const draft = proposal(open);
    const shared = Math.max(growth.common, sharedTokens(before, promptIds, model.spec.promptAttention));
    const added = promptIds.length - shared + open.result.ids.length + draft.tokens.length;
    tokens += added;
    outputs += 1 + draft.tokens.length;
    room -= added + ROWS_TO_GROW;
    const isFull = tokens > options.maxPassTokens || outputs > mostOutputs || room < 0;
    if (isFull && wave.length + live.length > 0) break;
    wave.push({ open, draft });
    before = promptIds;
  }
  for (; wave.length > 0; wave.length = Math.floor(wave.length / 2)) {
    const added = place(growth, pass, wave);
    if (added) return added;
  }
  return [];
}

/** Adds the prompts of rows to a pass, each shared beginning once, and their drafts; null when the cache has no rows for them. */
function place(growth: Growth, pass: PassTokens, wave: readonly { open: OpenRow; draft: Draft }[]): Trial[] | null {
  const { queue, live, cacheRows, model, common } = growth;
  const prompts = wave.map(({ open }) => Array.prototype.slice.call(open.row.promptIds, common) as number[]);
  const bidirectional = model.spec.promptAttention === "both" ? prompts.map(({ length }) => length) : null;
  const packed = packSequences(prompts, true, bidirectional, SHORTEST_SHARED);
  const taken: RowSpan[] = [];
  const take = (length: number, isWhole: boolean): readonly RowSpan[] | null => {
    const whole = isWhole ? cacheRows.take(length) : null;
    const spans = isWhole ? whole && [whole] : cacheRows.takeAny(length);
    if (spans) taken.push(...spans);
    return spans;
  };
  const rootRows = common > 0 && growth.root === null ? take(common, true) : [];
  const promptRows = packed.segments.map(({ length }) => take(length, true));
  const draftRows = wave.map(({ open, draft }) => take(open.result.ids.length + draft.tokens.length, false));
  if ([rootRows, ...promptRows, ...draftRows].includes(null)) {
    for (const span of taken) cacheRows.release(span);
    return null;
  }
  if (rootRows?.[0]) {
    growth.root = addChain(pass, wave[0].open.row.promptIds, rootRows[0], { context: [], position: 0 });
  }
  const first = pass.ids.length;
  const keysAt = new Map<number, KeySpan>();
  const keysOf = (spans: readonly KeySpan[]) => spans.map(({ start }) => keysAt.get(start) as KeySpan);
  for (const [i, { start, length, position, context, bidirectional: both }] of packed.segments.entries()) {
    const [rows] = promptRows[i] as readonly RowSpan[];
    const behind = { context: contextOf(growth, keysOf(context)), position: common + position, bidirectional: both };
    keysAt.set(start, addChain(pass, packed.ids.subarray(start, start + length), rows, behind));
  }
  const trials = wave.map(({ open, draft }, i): Trial => {
    const keys = keysOf(packed.spans[i]);
    for (const span of keys) cacheRows.hold(span);
    const length = open.row.promptIds.length;
    const one: LiveRow = { ...open, keys, length, known: [...open.result.ids] };
    live.push(one);
    const lastRow = first + packed.rows[i][prompts[i].length - 1];
    return tryDraft(growth, pass, one, draft, draftRows[i] as readonly RowSpan[], lastRow);
  });
  // Each row holds the keys that it sees; those who took them do no longer.
  for (const rows of promptRows) for (const span of rows ?? []) cacheRows.release(span);
  queue.splice(0, wave.length);
  return trials;
}

/** Computes a pass and moves every row on by what it accepts. */
async function readPass(
  growth: Growth,
  store: KeyValueCache,
  pass: PassTokens,
  trials: readonly Trial[],
): Promise<void> {
  const { model, options } = growth;
  const { backend, spec } = model;
  const { count } = options;
  count.computed += pass.ids.length;
  count.passes++;
  const askedRows: number[] = [];
  const askedTokens: number[] = [];
  for (const { draft, output } of trials) {
    for (const { parent, token } of draft.asked ?? []) {
      askedRows.push(output + 1 + parent);
      askedTokens.push(token);
    }
  }
  const tape = createTape(backend, { record: false });
  let chosen: ArrayLike<number>;
  let asked: Values = new Float32Array(0);
  try {
    const logits = forward(model, tape, {
      ids: Int32Array.from(pass.ids),
      segments: pass.segments,
      outputRows: Int32Array.from(pass.outputRows),
      cache: { store, rows: Int32Array.from(pass.cacheRows) },
    });
    if (askedRows.length > 0) {
      const scores = backend.logProbabilities(logits.tensor, Int32Array.from(askedRows), Int32Array.from(askedTokens));
      asked = await backend.read(scores);
      backend.free(scores);
    }
    const rowsOfLogits = async () => {
      const values = await backend.read(logits.tensor);
      return pass.outputRows.map((_, i) =>
        values.subarray(i * spec.vocabularySize, i * spec.vocabularySize + spec.tokenCount),
      );
    };
    if (options.pick) chosen = (await rowsOfLogits()).map(options.pick);
    else {
      const best = backend.argmax(logits.tensor);
      chosen = Array.from(await backend.read(best));
      backend.free(best);
      // A padding row of the vocabulary was the largest: choose again among the tokens.
      if (Array.prototype.some.call(chosen, (id: number) => id >= spec.tokenCount)) {
        chosen = (await rowsOfLogits()).map(largest);
      }
    }
  } finally {
    tape.dispose();
  }
  let next = 0;
  for (const trial of trials) {
    const wanted = trial.draft.asked?.length ?? 0;
    if (wanted > 0) trial.live.result.asked = asked.slice(next, next + wanted);
    next += wanted;
    accept(growth, trial, chosen);
  }
}

/** Adds the tokens that the model chose to a row, as far as the draft goes with them. */
function accept(
  { options, cacheRows, live: all }: Growth,
  { live, draft, known, rows, output }: Trial,
  chosen: ArrayLike<number>,
): void {
  const { count, eosId } = options;
  const { result, row, index } = live;
  const kept = rows.slice(0, known);
  const keptNodes = new Set<number>();
  let at = -1;
  let isDone = false;
  let last: number | null = null;
  while (!isDone) {
    const token = chosen[output + 1 + at];
    if (token === eosId) {
      result.ended = true;
      isDone = true;
      break;
    }
    result.ids.push(token);
    count.generated++;
    options.onToken?.(index, token);
    isDone = result.ids.length >= row.maxNewTokens;
    const node = isDone ? -1 : draft.parents.findIndex((parent, i) => parent === at && draft.tokens[i] === token);
    if (node < 0) {
      last = token;
      break;
    }
    count.accepted++;
    keptNodes.add(node);
    kept.push(rows[known + node]);
    at = node;
  }
  for (const [node] of draft.tokens.entries()) {
    if (!keptNodes.has(node)) cacheRows.release({ start: rows[known + node], length: 1 });
  }
  live.keys.push(...spansOf(kept, live.length));
  live.length += kept.length;
  live.known = last === null ? [] : [last];
  if (!isDone) return;
  for (const span of live.keys) cacheRows.release(span);
  all.splice(all.indexOf(live), 1);
}

/** Index of the largest value, the first one on ties. */
function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
