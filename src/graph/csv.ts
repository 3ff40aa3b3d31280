/** A cell that a spreadsheet may take for a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * One line of CSV (RFC 4180), every text in quotation marks. A text that a spreadsheet would calculate (`=…`, `+…`, `-…`, `@…`) gets an
 * apostrophe in front of it, so that a hostile document cannot run anything there.
 */
export function spreadsheetLine(cells: readonly (string | number | null)[]): string {
  return csvLine(cells.map((cell) => (typeof cell === "string" && FORMULA.test(cell) ? `'${cell}` : cell)));
}

/** One line of CSV (RFC 4180), every text in quotation marks and unchanged. */
export function csvLine(cells: readonly (string | number | null)[]): string {
  const texts = cells.map((cell) => {
    if (cell === null) return "";
    return typeof cell === "number" ? String(cell) : `"${cell.replaceAll('"', '""')}"`;
  });
  return `${texts.join(",")}\n`;
}
