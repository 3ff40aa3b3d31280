import { createTape } from "../../src/compute/autograd.ts";
import { type Decoder, forward, type PackedTokens } from "../../src/models/decoder.ts";

/** Sequences of tokens, of which the first ones carry no loss. */
export interface GoldenBatch {
  sequences: number[][];
  promptTokens: number[];
}

/** Packs the sequences into one row of tokens, with the rows that are labelled: row t predicts the next token of its sequence. */
export function packed({ sequences, promptTokens }: GoldenBatch) {
  const segments = [];
  const rows: number[] = [];
  const targets: number[] = [];
  let start = 0;
  for (const [i, ids] of sequences.entries()) {
    segments.push({ start, length: ids.length, keyStart: start, position: 0, context: [] });
    for (let t = promptTokens[i]; t < ids.length; t++) {
      rows.push(start + t - 1);
      targets.push(ids[t]);
    }
    start += ids.length;
  }
  const tokens: PackedTokens = {
    ids: Int32Array.from(sequences.flat()),
    segments,
  };
  return { tokens, rows, targets, lastRows: segments.map((one) => one.start + one.length - 1) };
}

/** The mean loss over the labelled tokens, with its gradients added to the trainable weights. */
export async function lossAndGradients(
  model: Decoder,
  { tokens, rows, targets }: ReturnType<typeof packed>,
  recompute = false,
): Promise<number> {
  const tape = createTape(model.backend, { record: true, recompute });
  try {
    const logits = forward(model, tape, { ...tokens, outputRows: Int32Array.from(rows) });
    const weights = new Float32Array(rows.length).fill(1 / rows.length);
    const loss = tape.crossEntropy(logits, Int32Array.from(targets), weights);
    const kept = tape.keep(loss);
    tape.backward(loss);
    const [value] = await model.backend.read(kept);
    model.backend.free(kept);
    return value;
  } finally {
    tape.dispose();
  }
}
