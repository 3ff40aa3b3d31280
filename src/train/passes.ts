import { SHORTEST_PREFIX } from "../models/shared-prefixes.ts";
import type { PromptAttention } from "../models/spec.ts";
import type { TrainSettings } from "../recipe/schema.ts";
import { type EncodedAnswer, targetCount } from "./batches.ts";

/** What one forward and backward pass has to compute. */
export interface PassSize {
  /** Rows of the layers; those of shared beginnings once. */
  tokens: number;
  /** Rows of the head. */
  outputs: number;
}

/** The memory of a pass. */
export interface PassRoom {
  bytes: number;
  bytesOf(size: PassSize): number;
  /** Examples that a pass may always have. */
  leastExamples: number;
}

/** Rows of consecutive segments that attention computes as one (native/attention/attention_plan.h). */
const JOINED_ROWS = 256;

/**
 * Cuts the sequences of an optimizer step into as few passes as the memory allows, usually one. Sequences with a common beginning are next to
 * each other, so that it is computed in few passes. The answers of an example stay together. Loss weights are those of the step, so the cut
 * changes no number beyond rounding.
 */
export function cutStep(
  sequences: readonly EncodedAnswer[],
  { promptLoss, sharePrefixes }: Pick<TrainSettings, "promptLoss" | "sharePrefixes">,
  promptAttention: PromptAttention,
  room: PassRoom | null = null,
): EncodedAnswer[][] {
  const sorted = sequences.map((one) => ({ one, ids: idsOf(one) })).sort((a, b) => compareIds(a.ids, b.ids));
  const passes: PlacedSequence[][] = [];
  let pass: PlacedSequence[] = [];
  let size: PassSize = { tokens: 0, outputs: 0 };
  let examples = 0;
  for (const [i, { one, ids }] of sorted.entries()) {
    const common = sharePrefixes && i > 0 ? commonLength(sorted[i - 1].ids, ids) : 0;
    const least = promptAttention === "both" ? one.promptIds.length : 0;
    const shared = common >= Math.max(SHORTEST_PREFIX, least) && pass.length > 0 ? common : 0;
    const outputs = targetCount(one, promptLoss);
    const grown = { tokens: size.tokens + ids.length - shared, outputs: size.outputs + outputs };
    const before = pass.at(-1);
    const isNew = before?.one.promptIds !== one.promptIds;
    if (room && isNew && examples >= room.leastExamples && room.bytesOf(grown) > room.bytes) {
      passes.push(pass);
      pass = [{ one, ownTokens: ids.length }];
      size = { tokens: ids.length, outputs };
      examples = 1;
      continue;
    }
    if (before) before.ownTokens = Math.min(before.ownTokens, sorted[i - 1].ids.length - shared);
    pass.push({ one, ownTokens: ids.length - shared });
    size = grown;
    if (isNew) examples++;
  }
  if (pass.length > 0) passes.push(pass);
  return passes.map((placed) => inFullBlocks(placed).map(({ one }) => one));
}

interface PlacedSequence {
  one: EncodedAnswer;
  /** Tokens that no other sequence of the pass has. */
  ownTokens: number;
}

/**
 * In the order in which attention joins them with the fewest empty rows: first-fit decreasing into the rows that it joins (Johnson 1973).
 * Sequences of a beginning need not be next to each other within a pass: packing finds them.
 */
function inFullBlocks(sequences: readonly PlacedSequence[]): PlacedSequence[] {
  const bins: { rows: number; sequences: PlacedSequence[] }[] = [];
  for (const sequence of [...sequences].sort((a, b) => b.ownTokens - a.ownTokens)) {
    const bin = bins.find(({ rows }) => rows + sequence.ownTokens <= JOINED_ROWS);
    if (bin) {
      bin.rows += sequence.ownTokens;
      bin.sequences.push(sequence);
    } else bins.push({ rows: sequence.ownTokens, sequences: [sequence] });
  }
  return bins.flatMap((bin) => bin.sequences);
}

/** The tokens that a pass reads: the last one of an answer is a target only. */
function idsOf({ promptIds, answerIds }: EncodedAnswer): Int32Array {
  const ids = new Int32Array(promptIds.length + answerIds.length);
  ids.set(Array.from(promptIds));
  ids.set(Array.from(answerIds), promptIds.length);
  return ids.subarray(0, -1);
}

function commonLength(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}

function compareIds(a: Int32Array, b: Int32Array): number {
  const common = commonLength(a, b);
  return (a[common] ?? -1) - (b[common] ?? -1);
}
