import { createTape } from "../compute/autograd.ts";
import type { AttentionSegment, KeySpan, Values } from "../compute/backend.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import { packSequences, SHORTEST_SHARED } from "../models/shared-prefixes.ts";
import type { PromptAttention } from "../models/spec.ts";
import { expandTries } from "./expand-trie.ts";
import { type LabelQuestion, type LabelTrie, noTokens, type TokenCount } from "./label-trie.ts";

/**
 * The probability of every label of each question, in the order of its tree's leaves; they add up to 1. One forward pass reads the prompts,
 * with each shared beginning once, and behind each its whole tree of labels: a node sees the prompt and its own ancestors only. Large trees
 * are read in several passes, from their most probable nodes on.
 */
export async function labelProbabilities(
  model: Decoder,
  questions: readonly LabelQuestion[],
  count: TokenCount = noTokens(),
): Promise<Float64Array[]> {
  count.prompt += questions.reduce((sum, { promptIds }) => sum + promptIds.length, 0);
  const readWhole = (some: readonly LabelQuestion[]) => wholeTries(model, some, count);
  const large = questions.filter(isLarge);
  if (large.length === 0) return readWhole(questions);
  const expanded = await expandTries(model, large, readWhole, count);
  const whole = await readWhole(questions.filter((one) => !isLarge(one)));
  return questions.map((one) => (isLarge(one) ? expanded : whole).shift() as Float64Array);
}

/** Nodes of a tree from which on it is read from its most probable nodes on, instead of whole: see {@link expandTries}. */
const LARGE_TRIE = 64;
export const isLarge = ({ trie }: Pick<LabelQuestion, "trie">) => trie.inner.length >= LARGE_TRIE;
/** Nodes of a large tree that are usually read. */
const USUAL_NODES = 16;

/** Label probabilities by one pass over the prompts and all nodes of their trees. */
async function wholeTries(
  model: Decoder,
  questions: readonly LabelQuestion[],
  count: TokenCount,
): Promise<Float64Array[]> {
  // A schema of a single label leaves nothing to ask.
  const open = questions.filter(({ trie }) => trie.edges.length > 0);
  const values = open.length > 0 ? await edgeScores(model, open, count) : new Float64Array(0);
  let offset = 0;
  return questions.map(({ trie }) => {
    const probabilities = leafProbabilities(trie, values.subarray(offset, offset + trie.edges.length));
    offset += trie.edges.length;
    return probabilities;
  });
}

/** log P of every counted edge, question after question. */
async function edgeScores(model: Decoder, questions: readonly LabelQuestion[], count: TokenCount): Promise<Values> {
  const packed = packQuestions(questions, model.spec.promptAttention);
  count.computed += packed.ids.length;
  count.passes++;
  const { backend } = model;
  const tape = createTape(backend, { record: false });
  try {
    const logits = forward(model, tape, packed);
    const scores = backend.logProbabilities(logits.tensor, packed.edgeRows, packed.edgeTokens);
    const values = backend.read(scores);
    backend.free(scores);
    return await values;
  } finally {
    tape.dispose();
  }
}

function packQuestions(questions: readonly LabelQuestion[], promptAttention: PromptAttention) {
  const prompts = questions.map(({ promptIds }) => promptIds);
  const bidirectional = promptAttention === "both" ? prompts.map(({ length }) => length) : null;
  const packed = packSequences(prompts, true, bidirectional, SHORTEST_SHARED);
  const ids = Array.from(packed.ids);
  const segments = [...packed.segments];
  const outputRows: number[] = [];
  const edgeRows: number[] = [];
  const edgeTokens: number[] = [];
  for (const [question, { promptIds, trie }] of questions.entries()) {
    const rowOf = new Map<number, number>([[0, packed.rows[question][promptIds.length - 1]]]);
    // A chain (nodes without a fork) is one segment; its context is the prompt and the chains above it.
    const chainOf = new Map<number, { segment: AttentionSegment & { length: number }; above: readonly KeySpan[] }>();
    for (const node of trie.inner) {
      const { token, parent, depth } = trie.nodes[node];
      const row = ids.length;
      ids.push(token);
      rowOf.set(node, row);
      const chain = chainOf.get(parent);
      if (chain && trie.nodes[parent].children.length === 1) {
        chain.segment.length++;
        chainOf.set(node, chain);
        continue;
      }
      const above = chain ? [...chain.above, spanOf(chain.segment)] : packed.spans[question];
      const position = promptIds.length + depth - 1;
      const segment = { start: row, length: 1, keyStart: row, position, context: above };
      segments.push(segment);
      chainOf.set(node, { segment, above });
    }
    const outputOf = new Map<number, number>();
    for (const { parent, child } of trie.edges) {
      let output = outputOf.get(parent);
      if (output === undefined) {
        output = outputRows.length;
        outputRows.push(rowOf.get(parent) as number);
        outputOf.set(parent, output);
      }
      edgeRows.push(output);
      edgeTokens.push(trie.nodes[child].token);
    }
  }
  return {
    ids: Int32Array.from(ids),
    segments,
    outputRows: Int32Array.from(outputRows),
    edgeRows: Int32Array.from(edgeRows),
    edgeTokens: Int32Array.from(edgeTokens),
  };
}

/**
 * Groups questions into batches of at most `maxTokens` tokens of a pass (a longer one alone), those with the longest shared beginnings
 * together: a batch computes what its prompts share once. A batch holds places in `questions`.
 */
export function batchQuestions(
  questions: readonly LabelQuestion[],
  maxTokens: number,
  promptAttention: PromptAttention,
): number[][] {
  const order = [...questions.keys()].sort((a, b) => comparePrompts(questions[a].promptIds, questions[b].promptIds));
  const batches: number[][] = [];
  let batch: number[] = [];
  let tokens = 0;
  for (const [place, i] of order.entries()) {
    const { promptIds, trie } = questions[i];
    const before = batch.length > 0 ? questions[order[place - 1]].promptIds : [];
    const shared = sharedTokens(before, promptIds, promptAttention);
    const nodes = isLarge(questions[i]) ? USUAL_NODES : trie.inner.length;
    const added = promptIds.length - shared + nodes;
    if (batch.length > 0 && tokens + added > maxTokens) {
      batches.push(batch);
      batch = [];
      tokens = shared;
    }
    batch.push(i);
    tokens += added;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** Tokens at the beginning of a prompt that a pass with the one before it computes once: see {@link packSequences}. */
export function sharedTokens(
  before: ArrayLike<number>,
  prompt: ArrayLike<number>,
  promptAttention: PromptAttention,
): number {
  const most = Math.min(before.length, prompt.length);
  let shared = 0;
  while (shared < most && before[shared] === prompt[shared]) shared++;
  const isWhole = shared === before.length && shared === prompt.length;
  return shared < SHORTEST_SHARED || (promptAttention === "both" && !isWhole) ? 0 : shared;
}

/** Orders prompts by their first different token, a beginning of another before it. */
export function comparePrompts(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const most = Math.min(a.length, b.length);
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

function spanOf(segment: AttentionSegment): KeySpan {
  return { start: segment.keyStart, length: segment.length, position: segment.position };
}

/** Adds log probabilities along each label's path and normalises over the labels. */
export function leafProbabilities(trie: LabelTrie, edgeScores: ArrayLike<number>): Float64Array {
  const scores = new Float64Array(trie.nodes.length);
  // Edges come parents first, so a node's own score is complete before its children read it.
  for (const [i, { parent, child }] of trie.edges.entries()) scores[child] = scores[parent] + edgeScores[i];
  const labels = Float64Array.from(trie.leaves, (leaf) => scores[leaf]);
  const best = labels.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let total = 0;
  for (let i = 0; i < labels.length; i++) {
    labels[i] = Math.exp(labels[i] - best);
    total += labels[i];
  }
  return labels.map((value) => value / total);
}
