import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { TINY_LABELS } from "../../test/tiny-extractor.ts";
import type { Example } from "../data/example.ts";
import { extractFile } from "./corpus.ts";
import type { Extraction, Extractor } from "./extractor.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-unfinished-"));
afterAll(() => rmSync(directory, { recursive: true }));
const input = join(directory, "in.jsonl");
const output = join(directory, "out.jsonl");
const row = JSON.stringify({ sentence: "甲与乙合作", head: "甲", tail: "乙" });
writeFileSync(input, `${row}\n`.repeat(9));

/** Answers nothing, and fails after some windows. */
function extractor(arithmetic: string | undefined, windows = Number.POSITIVE_INFINITY): Extractor {
  let computed = 0;
  const extract = async (examples: readonly Example[]): Promise<Extraction[]> => {
    if (computed++ === windows) throw new Error("power cut");
    const probabilities = new Float64Array(TINY_LABELS.labels.length);
    return examples.map(() => ({ predictions: [], probabilities, truncated: false, generated: null }));
  };
  return { labels: TINY_LABELS, settings: {} as Extractor["settings"], arithmetic, extract, extractEach: extract };
}

const interrupted = (arithmetic: string | undefined) =>
  expect(extractFile(extractor(arithmetic, 1), input, output, "job", { windowRows: 4 })).rejects.toThrow("power cut");

/** What is said when the extraction is resumed to its end. */
async function saidOnResuming(arithmetic: string, resumed: number): Promise<string[]> {
  const said: string[] = [];
  const onNotice = (text: string) => void said.push(text);
  const counts = await extractFile(extractor(arithmetic), input, output, "job", { windowRows: 4, onNotice });
  expect(counts).toMatchObject({ rows: 9, resumed });
  rmSync(output);
  return said;
}

it("an extraction that is resumed says that another instruction set computed finished rows", async () => {
  await interrupted("avx2, float32");
  await interrupted("avx512, float32");
  expect(await saidOnResuming("avx512, float32", 8)).toEqual([
    expect.stringMatching(
      /out\.jsonl\.part: 4 rows were computed with another instruction set \(avx2, float32\), .* avx512, float32:/,
    ),
  ]);
});

it("it says nothing when the same one did, or when the state of an older version does not tell", async () => {
  for (const arithmetic of ["amx, bfloat16", undefined]) {
    await interrupted(arithmetic);
    expect(await saidOnResuming("amx, bfloat16", 4)).toEqual([]);
  }
});
