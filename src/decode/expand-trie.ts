import { createTape } from "../compute/autograd.ts";
import type { AttentionSegment, KeySpan, Values } from "../compute/backend.ts";
import { createCache, type Decoder, forward, freeCache, type PackedTokens } from "../models/decoder.ts";
import { packSequences, SHORTEST_SHARED } from "../models/shared-prefixes.ts";
import { type LabelQuestion, type LabelTrie, noTokens, type TokenCount } from "./label-trie.ts";

/** Largest share of the probability that may be left unread below a node. */
export const MISSING_MASS = 1e-4;
/** Bytes of the keys and values that are kept for one batch. */
const MAX_CACHE_BYTES = 256 * 2 ** 20;
/** Rows of the cache for the nodes of one question, at first; with all of them used, the rest of its tree is read in one pass. */
const NODE_ROWS = 96;

/** What is known of a trie, whichever prompt it is behind. */
export interface TrieFacts {
  /** Children of a node whose edge counts. */
  counted: readonly (readonly number[])[];
  /** Labels below a node, itself included. */
  labelsBelow: Int32Array;
}

const factsOfTries = new WeakMap<LabelTrie, TrieFacts>();

export function factsOf(trie: LabelTrie): TrieFacts {
  const known = factsOfTries.get(trie);
  if (known) return known;
  const counted: number[][] = trie.nodes.map(() => []);
  for (const { parent, child } of trie.edges) counted[parent].push(child);
  const labelsBelow = new Int32Array(trie.nodes.length);
  for (const leaf of trie.leaves) for (let at = leaf; at >= 0; at = trie.nodes[at].parent) labelsBelow[at]++;
  const facts = { counted, labelsBelow };
  factsOfTries.set(trie, facts);
  return facts;
}

/** A question whose tree is being read from its most probable nodes on. */
interface Expansion {
  trie: LabelTrie;
  facts: TrieFacts;
  promptLength: number;
  /** log P of the nodes that are reached: the root, and the children of every node that was read. */
  scores: Map<number, number>;
  /** Reached nodes with children that were not read: each has at least the probability of all labels below it. */
  frontier: number[];
  /** Keys of the path to a node that was read, itself included. */
  contexts: Map<number, readonly KeySpan[]>;
  /** Labels that are reached. */
  leaves: number[];
}

/**
 * The probability of every label of each question, by reading each tree from its most probable nodes on: the probability of a node is at
 * least that of all labels below it together, so improbable branches need not be read. At most {@link MISSING_MASS} of the probability is below
 * nodes that were not read; their labels share it equally. The most probable label is exact. Prompts are read once; their keys and values are
 * kept while the tree is read. A question whose probable nodes do not fit into the cache is given to `readWhole`.
 */
export async function expandTries(
  model: Decoder,
  questions: readonly LabelQuestion[],
  readWhole: (questions: readonly LabelQuestion[]) => Promise<Float64Array[]>,
  count: TokenCount = noTokens(),
): Promise<Float64Array[]> {
  const results: (Float64Array | null)[] = [];
  for (const batch of batchesForCache(model, questions)) results.push(...(await expandBatch(model, batch, count)));
  const open = questions.filter((_, i) => results[i] === null);
  const whole = open.length > 0 ? await readWhole(open) : [];
  let next = 0;
  return results.map((found) => found ?? whole[next++]);
}

function batchesForCache({ spec }: Decoder, questions: readonly LabelQuestion[]): LabelQuestion[][] {
  const rowBytes = spec.layers * 2 * spec.keyValueHeads * spec.headWidth * 4;
  const mostRows = Math.floor(MAX_CACHE_BYTES / rowBytes);
  const batches: LabelQuestion[][] = [];
  let rows = 0;
  for (const question of questions) {
    const own = question.promptIds.length + nodeRows(question);
    if (batches.length === 0 || rows + own > mostRows) {
      batches.push([]);
      rows = 0;
    }
    batches[batches.length - 1].push(question);
    rows += own;
  }
  return batches;
}

const nodeRows = ({ trie }: LabelQuestion) => Math.min(trie.inner.length, NODE_ROWS);

/** Null for a question that the cache has no room for. */
async function expandBatch(
  model: Decoder,
  questions: readonly LabelQuestion[],
  count: TokenCount,
): Promise<(Float64Array | null)[]> {
  const prompts = questions.map(({ promptIds }) => promptIds);
  const bidirectional = model.spec.promptAttention === "both" ? prompts.map(({ length }) => length) : null;
  const packed = packSequences(prompts, true, bidirectional, SHORTEST_SHARED);
  const expansions = questions.map(({ trie, promptIds }, i): Expansion => {
    const contexts = new Map([[0, packed.spans[i]]]);
    const promptLength = promptIds.length;
    return { trie, facts: factsOf(trie), promptLength, scores: new Map([[0, 0]]), frontier: [], contexts, leaves: [] };
  });
  const promptRows = packed.ids.length;
  count.computed += promptRows;
  count.passes++;
  const capacity = promptRows + questions.reduce((sum, question) => sum + nodeRows(question), 0);
  const store = createCache(model, capacity);
  try {
    const lastRows = questions.map(({ promptIds }, i) => packed.rows[i][promptIds.length - 1]);
    const rows = Int32Array.from({ length: promptRows }, (_, row) => row);
    const roots = expansions.map((expansion, i) => ({ expansion, node: 0, row: lastRows[i] }));
    await read(model, roots, { ids: packed.ids, segments: packed.segments, cache: { store, rows } });
    let next = promptRows;
    for (;;) {
      const wanted = expansions.flatMap((expansion) => nodesToRead(expansion).map((node) => ({ expansion, node })));
      if (wanted.length === 0) break;
      const pass = packNodes(wanted, next);
      if (next + pass.ids.length > capacity) {
        const open = new Set(wanted.map(({ expansion }) => expansion));
        return expansions.map((one) => (open.has(one) ? null : labelProbabilitiesOf(one)));
      }
      const cacheRows = Int32Array.from(pass.ids, (_, i) => next + i);
      await read(model, pass.nodes, { ids: pass.ids, segments: pass.segments, cache: { store, rows: cacheRows } });
      next += pass.ids.length;
      count.computed += pass.ids.length;
      count.passes++;
    }
    return expansions.map(labelProbabilitiesOf);
  } finally {
    freeCache(model, store);
  }
}

/** A node that a pass reads, and its row there. */
interface ReadNode {
  expansion: Expansion;
  node: number;
  row: number;
}

/** Runs a pass and adds the children of its nodes to what is reached. */
async function read(model: Decoder, nodes: readonly ReadNode[], tokens: PackedTokens): Promise<void> {
  const outputRows: number[] = [];
  const edgeRows: number[] = [];
  const edgeTokens: number[] = [];
  for (const { expansion, node, row } of nodes) {
    const children = expansion.facts.counted[node];
    if (children.length === 0) continue;
    for (const child of children) {
      edgeRows.push(outputRows.length);
      edgeTokens.push(expansion.trie.nodes[child].token);
    }
    outputRows.push(row);
  }
  // Nodes without a counted edge are read for their keys and values only.
  const wanted = outputRows.length > 0 ? outputRows : [0];
  const values = await edgeValues(model, { ...tokens, outputRows: Int32Array.from(wanted) }, edgeRows, edgeTokens);
  let edge = 0;
  for (const { expansion, node } of nodes) {
    const { trie, facts, scores, frontier, leaves } = expansion;
    const own = scores.get(node) as number;
    const isCounted = facts.counted[node].length > 0;
    for (const child of isCounted ? facts.counted[node] : trie.nodes[node].children) {
      scores.set(child, own + (isCounted ? values[edge++] : 0));
      if (trie.nodes[child].children.length > 0) frontier.push(child);
      else leaves.push(child);
    }
  }
  for (const { expansion, node } of nodes) {
    const place = expansion.frontier.indexOf(node);
    if (place >= 0) expansion.frontier.splice(place, 1);
  }
}

async function edgeValues(model: Decoder, tokens: PackedTokens, rows: number[], edgeTokens: number[]): Promise<Values> {
  const { backend } = model;
  const tape = createTape(backend, { record: false });
  try {
    const logits = forward(model, tape, tokens);
    if (rows.length === 0) return new Float32Array(0);
    const scores = backend.logProbabilities(logits.tensor, Int32Array.from(rows), Int32Array.from(edgeTokens));
    const values = backend.read(scores);
    backend.free(scores);
    return await values;
  } finally {
    tape.dispose();
  }
}

/** The nodes of the frontier to read next, most probable first: until what is left can be left. Empty when the tree is known well enough. */
function nodesToRead({ scores, frontier, leaves }: Expansion): number[] {
  const massOf = (node: number) => Math.exp(scores.get(node) as number);
  const order = [...frontier].sort((a, b) => massOf(b) - massOf(a) || a - b);
  const known = leaves.reduce((sum, leaf) => sum + massOf(leaf), 0);
  const best = leaves.reduce((most, leaf) => Math.max(most, massOf(leaf)), 0);
  let rest = order.reduce((sum, node) => sum + massOf(node), 0);
  let chosen = 0;
  const wanted: number[] = [];
  for (const node of order) {
    const mass = massOf(node);
    if (mass <= best && rest <= MISSING_MASS * Math.max(known, chosen)) break;
    wanted.push(node);
    chosen += mass;
    rest -= mass;
  }
  return wanted;
}

/** The rows of a pass over nodes, each with its chain: the nodes below it until the next fork. */
function packNodes(wanted: readonly { expansion: Expansion; node: number }[], firstCacheRow: number) {
  const ids: number[] = [];
  const segments: AttentionSegment[] = [];
  const nodes: ReadNode[] = [];
  for (const { expansion, node: first } of wanted) {
    const { trie, contexts, promptLength } = expansion;
    const above = contexts.get(trie.nodes[first].parent) as readonly KeySpan[];
    const start = ids.length;
    const position = promptLength + trie.nodes[first].depth - 1;
    for (let node = first; ; node = trie.nodes[node].children[0]) {
      nodes.push({ expansion, node, row: ids.length });
      ids.push(trie.nodes[node].token);
      const span = { start: firstCacheRow + start, length: ids.length - start, position };
      contexts.set(node, [...above, span]);
      const { children } = trie.nodes[node];
      if (children.length !== 1 || trie.nodes[children[0]].children.length === 0) break;
    }
    const length = ids.length - start;
    segments.push({ start, length, keyStart: firstCacheRow + start, position, context: above });
  }
  return { ids: Int32Array.from(ids), segments, nodes };
}

/** Normalised over the labels; a label below a node that was not read has an equal share of its probability. */
function labelProbabilitiesOf({ trie, facts, scores }: Expansion): Float64Array {
  const masses = Float64Array.from(trie.leaves, (leaf) => {
    let at = leaf;
    while (!scores.has(at)) at = trie.nodes[at].parent;
    const mass = Math.exp(scores.get(at) as number);
    return at === leaf ? mass : mass / facts.labelsBelow[at];
  });
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return masses.map((mass) => mass / total);
}
