import { type DatasetFormat, openDataset } from "../../data/dataset.ts";
import type { Example, LabelSet } from "../../data/example.ts";
import type { Normalization } from "../../data/normalize.ts";
import type { SplitName } from "../../data/split.ts";
import { datasetStatistics, type LengthStatistics } from "../../data/statistics.ts";

/** The data folder of a run, as its recipe names it. */
export interface DatasetPlace {
  path: string;
  format: DatasetFormat | "auto";
  labels: LabelSet;
  normalize: Normalization | undefined;
}

/** What a page shows of a split. */
export interface SplitSummary {
  rows: number;
  badRows: number;
  sentences: number;
  /** Rows whose only label is the one for no relation. */
  noRelationOnly: number;
  /** Rows with more than one label. */
  multiRelation: number;
  /** Characters (code points) of the rows' sentences, with a histogram of at most {@link BARS} bars. */
  lengths: LengthStatistics & { bars: { from: number; to: number; rows: number }[] };
  /** Rows that have the label, the most frequent first. */
  labels: Record<string, number>;
}

/** Rows that are wanted of a split. */
export interface RowsWanted {
  split: SplitName;
  label?: string;
  offset: number;
  limit: number;
}

/** Rows of a split with their places in it, and the number of all that match. */
export interface RowsFound {
  rows: (Omit<Example, "id"> & { row: number })[];
  total: number;
}

const BARS = 24;
/** Widths of bars that people read easily. */
const WIDTHS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/** Counts the splits of a data folder; bad rows are skipped and counted. Throws a UserError for a folder that cannot be read. */
export async function summariesOf(place: DatasetPlace): Promise<Record<string, SplitSummary>> {
  const dataset = await openDataset(place.path, place);
  const summaries: Record<string, SplitSummary> = {};
  for (const name of dataset.splitNames) {
    const { examples, counts } = await dataset.split(name, { onBadRow: "skip" });
    const [of] = datasetStatistics([{ name, examples, counts }], place.labels).splits;
    summaries[name] = {
      ...{ rows: of.examples, badRows: of.badRows, sentences: of.sentences },
      ...{ noRelationOnly: of.noRelationOnly, multiRelation: of.multiRelation },
      lengths: { ...of.sentenceChars, bars: barsOf(examples, of.sentenceChars.max) },
      labels: Object.fromEntries(Object.entries(of.labels).sort((a, b) => b[1] - a[1])),
    };
  }
  return summaries;
}

function barsOf(examples: readonly Example[], longest: number): { from: number; to: number; rows: number }[] {
  const width = WIDTHS.find((one) => longest / one < BARS) ?? Math.ceil((longest + 1) / BARS);
  const bars = Array.from({ length: Math.floor(longest / width) + 1 }, (_, i) => ({
    ...{ from: i * width, to: (i + 1) * width - 1, rows: 0 },
  }));
  for (const { sentence } of examples) bars[Math.floor(Array.from(sentence).length / width)].rows++;
  return bars;
}

/** Reads rows of a split. Throws a UserError for a folder or a split that cannot be read. */
export async function rowsOf(place: DatasetPlace & { wanted: RowsWanted }): Promise<RowsFound> {
  const { split, label, offset, limit } = place.wanted;
  const dataset = await openDataset(place.path, place);
  const { examples } = await dataset.split(split, { onBadRow: "skip" });
  const matching = examples.flatMap(({ id: _, ...example }, row) =>
    label === undefined || example.relations?.includes(label) ? [{ row, ...example }] : [],
  );
  return { rows: matching.slice(offset, offset + limit), total: matching.length };
}
