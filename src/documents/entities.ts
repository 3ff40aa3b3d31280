import { stat } from "node:fs/promises";
import { UserError } from "../base/errors.ts";
import { fileSizeBytes } from "../base/files.ts";
import { type ColumnFinder, columnFinder } from "./column-names.ts";
import { readDictionary } from "./dictionary.ts";
import { combinedFinder, type MentionFinder, type OverlapPolicy } from "./mention.ts";
import type { OnNotice } from "./name-rows.ts";
import type { Dictionary } from "./names.ts";

/** Where entities come from, as the command line names it. */
export type EntitySource =
  | { kind: "dictionary"; file: string }
  | { kind: "patterns"; file: string }
  | { kind: "column"; column: string; type: string | null }
  | { kind: "model" };

/** Reads a source: `FILE` (a dictionary), `pattern:FILE`, `column:NAME`, `column:NAME=TYPE` or `model`. Throws a UserError for another form. */
export function parseEntitySource(text: string): EntitySource {
  const [, kind, rest] = /^(column|pattern|patterns|dictionary):(.*)$/s.exec(text) ?? [];
  if (kind === undefined) {
    if (text === "model") return { kind: "model" };
    if (text !== "") return { kind: "dictionary", file: text };
    throw new UserError(`--entities ${text}: expected a file of names, pattern:FILE, column:NAME or model.`);
  }
  if (rest === "") throw new UserError(`--entities ${text}: expected a name after "${kind}:".`);
  if (kind === "dictionary") return { kind, file: rest };
  if (kind !== "column") return { kind: "patterns", file: rest };
  const [, column, type] = /^(.+?)(?:=(.+))?$/s.exec(rest) as RegExpExecArray;
  return { kind, column, type: type ?? null };
}

export interface Entities {
  /** Of all sources but the model. */
  finder: MentionFinder;
  /** Whether the run's own mentions are wanted too. */
  fromModel: boolean;
  overlap: OverlapPolicy;
  dictionary: Dictionary | null;
  columns: { column: string; counts: ColumnFinder["counts"] }[];
  /** What tells these sources from others: names, and sizes and times of files. */
  identity: unknown;
}

/** Opens sources of entities; dictionaries are read as one. Of overlapping mentions of equal length the earlier source wins. */
export async function openEntities(
  sources: readonly EntitySource[],
  overlap: OverlapPolicy,
  onNotice: OnNotice = () => {},
): Promise<Entities> {
  if (sources.length === 0) throw new UserError("No source of entities is given, expected --entities FILE.");
  const finders: MentionFinder[] = [];
  const columns: Entities["columns"] = [];
  const files = sources.flatMap((source) => (source.kind === "dictionary" ? [source.file] : []));
  const identity: unknown[] = [overlap];
  const dictionary = files.length > 0 ? await readDictionary(files, onNotice) : null;
  let isDictionaryIn = false;
  for (const source of sources) {
    if (source.kind === "model") {
      identity.push(source);
      continue;
    }
    if (source.kind === "column") {
      const finder = columnFinder(source.column, source.type);
      columns.push({ column: source.column, counts: finder.counts });
      finders.push(finder);
      identity.push(source);
      continue;
    }
    const sizeBytes = await fileSizeBytes(source.file, "a table of names");
    identity.push([source, sizeBytes, (await stat(source.file)).mtimeMs]);
    if (source.kind === "patterns") {
      const { readPatterns } = await import("./patterns.ts");
      finders.push(await readPatterns(source.file, onNotice));
    } else if (dictionary && !isDictionaryIn) {
      finders.push(dictionary.finder(overlap));
      isDictionaryIn = true;
    }
  }
  const fromModel = sources.some(({ kind }) => kind === "model");
  return { finder: combinedFinder(finders, overlap), fromModel, overlap, dictionary, columns, identity };
}
