import { stat } from "node:fs/promises";
import { addTo, emptyReadCounts, type ReadContext, type ReadCounts, type ReadItem, type Source } from "./format.ts";
import type { DocumentFormatName } from "./formats.ts";

interface KeptFile {
  items: ReadItem[];
  counts: ReadCounts;
  notices: string[];
}

/** Formats whose files are parsed whole. The others are streamed, about as fast as what was kept could be read. */
const PARSED: ReadonlySet<DocumentFormatName> = new Set(["markdown", "html", "docx", "pdf"]);

/** Reads a file, or takes what an earlier process read from it while its size and time are the same. */
export async function* readKept(
  source: Source,
  format: DocumentFormatName,
  context: ReadContext,
  read: (context: ReadContext) => AsyncGenerator<ReadItem>,
): AsyncGenerator<ReadItem> {
  const { kept } = context;
  const key = kept && source.path !== null && PARSED.has(format) ? await keyOf(format, source.id, source.path) : null;
  if (!kept || key === null) {
    yield* read(context);
    return;
  }
  let file = (await kept.take(key)) as KeptFile | null;
  if (file === null) {
    file = { items: [], counts: emptyReadCounts(), notices: [] };
    const own: ReadContext = { ...context, counts: file.counts, notice: (text) => file?.notices.push(text) };
    for await (const item of read(own)) file.items.push(item);
    await kept.add(key, file);
  }
  addCounts(context.counts, file.counts);
  for (const text of file.notices) context.notice(text);
  yield* file.items;
}

async function keyOf(format: string, id: string, path: string): Promise<string | null> {
  const info = await stat(path).catch(() => null);
  return info && `${format} ${id} ${info.size} ${info.mtimeMs}`;
}

function addCounts(counts: ReadCounts, more: ReadCounts): void {
  for (const name of ["files", "documents", "bad", "empty", "gb18030"] as const) counts[name] += more[name];
  for (const name of ["skipped", "dropped"] as const) {
    for (const [key, number] of Object.entries(more[name])) addTo(counts[name], key, number);
  }
}
