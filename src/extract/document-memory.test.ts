import { createWriteStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, expect, it } from "vitest";
import { fakeExtractor } from "../../test/fake-extractor.ts";
import { openEntities, parseEntitySource } from "../documents/entities.ts";
import { emptyReadCounts } from "../documents/read/format.ts";
import { readDocuments } from "../documents/read/read-documents.ts";
import { extractDocuments } from "./document-corpus.ts";

const root = mkdtempSync(join(tmpdir(), "cre-document-memory-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const ROWS = 20_000;

/** Bytes that are in use after a garbage collection: what is kept, without what V8 has not collected yet. */
function liveBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

it("a stream of documents keeps nothing of what is done: 20,000 rows need what 2,000 need", {
  timeout: 240_000,
}, async () => {
  const [names, rows] = [join(root, "names.csv"), join(root, "rows.csv")];
  writeFileSync(names, "name\n甲公司\n乙公司\n");
  const stream = createWriteStream(rows);
  stream.write("text\n");
  for (let i = 0; i < ROWS; i++) stream.write(`第${i}日甲公司宣布收购乙公司的全部股份，价格没有公布。\n`);
  stream.end();
  await finished(stream);
  const entities = await openEntities([parseEntitySource(names)], "longest");
  const extractor = fakeExtractor();
  const documents = readDocuments([rows], { counts: emptyReadCounts(), onNotice: () => {} });
  const seen: { documents: number; bytes: number }[] = [];
  const output = { done: [], part: "", add: async () => {} };
  const settings = { window: 1, maxPairs: 10, minProbability: 0, maxCharacters: 200, windowItems: 512, run: "r" };
  const all = { ...settings, thresholds: null, labels: extractor.labels };
  await extractDocuments(extractor, documents, entities.finder, output, all, {
    onProgress({ documents }) {
      if (documents - (seen.at(-1)?.documents ?? 0) >= 1_500) seen.push({ documents, bytes: liveBytes() });
    },
  });
  const [first, last] = [seen[0], seen[seen.length - 1]];
  console.info(`${first.documents} documents: ${first.bytes} bytes in use; ${last.documents}: ${last.bytes}`);
  expect(last.documents).toBeGreaterThan(0.85 * ROWS);
  expect(last.bytes).toBeLessThan(1.1 * first.bytes);
});
