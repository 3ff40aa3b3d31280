import Table from "cli-table3";

const BORDERS = [
  ...["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"],
  ...["left", "left-mid", "mid", "mid-mid", "right", "right-mid", "middle"],
];

/** Aligned columns without borders, two blanks apart: the first `textColumns` to the left, the others to the right. East Asian characters count two. */
export function plainTable(head: readonly string[], rows: readonly (readonly string[])[], textColumns = 1): string {
  const table = new Table({
    head: [...head],
    chars: { ...Object.fromEntries(BORDERS.map((name) => [name, ""])), middle: "  " },
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
    colAligns: head.map((_, column) => (column < textColumns ? "left" : "right")),
  });
  table.push(...rows.map((row) => [...row]));
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
