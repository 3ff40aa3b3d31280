import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { Example, LabelSet } from "../data/example.ts";
import type { Normalization } from "../data/normalize.ts";
import { inputKey } from "../data/split.ts";
import { mirrored } from "../extract/extractor.ts";

/** A training row, and what a model that did not see its sentence says. */
export interface DoubtedRow {
  /** Its place in the training rows. */
  place: number;
  /** 1 − the probability of the row's labels together. */
  suspicion: number;
  /** The most probable label, and its probability. */
  says: string;
  probability: number;
  /** Whether that is none of the row's labels. */
  disagrees: boolean;
  /** The row from tail to head, where the data has one. */
  reversed: ReversedRow | null;
}

/** The row with head and tail exchanged. A rule of the labels says which label it must have: the inverse. */
export interface ReversedRow {
  place: number;
  says: string;
  /** Whether the labels of both rows break the rule; null where a label has no declared inverse. */
  breaksRule: boolean | null;
  /** Whether the model's answers to both rows obey the rule; null where its answer has no declared inverse. */
  isConfirmed: boolean | null;
}

/**
 * Training rows by falling suspicion. The probabilities are those of models that did not see the row's sentence, in the order of the label
 * set, one list a row. Of the scores that were tried, the plain probability of the row's labels found most wrong labels (docs/choosing.md).
 */
export function rankByDoubt(
  examples: readonly Example[],
  probabilities: readonly ArrayLike<number>[],
  labels: LabelSet,
): DoubtedRow[] {
  const placeOfLabel = new Map(labels.labels.map((label, place) => [label, place]));
  const placeOfRow = new Map(examples.map((example, place) => [inputKey(example), place]));
  const best = probabilities.map((row) => bestOf(row, labels.labels));
  const rows = examples.map((example, place): DoubtedRow => {
    const { relations = [] } = example;
    const own = new Set(relations);
    let sum = 0;
    for (const label of own) sum += probabilities[place][placeOfLabel.get(label) as number];
    const { label: says, probability } = best[place];
    const other = placeOfRow.get(inputKey(mirrored(example)));
    return {
      ...{ place, suspicion: Math.min(1, Math.max(0, 1 - sum)), says, probability, disagrees: !own.has(says) },
      reversed:
        other === undefined || other === place
          ? null
          : {
              ...{ place: other, says: best[other].label },
              breaksRule: breaksRule(relations, examples[other].relations ?? [], labels),
              isConfirmed: isInverse(says, best[other].label, labels),
            },
    };
  });
  return rows.sort((a, b) => b.suspicion - a.suspicion || a.place - b.place);
}

function bestOf(row: ArrayLike<number>, labels: readonly string[]): { label: string; probability: number } {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  return { label: labels[best], probability: row[best] };
}

/** The label that holds for (tail, head); the one for no relation is its own. */
function inverseOf(label: string, { noRelation, inverses }: LabelSet): string | undefined {
  return label === noRelation ? label : inverses.get(label);
}

function isInverse(label: string, other: string, labels: LabelSet): boolean | null {
  const inverse = inverseOf(label, labels);
  return inverse === undefined ? null : inverse === other;
}

function breaksRule(own: readonly string[], other: readonly string[], labels: LabelSet): boolean | null {
  const expected = new Set<string>();
  for (const label of own) {
    const inverse = inverseOf(label, labels);
    if (inverse === undefined) return null;
    expected.add(inverse);
  }
  const found = new Set(other);
  return expected.size !== found.size || [...expected].some((label) => !found.has(label));
}

/** How far the first k rows of a ranking can be trusted, by checks that need nobody to read them. Counts of rows. */
export interface PrecisionAtK {
  k: number;
  /** Suspicion of the k-th row. */
  suspicion: number;
  /** Rows with a reversed row and an answer with a declared inverse that is none of the row's labels. */
  checked: number;
  /** Of these, rows whose reversed row gets the inverse answer: the model contradicts the label from both sides. */
  confirmed: number;
  /** Rows whose labels break the rule of inverse labels: one of the two is wrong for certain. */
  breaking: number;
  /** Rows that were relabelled on purpose; null where none were. */
  planted: number | null;
}

const KS = [10, 20, 50, 100, 200, 500, 1000];
/** Shares of all rows that are shown too. */
const SHARES = [0.01, 0.02, 0.05];

/** Precision at k for round numbers, for 1, 2 and 5 % of the rows, and for all rows, the base rate. */
export function precisionAtK(ranked: readonly DoubtedRow[], planted: ReadonlySet<number> | null): PrecisionAtK[] {
  const shares = SHARES.map((share) => Math.round(share * ranked.length));
  const ks = [...new Set([...KS, ...shares])].filter((k) => k > 0 && k < ranked.length).sort((a, b) => a - b);
  const count = (rows: readonly DoubtedRow[], is: (row: DoubtedRow) => boolean) => rows.filter(is).length;
  return [...ks, ranked.length].map((k) => {
    const first = ranked.slice(0, k);
    const isChecked = ({ disagrees, reversed }: DoubtedRow) => disagrees && (reversed?.isConfirmed ?? null) !== null;
    return {
      k,
      suspicion: first[k - 1].suspicion,
      checked: count(first, isChecked),
      confirmed: count(first, (row) => isChecked(row) && row.reversed?.isConfirmed === true),
      breaking: count(first, ({ reversed }) => reversed?.breaksRule === true),
      planted: planted === null ? null : count(first, ({ place }) => planted.has(place)),
    };
  });
}

/** Labels that are doubted for the same other label. */
export interface DoubtedPair {
  label: string;
  says: string;
  rows: number;
}

/** Training rows ranked by how much a model that did not see them doubts their labels. */
export interface Audit {
  /** Name and path of the data folder. */
  data: string;
  directory: string;
  with: "linear" | "model";
  folds: number;
  labels: LabelSet;
  /** The training rows; with planted labels where these were asked for. */
  examples: Example[];
  /** The most suspicious first. */
  rows: DoubtedRow[];
  precision: PrecisionAtK[];
  /** Rows that the model disagrees with, by label and answer, among the first 2 % of the ranking. */
  pairs: DoubtedPair[];
  /** F1 of the model on the rows it did not see, as fractions. */
  f1: { micro: number; paper: number };
  /** Rows that were given a wrong label on purpose; null where none were. */
  planted: number | null;
  /** Unicode normalisation by which the rows were read. */
  normalize: Normalization | undefined;
}

/** The commonest pairs of a row's label and the model's answer among the first rows of a ranking that the model disagrees with. */
export function doubtedPairs(
  ranked: readonly DoubtedRow[],
  examples: readonly Example[],
  first: number,
): DoubtedPair[] {
  const pairs = new Map<string, DoubtedPair>();
  for (const { place, says, disagrees } of ranked.slice(0, first)) {
    if (!disagrees) continue;
    const label = [...new Set(examples[place].relations)].join(", ");
    const key = JSON.stringify([label, says]);
    const pair = pairs.get(key) ?? { label, says, rows: 0 };
    pair.rows++;
    pairs.set(key, pair);
  }
  return [...pairs.values()].sort((a, b) => b.rows - a.rows);
}

/**
 * Gives a share of the rows one other label each, drawn as often as labels occur, so that it is known which rows are wrong. The share is
 * rounded to rows, at least one. Throws a UserError for a share that is not between 0 and 1, and when all rows have the same label.
 */
export function plantWrongLabels(
  examples: readonly Example[],
  share: number,
  seed: number,
): { examples: Example[]; planted: Set<number> } {
  if (!(share > 0 && share < 1))
    throw new UserError(`The share of planted rows is ${share}, expected one between 0 and 1.`);
  const all = examples.flatMap(({ relations = [] }) => relations);
  if (new Set(all).size < 2)
    throw new UserError("All rows have the same label, expected at least two to plant wrong ones.");
  const random = createRandom(seed);
  const changed = [...examples];
  const places = random.shuffle([...examples.keys()]).filter((place) => isAnyOther(examples[place], all));
  const planted = new Set(places.slice(0, Math.max(1, Math.round(share * examples.length))));
  for (const place of planted) {
    const own = new Set(examples[place].relations);
    let other = all[random.below(all.length)];
    while (own.has(other)) other = all[random.below(all.length)];
    changed[place] = { ...examples[place], relations: [other] };
  }
  return { examples: changed, planted };
}

const isAnyOther = ({ relations }: Example, all: readonly string[]) => all.some((label) => !relations?.includes(label));
