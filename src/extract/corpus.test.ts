import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { TINY_LABELS, tinyExtractor } from "../../test/tiny-extractor.ts";
import { createRandom } from "../base/random.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Example } from "../data/example.ts";
import { type CorpusOptions, emptyCounts, extractFile, extractLines } from "./corpus.ts";
import type { Extraction, Extractor, Unextracted } from "./extractor.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-corpus-"));
afterAll(() => rmSync(directory, { recursive: true }));
beforeEach(() => {
  for (const name of readdirSync(directory)) rmSync(join(directory, name));
});

/**
 * Answers at once. Its probability depends on the whole window, as sums of a real pass may in their last digit: an extraction that resumes
 * must ask for the same windows.
 */
function fakeExtractor(options: { failAfterWindows?: number } = {}): Extractor & { windows: number[] } {
  const windows: number[] = [];
  const answer = (example: Example, companions: number): Extraction | Unextracted => {
    if (example.sentence.includes("太长")) return { problem: "does not fit" };
    const probability = 1 / (companions + example.sentence.length);
    return {
      predictions: [
        { relation: "合作", probability },
        { relation: "拥有", probability: probability / 2 },
      ],
      probabilities: new Float64Array(TINY_LABELS.labels.length),
      truncated: example.sentence.includes("截"),
      generated: null,
    };
  };
  const extractEach = async (examples: readonly Example[]) => {
    if (windows.length === options.failAfterWindows) throw new Error("power cut");
    windows.push(examples.length);
    return examples.map((example) => answer(example, examples.length));
  };
  return {
    windows,
    labels: TINY_LABELS,
    settings: {} as Extractor["settings"],
    extractEach,
    extract: async (examples) => (await extractEach(examples)) as Extraction[],
  };
}

const row = (i: number) =>
  JSON.stringify({ id: i, sentence: `甲${i}与乙合作`, head: "甲", tail: "乙", source: { page: i } });
const rows = (count: number) => Array.from({ length: count }, (_, i) => row(i));

/** Both sides of every line end, and seeded places between; each costs a sync of the disk. */
function cutSizes(whole: Buffer): number[] {
  const random = createRandom(1);
  const sizes = new Set([0, whole.length, ...Array.from({ length: 15 }, () => random.below(whole.length))]);
  for (let at = whole.indexOf(10); at >= 0; at = whole.indexOf(10, at + 1)) sizes.add(at).add(at + 1);
  return [...sizes];
}

function inputFile(lines: readonly (string | Buffer)[], end = "\n"): string {
  const file = join(directory, "in.jsonl");
  writeFileSync(file, Buffer.concat(lines.map((line) => Buffer.concat([Buffer.from(line), Buffer.from(end)]))));
  return file;
}

async function streamed(source: string | NodeJS.ReadableStream, options: CorpusOptions = {}) {
  const counts = emptyCounts();
  const lines: Record<string, unknown>[] = [];
  for await (const part of extractLines(fakeExtractor(), source, counts, options)) {
    for (const line of part) lines.push(JSON.parse(line));
  }
  return { lines, counts };
}

describe("extractLines", () => {
  it("gives one line a row, in order, with the row's own fields", async () => {
    for (const count of [0, 1, 3, 4, 5, 8]) {
      const { lines, counts } = await streamed(inputFile(rows(count)), { windowRows: 4 });
      expect(lines.map(({ id }) => id)).toEqual(Array.from({ length: count }, (_, i) => i));
      expect(counts).toMatchObject({ rows: count, extracted: count, bad: 0 });
      if (count > 0) expect(lines[0]).toMatchObject({ sentence: "甲0与乙合作", head: "甲", source: { page: 0 } });
    }
  });

  it("reports bad rows with their line and continues", async () => {
    const big = JSON.stringify({ sentence: `甲乙${"长".repeat(400_000)}`, head: "甲", tail: "乙" });
    const lines = [
      row(0),
      "{not json",
      "",
      Buffer.from([0x7b, 0xff, 0xfe, 0x7d]),
      JSON.stringify({ sentence: "没有实体", head: "甲", tail: "乙" }),
      JSON.stringify({ sentence: "甲乙太长", head: "甲", tail: "乙" }),
      big,
      row(7),
    ];
    const heard: [number, string][] = [];
    const { lines: got, counts } = await streamed(inputFile(lines), {
      windowRows: 3,
      onBadRow: (line, problem) => heard.push([line, problem]),
    });
    expect(counts).toMatchObject({ rows: 7, extracted: 2, bad: 5 });
    expect(got.map(({ id, line }) => id ?? line)).toEqual([0, 2, 4, 5, 6, 7, 7]);
    expect(heard.map(([line]) => line)).toEqual([2, 4, 5, 6, 7]);
    const problems = [
      "expected a JSON object",
      "not valid UTF-8",
      'head "甲", expected a part',
      "does not fit",
      "expected at most 1000000",
    ];
    for (const [i, problem] of problems.entries()) expect(heard[i][1]).toContain(problem);
    expect(got[1]).toEqual({ line: 2, error: heard[0][1] });
  });

  it("reads CRLF, a byte-order mark in no row, a last line without end, and a pipe in any pieces", async () => {
    const { lines } = await streamed(inputFile(rows(3), "\r\n"));
    expect(lines.map(({ id }) => id)).toEqual([0, 1, 2]);
    const bytes = Buffer.from(rows(5).join("\n"));
    for (const size of [1, 7, 1000]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
        bytes.subarray(i * size, (i + 1) * size),
      );
      const piped = await streamed(Readable.from(pieces), { windowRows: 2 });
      expect(piped.lines.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4]);
    }
  });

  it("leaves out predictions below a probability but never the row, and counts what was shortened", async () => {
    const cut = JSON.stringify({ sentence: "甲与乙合作，截", head: "甲", tail: "乙" });
    const { lines, counts } = await streamed(inputFile([row(0), cut]), { minProbability: 0.12, windowRows: 2 });
    expect(lines[0].predictions).toEqual([{ relation: "合作", probability: 0.125 }]);
    expect(lines[1]).toMatchObject({ predictions: [], truncated: true });
    expect(counts.truncated).toBe(1);
  });

  it("works with a real model", async () => {
    const backend = openReference({ precision: "float32" });
    try {
      const extractor = await tinyExtractor(backend);
      const counts = emptyCounts();
      const got: string[] = [];
      for await (const part of extractLines(extractor, inputFile(rows(3)), counts)) got.push(...part);
      const { predictions } = JSON.parse(got[1]);
      expect(TINY_LABELS.labels).toContain(predictions[0].relation);
      expect(predictions[0].probability).toBeGreaterThan(1 / TINY_LABELS.labels.length - 1e-6);
    } finally {
      await backend.close();
    }
  });
});

describe("extractFile", () => {
  const output = () => join(directory, "out.jsonl");
  const options = { windowRows: 4 };

  it("ends with the same output wherever an earlier call was cut off", async () => {
    const input = inputFile([...rows(5), "{bad", ...rows(6)]);
    await extractFile(fakeExtractor(), input, output(), "job", options);
    const whole = readFileSync(output());
    rmSync(output());
    // A call that dies in its last window leaves part and state; its part is then cut at every byte.
    await expect(extractFile(fakeExtractor({ failAfterWindows: 2 }), input, output(), "job", options)).rejects.toThrow(
      "power cut",
    );
    const state = readFileSync(`${output()}.part.json`);
    expect(whole.subarray(0, readFileSync(`${output()}.part`).length)).toEqual(readFileSync(`${output()}.part`));
    for (const size of cutSizes(whole)) {
      writeFileSync(`${output()}.part`, whole);
      truncateSync(`${output()}.part`, size);
      writeFileSync(`${output()}.part.json`, state);
      const extractor = fakeExtractor();
      const counts = await extractFile(extractor, input, output(), "job", options);
      if (!readFileSync(output()).equals(whole)) expect.fail(`cut at byte ${size}: another output`);
      expect(counts.resumed + counts.extracted + counts.bad).toBe(12);
      expect(counts.rows).toBe(12);
      expect(readdirSync(directory).sort()).toEqual(["in.jsonl", "out.jsonl"]);
      rmSync(output());
    }
  });

  it("does not do again what is done", async () => {
    const input = inputFile(rows(10));
    await expect(
      extractFile(fakeExtractor({ failAfterWindows: 2 }), input, output(), "job", options),
    ).rejects.toThrow();
    const extractor = fakeExtractor();
    const counts = await extractFile(extractor, input, output(), "job", options);
    expect(extractor.windows).toEqual([2]);
    expect(counts).toMatchObject({ rows: 10, resumed: 8, extracted: 2 });
  });

  it("refuses to resume another job, another input or a damaged state, and starts anew without one", async () => {
    const input = inputFile(rows(9));
    const interrupt = async () => {
      await expect(
        extractFile(fakeExtractor({ failAfterWindows: 1 }), input, output(), "job", options),
      ).rejects.toThrow("power cut");
    };
    await interrupt();
    await expect(extractFile(fakeExtractor(), input, output(), "other", options)).rejects.toThrow(
      "is the unfinished output of another call",
    );
    await expect(extractFile(fakeExtractor(), input, output(), "job", { windowRows: 5 })).rejects.toThrow(
      "another call",
    );
    utimesSync(input, new Date(0), new Date(0));
    await expect(extractFile(fakeExtractor(), input, output(), "job", options)).rejects.toThrow("another call");
    for (const damaged of ["", "null", "{"]) {
      writeFileSync(`${output()}.part.json`, damaged);
      await expect(extractFile(fakeExtractor(), input, output(), "job", options)).rejects.toThrow(
        /is not the state of|another call/,
      );
    }
    rmSync(`${output()}.part.json`);
    expect(await extractFile(fakeExtractor(), input, output(), "job", options)).toMatchObject({ rows: 9, resumed: 0 });
  });

  it("refuses an empty or missing input and leaves nothing behind", async () => {
    await expect(extractFile(fakeExtractor(), inputFile([]), output(), "job")).rejects.toThrow(
      "is empty, expected JSONL rows",
    );
    await expect(extractFile(fakeExtractor(), inputFile(["", " "]), output(), "job")).rejects.toThrow("is empty");
    expect(readdirSync(directory)).toEqual(["in.jsonl"]);
    await expect(extractFile(fakeExtractor(), join(directory, "none"), output(), "job")).rejects.toThrow(
      "none: cannot be read",
    );
    await expect(extractFile(fakeExtractor(), directory, output(), "job")).rejects.toThrow("is not a file");
  });

  it("makes the folder of the output and tells progress", async () => {
    const heard: number[] = [];
    const target = join(directory, "out.d");
    await extractFile(fakeExtractor(), inputFile(rows(9)), join(target, "deep", "out.jsonl"), "job", {
      ...options,
      onRows: ({ rows: done }) => heard.push(done),
    });
    expect(heard).toEqual([4, 8, 9]);
    rmSync(target, { recursive: true });
  });
});
