import type { AttentionSegment, KeySpan } from "../compute/backend.ts";

/** Sequences of token ids as rows of one forward pass, with each shared prefix once. */
export interface PackedSequences {
  ids: Int32Array; // [T]
  segments: AttentionSegment[];
  /** rows[s][i] is the row of token i of sequence s. */
  rows: Int32Array[];
  /** spans[s] are the keys of sequence s in their order: the context of what follows it. */
  spans: (readonly KeySpan[])[];
}

/** In training a shorter shared prefix is not worth a segment of its own: attention works on blocks of 32 rows, and twice in its gradient. */
export const SHORTEST_PREFIX = 16;

/** Without a gradient: the questions about one head of a sentence share a few tokens. */
export const SHORTEST_SHARED = 4;

type Context = AttentionSegment["context"];

/**
 * Packs sequences one after another. With `share`, sequences with a common prefix (the instruction of a prompt, the sentence of several
 * pairs of entities) see one copy of its rows, to any depth of nesting. Every token still sees exactly the tokens before it in its
 * sequence, so its result does not change.
 *
 * A prefix of fewer than `shortest` tokens is computed for each sequence that has it.
 *
 * The first `bidirectional[s]` tokens of sequence s see each other. They depend on all of each other, so two sequences share them only where
 * they are the same; what follows is shared as above.
 */
export function packSequences(
  sequences: readonly ArrayLike<number>[],
  share: boolean,
  bidirectional: readonly number[] | null = null,
  shortest = SHORTEST_PREFIX,
): PackedSequences {
  const ids: number[] = [];
  const segments: AttentionSegment[] = [];
  const rows = sequences.map((sequence) => new Int32Array(sequence.length));
  const spans: Context[] = sequences.map(() => []);

  /** Adds tokens [from, end) that all sequences of a group share, taken from the first; returns the context of the tokens behind them. */
  const emit = (
    group: readonly number[],
    from: number,
    end: number,
    context: Context,
    bidirectional?: number,
  ): Context => {
    if (end === from) return context;
    const start = ids.length;
    const sequence = sequences[group[0]];
    for (let i = from; i < end; i++) {
      for (const member of group) rows[member][i] = ids.length;
      ids.push(sequence[i]);
    }
    segments.push({ start, length: end - from, keyStart: start, position: from, context, bidirectional });
    return [...context, { start, length: end - from, position: from }];
  };

  /** Adds sequences that share their first `common` tokens; the first `from` of these are `context`. */
  const place = (group: readonly number[], from: number, common: number, context: Context): void => {
    if (group.length === 1 || !share) {
      for (const member of group) spans[member] = emit([member], from, sequences[member].length, context);
      return;
    }
    const end = commonEnd(group, common);
    const worth = end - from >= shortest;
    const seen = worth ? emit(group, from, end, context) : context;
    // Grouped by the next token, in order of appearance. A sequence that ends here has all its rows already, or gets them below.
    const branches = new Map<number, number[]>();
    for (const member of group) {
      const next = sequences[member].length > end ? sequences[member][end] : -1;
      const branch = branches.get(next);
      if (branch) branch.push(member);
      else branches.set(next, [member]);
    }
    for (const [next, branch] of branches) {
      if (next >= 0) place(branch, worth ? end : from, end + 1, seen);
      else for (const member of branch) spans[member] = worth ? seen : emit([member], from, end, context);
    }
  };

  /** The length of the common prefix of a group, at least `known`. */
  const commonEnd = (group: readonly number[], known: number): number => {
    const first = sequences[group[0]];
    let end = first.length;
    for (const member of group) {
      const other = sequences[member];
      end = Math.min(end, other.length);
      let i = known;
      while (i < end && other[i] === first[i]) i++;
      end = Math.min(end, Math.max(i, known));
    }
    return end;
  };

  /** Adds sequences that begin with the same `prompt` tokens, which see each other. */
  const placeBehindPrompt = (group: readonly number[], prompt: number): void => {
    if (group.length > 1 && prompt >= shortest) {
      place(group, prompt, prompt, emit(group, 0, prompt, [], prompt));
    } else {
      for (const member of group) spans[member] = emit([member], 0, sequences[member].length, [], prompt);
    }
  };

  if (!bidirectional) place([...sequences.keys()], 0, 0, []);
  else if (!share) for (const [member, prompt] of bidirectional.entries()) placeBehindPrompt([member], prompt);
  else for (const group of samePrompts(sequences, bidirectional)) placeBehindPrompt(group, bidirectional[group[0]]);
  return { ids: Int32Array.from(ids), segments, rows, spans };
}

/** The sequences with the same first `lengths[s]` tokens, in order of appearance. */
function samePrompts(sequences: readonly ArrayLike<number>[], lengths: readonly number[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const [member, length] of lengths.entries()) {
    const prompt = Array.from({ length }, (_, i) => sequences[member][i]).join();
    const group = groups.get(prompt);
    if (group) group.push(member);
    else groups.set(prompt, [member]);
  }
  return [...groups.values()];
}
