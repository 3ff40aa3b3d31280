import { createTape } from "../compute/autograd.ts";
import type { AttentionSegment, KeySpan, Values } from "../compute/backend.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import type { PromptAttention } from "../models/spec.ts";
import type { LabelTrie } from "./label-trie.ts";

export interface LabelQuestion {
  promptIds: ArrayLike<number>;
  trie: LabelTrie;
}

/** Tokens that a question adds to a forward pass. */
export function questionTokens(question: LabelQuestion): number {
  return question.promptIds.length + question.trie.inner.length;
}

/**
 * The probability of every label of each question, in the order of its tree's leaves; they add up to 1. One forward pass reads each
 * prompt once, followed by its whole tree of labels: a node sees the prompt and its own ancestors only.
 */
export async function labelProbabilities(model: Decoder, questions: readonly LabelQuestion[]): Promise<Float64Array[]> {
  // A schema of a single label leaves nothing to ask.
  const open = questions.filter(({ trie }) => trie.edges.length > 0);
  const values = open.length > 0 ? await edgeScores(model, open) : new Float64Array(0);
  let offset = 0;
  return questions.map(({ trie }) => {
    const probabilities = leafProbabilities(trie, values.subarray(offset, offset + trie.edges.length));
    offset += trie.edges.length;
    return probabilities;
  });
}

/** log P of every counted edge, question after question. */
async function edgeScores(model: Decoder, questions: readonly LabelQuestion[]): Promise<Values> {
  const packed = packQuestions(questions, model.spec.promptAttention);
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
  const total = questions.reduce((sum, question) => sum + questionTokens(question), 0);
  const ids = new Int32Array(total);
  const segments: AttentionSegment[] = [];
  const outputRows: number[] = [];
  const edgeRows: number[] = [];
  const edgeTokens: number[] = [];
  let start = 0;
  for (const question of questions) {
    const { promptIds, trie } = question;
    for (let i = 0; i < promptIds.length; i++) {
      ids[start + i] = promptIds[i];
    }
    const prompt: KeySpan = { start, length: promptIds.length, position: 0 };
    const bidirectional = promptAttention === "both" ? prompt.length : 0;
    segments.push({ ...prompt, keyStart: start, context: [], bidirectional });
    const rowOf = new Map<number, number>([[0, start + promptIds.length - 1]]);
    let row = start + promptIds.length;
    // A chain (nodes without a fork) is one segment; its context is the prompt and the chains above it.
    const chainOf = new Map<number, { segment: AttentionSegment & { length: number }; above: KeySpan[] }>();
    for (const node of trie.inner) {
      const { token, parent, depth } = trie.nodes[node];
      ids[row] = token;
      const chain = chainOf.get(parent);
      if (chain && trie.nodes[parent].children.length === 1) {
        chain.segment.length++;
        chainOf.set(node, chain);
      } else {
        const above = chain ? [...chain.above, spanOf(chain.segment)] : [prompt];
        const segment = {
          start: row,
          length: 1,
          keyStart: row,
          position: promptIds.length + depth - 1,
          context: above,
        };
        segments.push(segment);
        chainOf.set(node, { segment, above });
      }
      rowOf.set(node, row);
      row++;
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
    start = row;
  }
  return {
    ids,
    segments,
    outputRows: Int32Array.from(outputRows),
    edgeRows: Int32Array.from(edgeRows),
    edgeTokens: Int32Array.from(edgeTokens),
  };
}

function spanOf(segment: AttentionSegment): KeySpan {
  return { start: segment.keyStart, length: segment.length, position: segment.position };
}

/** Adds log probabilities along each label's path and normalises over the labels. */
function leafProbabilities(trie: LabelTrie, edgeScores: ArrayLike<number>): Float64Array {
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
