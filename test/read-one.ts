import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emptyReadCounts } from "../src/documents/read/format.ts";
import { type ReadOptions, readDocuments } from "../src/documents/read/read-documents.ts";

/** Everything that one file gives: documents as [id, text, fields?], bad ones as "id: reason". Throws when the counts differ from it. */
export async function readOne(name: string, content: string | Uint8Array, options: ReadOptions = {}) {
  const directory = await mkdtemp(join(tmpdir(), "cre-read-"));
  const file = join(directory, name);
  await writeFile(file, content);
  const notices: string[] = [];
  const counts = emptyReadCounts();
  const documents: unknown[] = [];
  const bad: string[] = [];
  for await (const item of readDocuments([file], { counts, onNotice: (notice) => notices.push(notice), ...options })) {
    if ("bad" in item) bad.push(`${item.bad.id}: ${item.bad.reason}`);
    else if (Object.keys(item.fields).length === 0) documents.push([item.id, item.text]);
    else documents.push([item.id, item.text, item.fields]);
  }
  await rm(directory, { recursive: true });
  if (counts.documents !== documents.length || counts.bad !== bad.length) {
    throw new Error(`counted ${counts.documents} and ${counts.bad}, got ${documents.length} and ${bad.length}`);
  }
  return { documents, bad, notices, counts };
}
