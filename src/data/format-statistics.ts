import { plainTable } from "../base/plain-table.ts";
import type { DatasetStatistics, SplitStatistics } from "./statistics.ts";

/** Statistics as plain text with aligned columns, for a terminal; East Asian characters count as two columns. */
export function formatStatistics(statistics: DatasetStatistics): string {
  const { splits } = statistics;
  const names = splits.map((split) => split.name);
  const row = (title: string, value: (split: SplitStatistics) => string) => [title, ...splits.map(value)];
  const counts = [
    row("rows in the file", (split) => whole(split.rows)),
    row("bad rows", (split) => whole(split.badRows)),
    row("merged into another row", (split) => whole(split.merged)),
    row("exact duplicates", (split) => whole(split.exactDuplicates)),
    row("examples", (split) => whole(split.examples)),
    row("different sentences", (split) => whole(split.sentences)),
    row("no relation only", (split) => share(split.noRelationOnly, split.examples)),
    row("more than one relation", (split) => share(split.multiRelation, split.examples)),
    row("head = tail", (split) => share(split.sameEntity, split.examples)),
    row("head and tail overlap", (split) => share(split.overlappingEntities, split.examples)),
    row("(tail, head) is there too", (split) => share(split.mirrored, split.examples)),
    row("… with the inverse labels", (split) => share(split.inverseConsistent, split.inverseChecked)),
  ];
  const lengths = [
    row("mean", (split) => split.sentenceChars.mean.toFixed(1)),
    row("median", (split) => whole(split.sentenceChars.median)),
    row("95 % are at most", (split) => whole(split.sentenceChars.p95)),
    row("max", (split) => whole(split.sentenceChars.max)),
  ];
  const total = (label: string) => splits.reduce((sum, split) => sum + (split.labels[label] ?? 0), 0);
  const labels = [...new Set(splits.flatMap((split) => Object.keys(split.labels)))]
    .sort((a, b) => total(b) - total(a))
    .map((label) => row(label, (split) => share(split.labels[label] ?? 0, split.examples)));
  const leakage = statistics.leakage.map((leak) => [
    `${leak.from} → ${leak.to}`,
    share(leak.sameSentence, leak.examples),
    share(leak.sameSentenceAndPair, leak.examples),
    share(leak.samePairAndLabel, leak.examples),
  ]);
  const parts = [
    plainTable(["counts", ...names], counts),
    plainTable(["sentence characters", ...names], lengths),
    plainTable([`examples with each of the ${statistics.labels} labels`, ...names], labels),
  ];
  if (leakage.length > 0) {
    parts.push(plainTable(["in both", "same sentence", "same sentence and pair", "same pair and label"], leakage));
  }
  return `${parts.join("\n\n")}\n`;
}

function whole(count: number): string {
  return count.toLocaleString("en-US");
}

function share(part: number, all: number): string {
  return all === 0 ? "–" : `${whole(part)} (${((100 * part) / all).toFixed(1)} %)`;
}
