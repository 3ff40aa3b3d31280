import { execFileSync } from "node:child_process";
import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { TINY_LABELS, tinyExtractor } from "../../test/tiny-extractor.ts";
import { holdLock } from "../base/lock.ts";
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

  it("notices another input of the same size and date, and windows that a power loss spoilt", async () => {
    const input = inputFile(rows(9));
    const date = new Date(1_700_000_000_000);
    utimesSync(input, date, date);
    await extractFile(fakeExtractor(), input, output(), "job", options);
    const whole = readFileSync(output());
    rmSync(output());
    await expect(extractFile(fakeExtractor({ failAfterWindows: 2 }), input, output(), "job", options)).rejects.toThrow(
      "power cut",
    );
    const saved = ["part", "part.json"].map((end) => readFileSync(`${output()}.${end}`));
    const restore = () => {
      for (const [i, end] of ["part", "part.json"].entries()) writeFileSync(`${output()}.${end}`, saved[i]);
    };

    writeFileSync(input, readFileSync(input, "utf8").replace("甲1与", "甲7与"));
    utimesSync(input, date, date);
    await expect(extractFile(fakeExtractor(), input, output(), "job", options)).rejects.toThrow("another call");
    inputFile(rows(9));
    utimesSync(input, date, date);

    const [part, journal] = saved;
    const spoilt: [Buffer, Buffer, number][] = [
      [Buffer.concat([part, Buffer.alloc(4096)]), journal, 8],
      [part, Buffer.concat([journal, Buffer.alloc(100), Buffer.from("\n")]), 8],
      [part, journal.subarray(0, journal.length - 10), 4],
      [part.subarray(0, part.length - 1), journal, 4],
      [Buffer.concat([part.subarray(0, 10), Buffer.alloc(40), part.subarray(50)]), journal, 0],
    ];
    for (const [rowsLeft, journalLeft, resumed] of spoilt) {
      restore();
      writeFileSync(`${output()}.part`, rowsLeft);
      writeFileSync(`${output()}.part.json`, journalLeft);
      const counts = await extractFile(fakeExtractor(), input, output(), "job", options);
      expect(counts).toMatchObject({ rows: 9, resumed });
      expect(readFileSync(output()).equals(whole)).toBe(true);
      rmSync(output());
    }
  });

  it("counts bad and shortened rows of an earlier call", async () => {
    const cut = JSON.stringify({ sentence: "甲与乙合作，截", head: "甲", tail: "乙" });
    const input = inputFile(["{bad", cut, ...rows(8)]);
    await expect(extractFile(fakeExtractor({ failAfterWindows: 1 }), input, output(), "job", options)).rejects.toThrow(
      "power cut",
    );
    const counts = await extractFile(fakeExtractor(), input, output(), "job", options);
    expect(counts).toEqual({ rows: 10, extracted: 6, bad: 1, truncated: 1, unparsed: 0, unknownLabels: 0, resumed: 3 });
  });

  it("is one at a time for an output, and does not replace one that another call finished", async () => {
    const input = inputFile(rows(9));
    const release = await holdLock(`${output()}.lock`, output());
    await expect(extractFile(fakeExtractor(), input, output(), "job", options)).rejects.toThrow("out.jsonl is in use");
    await release();
    writeFileSync(output(), "other");
    await expect(extractFile(fakeExtractor(), input, output(), "job", { ...options, replace: false })).rejects.toThrow(
      "out.jsonl: exists already",
    );
    expect(readdirSync(directory).sort()).toEqual(["in.jsonl", "out.jsonl"]);
    await extractFile(fakeExtractor(), input, output(), "job", options);
    expect(readFileSync(output(), "utf8").split("\n")).toHaveLength(10);
  });

  it("stops at once when its signal aborts, and resumes", async () => {
    const input = inputFile(rows(9));
    const stop = new AbortController();
    const extractor = fakeExtractor();
    const slow: Extractor = {
      ...extractor,
      async extractEach(examples) {
        if (extractor.windows.length === 1) {
          stop.abort("stopped");
          return new Promise(() => {});
        }
        return extractor.extractEach(examples);
      },
    };
    const stopped = extractFile(slow, input, output(), "job", { ...options, signal: stop.signal });
    await expect(stopped).rejects.toBe("stopped");
    expect(readdirSync(directory).sort()).toEqual(["in.jsonl", "out.jsonl.part", "out.jsonl.part.json"]);
    expect(await extractFile(fakeExtractor(), input, output(), "job", options)).toMatchObject({ rows: 9, resumed: 4 });
  });

  it("streams to a device", async (context) => {
    const input = inputFile(rows(3));
    // Never those of /dev: a fault here would replace them.
    const device = (minor: string) => {
      execFileSync("mknod", [join(directory, `device-${minor}`), "c", "1", minor], { stdio: "pipe" });
      return join(directory, `device-${minor}`);
    };
    try {
      device("3");
    } catch {
      return context.skip();
    }
    expect(await extractFile(fakeExtractor(), input, join(directory, "device-3"), "job", options)).toMatchObject({
      rows: 3,
    });
    const full = device("7");
    await expect(extractFile(fakeExtractor(), input, full, "job", options)).rejects.toThrow(
      `${full}: cannot be written (ENOSPC`,
    );
    expect(readdirSync(directory).sort()).toEqual(["device-3", "device-7", "in.jsonl"]);
    expect(lstatSync(full).isCharacterDevice()).toBe(true);
  });

  it("follows a link, and does not write over its input", async () => {
    const input = inputFile(rows(3));
    const link = join(directory, "link.jsonl");
    symlinkSync("out.jsonl", link);
    await extractFile(fakeExtractor(), input, link, "job", options);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readFileSync(output(), "utf8").split("\n")).toHaveLength(4);
    await expect(extractFile(fakeExtractor(), input, input, "job", options)).rejects.toThrow("is read by this command");
    expect(readFileSync(input, "utf8").split("\n")).toHaveLength(4);
  });

  it("refuses an input without a usable row, and leaves an earlier output", async () => {
    writeFileSync(output(), "old");
    const input = inputFile(["[", "  {", '"sentence": "甲"', "  }", "]"]);
    const refused = extractFile(fakeExtractor(), input, output(), "job", { windowRows: 2 });
    await expect(refused).rejects.toThrow(
      "in.jsonl: not one of its 5 rows can be used, expected JSONL: one object a line",
    );
    await expect(refused).rejects.toThrow(/line 1: .*\n {2}- line 2: .*\n {2}- line 3: .*\n {2}- … and 2 more$/);
    await expect(refused).rejects.toMatchObject({ hint: expect.stringContaining("JSON array") });
    expect(readdirSync(directory).sort()).toEqual(["in.jsonl", "out.jsonl"]);
    expect(readFileSync(output(), "utf8")).toBe("old");
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
