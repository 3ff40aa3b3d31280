import { createTape } from "../compute/autograd.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import { packExamples } from "../train/batches.ts";
import { type DocumentMarks, partOf, type SequencePart } from "./sequences.ts";
import type { TokenDocuments } from "./token-file.ts";

/** The score of a model on held-out text. */
export interface HeldOutScore {
  /** Bits to write the text with the model's probabilities, end marks included, divided by its characters. */
  bitsPerCharacter: number;
  characters: number;
  tokens: number;
}

/** Scores held-out documents, cut into windows of at most `windowRows` rows that do not see each other. */
export async function scoreHeldOut(
  model: Decoder,
  documents: TokenDocuments,
  marks: DocumentMarks,
  windowRows: number,
  passRows: number,
): Promise<HeldOutScore> {
  let nats = 0;
  let tokens = 0;
  let pass: SequencePart[] = [];
  let rows = 0;
  const flush = async () => {
    if (pass.length > 0) nats += await negativeLogProbability(model, pass);
    tokens += rows;
    pass = [];
    rows = 0;
  };
  for (const window of windows(documents, marks, windowRows)) {
    if (rows + window.answerIds.length > passRows) await flush();
    pass.push(window);
    rows += window.answerIds.length;
  }
  await flush();
  const { characters } = documents;
  return { bitsPerCharacter: nats / Math.LN2 / Math.max(1, characters), characters, tokens };
}

function* windows(documents: TokenDocuments, marks: DocumentMarks, windowRows: number): Generator<SequencePart> {
  const { ends } = documents;
  for (let d = 0; d < ends.length; d++) {
    const rows = ends[d] - (d === 0 ? 0 : ends[d - 1]) + 1;
    for (let from = 0; from < rows; from += windowRows) {
      yield partOf(documents, d, from, Math.min(rows, from + windowRows), marks);
    }
  }
}

async function negativeLogProbability(model: Decoder, parts: readonly SequencePart[]): Promise<number> {
  const { backend } = model;
  const { tokens, targets } = packExamples(parts, 0, 1);
  const tape = createTape(backend, { record: false });
  try {
    const logits = forward(model, tape, { ...tokens, outputRows: undefined });
    const found = backend.logProbabilities(logits.tensor, Int32Array.from(targets.keys()), targets);
    const values = await backend.read(found);
    backend.free(found);
    let sum = 0;
    for (const value of values) sum -= value;
    return sum;
  } finally {
    tape.dispose();
  }
}
