import type { Example } from "../data/example.ts";
import type { Extraction } from "../extract/extractor.ts";
import type { Run } from "../runs/run.ts";

/** One extraction of all rows. */
interface Turn {
  seconds: number;
  processorSeconds: number;
}

/** Extraction with float products and with 8-bit ones, of the same rows. */
export interface Int8Comparison {
  rows: number;
  /** Medians over the rounds. */
  float: Turn;
  int8: Turn;
  /** Processor time of float products over that of 8-bit ones: the median of the rounds. */
  gain: number;
  /** Bytes of each model. */
  bytes: { float: number; int8: number };
  /** Rows with the same labels. */
  sameLabels: number;
  /** Of the probabilities of labels that both gave. */
  probabilityDifference: { largest: number; mean: number };
}

/** Extracts the rows in turns, after a turn of each that does not count. Of the last round the answers are compared. */
export async function compareInt8(
  runs: { float: Run; int8: Run },
  examples: readonly Example[],
  rounds: number,
  onTurn: () => void = () => {},
): Promise<Int8Comparison> {
  const turns: { float: Turn; int8: Turn }[] = [];
  let answers: { float: Extraction[]; int8: Extraction[] } = { float: [], int8: [] };
  for (let round = 0; round <= rounds; round++) {
    const [float, int8] = [await timed(runs.float, examples), await timed(runs.int8, examples)];
    answers = { float: float.answers, int8: int8.answers };
    if (round > 0) turns.push({ float: float.turn, int8: int8.turn });
    onTurn();
  }
  const medianOf = (key: "float" | "int8"): Turn => ({
    seconds: median(turns.map((turn) => turn[key].seconds)),
    processorSeconds: median(turns.map((turn) => turn[key].processorSeconds)),
  });
  return {
    rows: examples.length,
    float: medianOf("float"),
    int8: medianOf("int8"),
    gain: median(turns.map(({ float, int8 }) => float.processorSeconds / int8.processorSeconds)),
    bytes: { float: bytesOf(runs.float), int8: bytesOf(runs.int8) },
    ...agreement(answers.float, answers.int8),
  };
}

const bytesOf = ({ model }: Run) => model.backend.memory().bytes;

async function timed(run: Run, examples: readonly Example[]): Promise<{ turn: Turn; answers: Extraction[] }> {
  const [started, usage] = [performance.now(), process.cpuUsage()];
  const answers = await run.extract(examples);
  const { user, system } = process.cpuUsage(usage);
  return { turn: { seconds: (performance.now() - started) / 1e3, processorSeconds: (user + system) / 1e6 }, answers };
}

/** How far two lists of answers to the same rows agree. */
export function agreement(
  answers: readonly Pick<Extraction, "predictions">[],
  others: readonly Pick<Extraction, "predictions">[],
): Pick<Int8Comparison, "sameLabels" | "probabilityDifference"> {
  const differences: number[] = [];
  let sameLabels = 0;
  for (const [i, { predictions }] of answers.entries()) {
    const other = new Map(others[i].predictions.map(({ relation, probability }) => [relation, probability]));
    if (predictions.length === other.size && predictions.every(({ relation }) => other.has(relation))) sameLabels++;
    for (const { relation, probability } of predictions) {
      if (other.has(relation)) differences.push(Math.abs(probability - (other.get(relation) as number)));
    }
  }
  const sum = differences.reduce((all, one) => all + one, 0);
  return {
    sameLabels,
    probabilityDifference: { largest: Math.max(0, ...differences), mean: sum / Math.max(1, differences.length) },
  };
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
