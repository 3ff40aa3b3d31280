import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { docxFile, gbkBytes, parquetFile, pdfFile, pdfPages } from "../../../test/document-files.ts";
import { createRandom, type Random } from "../../base/random.ts";
import { splitSentences } from "../sentences.ts";
import { DOCUMENT_FORMAT_NAMES, type DocumentFormatName } from "./formats.ts";
import { readDocuments } from "./read-documents.ts";

// Broken files of every format: each gives documents or reasons, and never an error or a long wait. CRE_FUZZ_COUNT sets how many.
const COUNT = Number(process.env.CRE_FUZZ_COUNT ?? 30);
const SEED = Number(process.env.CRE_FUZZ_SEED ?? 1);
const LIMIT_MS = 5000;

const TEXT = "甲公司收购乙公司。😀“好。”\n\n第二段，3.5%。";
const ROWS = [1, 2, 3].map((id) => ({ id, text: `${TEXT}${id}` }));
const WHOLE: Record<DocumentFormatName, Buffer> = {
  text: gbkBytes("甲公司收购乙公司，第二段。"),
  markdown: Buffer.from(`# ${TEXT}\n\n- *a* [b](c)\n\n| x | y |\n|--|--|\n| 1 | 2 |\n\n\`\`\`\ncode\n\`\`\`\n`),
  html: Buffer.from(
    `<!doctype html><head><title>x</title></head><p>${TEXT}&amp;<b>x</b><script>1</script><table><td>2`,
  ),
  csv: Buffer.from(`id,text\n1,"甲,""乙"""\n2,丙\n`),
  tsv: Buffer.from("id\ttext\n1\t甲\n2\t丙\n"),
  json: Buffer.from(JSON.stringify(ROWS)),
  jsonl: Buffer.from(ROWS.map((row) => JSON.stringify(row)).join("\n")),
  parquet: parquetFile(ROWS),
  docx: docxFile([TEXT, ["左", "右"]]),
  pdf: pdfFile(pdfPages([["第一行文字", "第二行文字"], ["第三行"]])),
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "cre-fuzz-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** One change: other bytes, a cut, a part twice or missing, or nothing but random bytes. */
function broken(whole: Buffer, random: Random): Buffer {
  const bytes = Buffer.from(whole);
  const at = random.below(bytes.length);
  const end = Math.min(bytes.length, at + 1 + random.below(40));
  switch (random.below(6)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
    case 3:
      return Buffer.from(Array.from({ length: 1 + random.below(300) }, () => random.below(256)));
    default:
      for (let i = at; i < end; i += 1 + random.below(8)) bytes[i] = random.below(256);
      return bytes;
  }
}

describe.each(DOCUMENT_FORMAT_NAMES)("broken files: %s", (format) => {
  it("give documents or reasons", async () => {
    const random = createRandom(SEED);
    const files = await Promise.all(
      Array.from({ length: COUNT }, async (_, i) => {
        const bytes = broken(WHOLE[format], random);
        const file = join(directory, `${format}-${i}${i % 5 === 0 ? ".gz" : ""}`);
        await writeFile(file, i % 5 === 0 ? gzipSync(bytes) : bytes);
        return file;
      }),
    );
    const whole = join(directory, `${format}-whole`);
    await writeFile(whole, WHOLE[format]);
    let [documents, bad] = [0, 0];
    let last = performance.now();
    for await (const item of readDocuments([...files, whole], { format, limits: { parseMs: LIMIT_MS } })) {
      if ("bad" in item) {
        expect(item.bad.reason).not.toBe("");
        // A fault of our own code would read like this.
        expect(item.bad.reason).not.toMatch(/^(Cannot read prop|undefined|\w+ is not (a function|iterable|defined))/);
        bad++;
      } else {
        splitSentences(item.text);
        documents++;
      }
      expect(performance.now() - last, "id" in item ? item.id : item.bad.id).toBeLessThan(LIMIT_MS + 3000);
      last = performance.now();
    }
    expect(documents).toBeGreaterThan(0);
    expect(documents + bad).toBeGreaterThanOrEqual(COUNT / 2);
  });
});
