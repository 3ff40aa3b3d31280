import picocolors from "picocolors";
import { plainTable } from "../base/plain-table.ts";
import { quoted } from "../data/example.ts";
import { printable } from "../evaluate/report.ts";
import { grouped, percent, percentOfSmall } from "../evaluate/wording.ts";
import type { Audit } from "./doubt.ts";

const SENTENCE_CHARACTERS = 50;

/** An audit as text for a terminal: its most suspicious rows and how far to trust them, in percent; ends with a line break. */
export function renderAudit(found: Audit, options: { maxRows: number; colour?: boolean }): string {
  const paint = picocolors.createColors(options.colour ?? false);
  const { data, rows, examples, folds, f1 } = found;
  const judge = found.with === "linear" ? "linear companion" : "language model";
  const heading = [
    paint.bold(`${printable(data)}: ${grouped(rows.length)} training rows`),
    paint.dim(
      `${judge}, ${folds} folds by sentence; on these rows micro F1 ${percent(f1.micro)}, paper F1 ${percent(f1.paper)}`,
    ),
  ].join("\n");
  const listed = rows.slice(0, options.maxRows).map(({ place, suspicion, says, probability }, i) => {
    const { sentence, head, tail, relations } = examples[place];
    const labels = [...new Set(relations)].map(printable).join(", ");
    return [
      `${paint.dim(`${i + 1}.`)} ${printable(quoted(sentence, SENTENCE_CHARACTERS))}`,
      `   (${printable(head)}, ${printable(tail)})  label ${labels} ${percentOfSmall(1 - suspicion)} %  model says ${printable(says)} ${percent(probability)} %`,
    ].join("\n");
  });
  const blocks = [heading, ...(listed.length > 0 ? [listed.join("\n")] : []), precisionText(found, paint)];
  return `${blocks.join("\n\n")}\n`;
}

function precisionText({ precision }: Audit, paint: ReturnType<typeof picocolors.createColors>): string {
  const has = {
    mirror: precision.some(({ checked }) => checked > 0),
    breaking: precision.some(({ breaking }) => breaking > 0),
    planted: precision.some(({ planted }) => planted !== null),
  };
  const share = (part: number, of: number) => (of === 0 ? "" : `${percent(part / of)} %`);
  const heading = [
    ...["first rows", "label at most"],
    ...(has.mirror ? ["reversed", "both sides"] : []),
    ...(has.breaking ? ["break the rule"] : []),
    ...(has.planted ? ["planted"] : []),
  ];
  const lines = precision.map(({ k, suspicion, checked, confirmed, breaking, planted }, i) => [
    i === precision.length - 1 ? `all ${grouped(k)}` : grouped(k),
    `${percentOfSmall(1 - suspicion)} %`,
    ...(has.mirror ? [grouped(checked), share(confirmed, checked)] : []),
    ...(has.breaking ? [share(breaking, k)] : []),
    ...(has.planted ? [share(planted ?? 0, k)] : []),
  ]);
  const notes = [
    ...(has.mirror
      ? [
          "both sides: of the rows with a reversed row whose label the model contradicts, those where it gives the inverse answer there",
        ]
      : []),
    ...(has.breaking
      ? ["break the rule: the labels of the row and of its reversed row are no inverses; one is wrong for certain"]
      : []),
    ...(has.planted ? ["planted: rows that were relabelled on purpose; other wrong labels count as misses"] : []),
  ];
  const table = plainTable(
    heading.map((text) => paint.dim(text)),
    lines,
  );
  return [table, ...notes.map((note) => paint.dim(note))].join("\n");
}
