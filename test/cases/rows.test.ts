import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cre, jsonl, temporaryFolder, toyRows } from "../e2e/support.ts";
import { done, mistake, parsedLines } from "./outcome.ts";
import { copyOf, dataFolder, type ToyRuns, toyRuns } from "./toy-runs.ts";

const temporary = temporaryFolder("rows");
const file = (name: string) => join(temporary.path, name);
let toys: ToyRuns;
let run: string;

beforeAll(async () => {
  toys = await toyRuns();
  run = copyOf(toys.run, file("run"));
}, 120_000);
afterAll(() => temporary.remove());

function write(name: string, content: string): string {
  writeFileSync(file(name), content);
  return file(name);
}

describe("case B01: numbers that a double cannot hold", () => {
  const TEXTS = [
    "7311234567890123457",
    "-7311234567890123457",
    "18446744073709551615",
    "1e400",
    "0.1000000000000000055",
  ];
  const row = (id: string, more = "") =>
    `{"id": ${id}, ${more}"sentence":"1日远山收购近水的股份","head":"远山","tail":"近水","relations":["收购"]}\n`;

  /** Every number comes out as it went in, or its row is a bad one that names it. */
  function expectKept(line: string, text: string): void {
    if (line.includes('"error"')) expect(line).toContain(text);
    else expect(line.replaceAll(" ", "")).toContain(text);
  }

  it("are written as they were read by extract", async () => {
    const input = write(
      "big.jsonl",
      TEXTS.map((text) => row(text)).join("") +
        row(
          "1",
          '"doc": 4915338127400017923, "score": 1.0, "list": [[9007199254740993]], "o": {"x": 9007199254740993}, ',
        ),
    );
    for (const options of [[], ["--output", file("big.out")]]) {
      const { stdout } = await done(["extract", toys.run, input, ...options]);
      const lines = (options.length > 0 ? readFileSync(file("big.out"), "utf8") : stdout).trimEnd().split("\n");
      expect(lines).toHaveLength(TEXTS.length + 1);
      for (const [i, text] of TEXTS.entries()) expectKept(lines[i], text);
      for (const text of ["4915338127400017923", "1.0", "9007199254740993"]) expectKept(lines[TEXTS.length], text);
    }
  });

  it("tell rows apart in score, whose ids differ in the last digit only", async () => {
    const gold = write(
      "gold.jsonl",
      row("7311234567890123457") + row("7311234567890123458").replace('["收购"]', '["合作"]'),
    );
    const predictions = write(
      "predictions.jsonl",
      '{"id": 7311234567890123458,"relations":["合作"]}\n{"id": 7311234567890123457,"relations":["收购"]}\n',
    );
    const { stdout } = await done(["score", predictions, "--gold", gold, "--json", "-"]);
    expect(JSON.parse(stdout).conventions.micro.f1).toBe(1);
  });

  it("are kept by data convert", async () => {
    const folder = dataFolder(file("big-data"), {
      train: TEXTS.slice(0, 3)
        // Rows with equal input would be merged.
        .map((text, i) => row(text).replace('"sentence":"', `"sentence":"第${i}条，`))
        .join(""),
    });
    const { stdout } = await done(["data", "convert", folder, "--split", "train", "--format", "jsonl"]);
    for (const text of TEXTS.slice(0, 3)) expect(stdout.replaceAll(" ", "")).toContain(`"id":${text}`);
  });
});

describe("keys that a row has twice", () => {
  const twice = '{"sentence":"1日远山收购近水的股份","head":"远山","head":"近水","tail":"近水","relations":["收购"]}\n';
  const good = jsonl(toyRows(2, 1));

  it("make a bad row that names the key, in every reader", async () => {
    const input = write("twice.jsonl", twice + good);
    const { stdout } = await done(["extract", toys.run, input]);
    expect(parsedLines(stdout)[0]).toMatchObject({ line: 1, error: expect.stringContaining('"head"') });
    const folder = dataFolder(file("twice"), { train: twice + good, test: twice + good });
    await mistake(["data", "stats", folder], ["train.jsonl, line 1", '"head"']);
    await mistake(["evaluate", run, "--data", folder], ["test.jsonl, line 1", '"head"']);
    await mistake(["score", input], ["line 1", '"head"']);
    const labels = dataFolder(file("twice-labels"), {
      train: good,
      test: good,
      "labels.json": '{"labels":["a"],"labels":["收购"]}',
    });
    await mistake(["data", "stats", labels], ["labels.json", '"labels"']);
  });
});

describe("case B04: entities that look as if they were in the sentence", () => {
  const rows = [
    { name: "a zero-width space", sentence: "甲\u200b公司收购了乙公司。", head: "甲公司", shows: /U\+200B|\\u200b/i },
    { name: "a byte-order mark", sentence: "甲公司收购了乙公司。", head: "\ufeff甲公司", shows: /U\+FEFF|\\ufeff/i },
    { name: "a soft hyphen", sentence: "甲\u00ad公司收购了乙公司。", head: "甲公司", shows: /U\+00AD|\\u00ad/i },
    {
      name: "a no-break space",
      sentence: "甲\u00a0公司收购了乙公司。",
      head: "甲 公司",
      shows: /U\+00A0|\\u00a0|normali/i,
    },
    { name: "a direction mark", sentence: "甲\u200e公司收购了乙公司。", head: "甲公司", shows: /U\+200E|\\u200e/i },
    { name: "NFD", sentence: "Cafe\u0301收购了乙公司。", head: "Caf\u00e9", shows: /U\+0301|\\u0301|NFC|NFD|normali/i },
    {
      name: "full width",
      sentence: "ＡＢＣ集团收购了乙公司。",
      head: "ABC集团",
      shows: /full.?width|half.?width|NFKC|normali/i,
    },
    {
      name: "traditional forms",
      sentence: "華為收购了乙公司。",
      head: "华为",
      shows: /traditional|simplified|normali/i,
    },
  ].map((row) => ({ tail: "乙公司", ...row }));

  it.each(rows)("$name: the difference is shown", async ({ sentence, head, tail, shows }) => {
    const bad = { sentence, head, tail, relations: ["收购"] };
    const { stdout } = await cre(["extract", toys.run, "-"], { input: jsonl([bad, ...toyRows(1, 1)]) });
    const { error } = parsedLines(stdout)[0];
    expect(error).toMatch(shows);
    const folder = dataFolder(file(`invisible-${head.length}-${sentence.length}-${sentence.codePointAt(1)}`), {
      train: [bad],
    });
    await mistake(["data", "stats", folder], ["train.jsonl, line 1", shows]);
  });
});

describe("case B12: one relation a row, or all relations of a pair in one row", () => {
  // Rows that the toy run was trained on, so that its answers are known: 合作 and 收购.
  const [other, , { id: _, ...both }] = toyRows(3, 1);
  const separate = [{ ...both, relations: ["合作"] }, { ...both, relations: ["持股"] }, other];
  const joined = [{ ...both, relations: ["合作", "持股"] }, other];
  const apart = [separate[0], other, separate[1]];
  const folders = () =>
    [separate, joined, apart].map((rows, i) =>
      dataFolder(file(`facts-${i}`), { train: rows, valid: rows, test: rows }),
    );

  it("gives the same evaluation", async () => {
    const found = [];
    for (const folder of folders()) {
      const { stdout } = await done(["evaluate", run, "--data", folder, "--json", "-"]);
      const { seconds: _, data: __, ...numbers } = JSON.parse(stdout);
      found.push(numbers);
    }
    expect(found[1].conventions.micro.f1).toBeCloseTo(0.8, 9);
    expect(found[1].conventions["micro-argmax"].f1).toBe(1);
    expect(found.map(({ counts }) => counts.mergedRows)).toEqual([1, 0, 1]);
    const { counts, ...numbers } = found[0];
    expect({ ...numbers, counts: { ...counts, mergedRows: 0 } }).toEqual(found[1]);
    expect(found[2].conventions).toEqual(found[1].conventions);
  });

  it("gives the same numbers by cre score as by cre evaluate", async () => {
    for (const folder of folders()) {
      const { stdout } = await done(["extract", toys.run, join(folder, "test.jsonl")]);
      const predictions = write("found.jsonl", stdout);
      const scored = JSON.parse((await done(["score", predictions, "--gold", folder, "--json", "-"])).stdout);
      expect(scored.conventions.micro.f1).toBeCloseTo(0.8, 9);
    }
  });

  it("gives the same statistics", async () => {
    const [first, second] = await Promise.all(
      folders().map(async (folder) => (await done(["data", "stats", folder])).stdout),
    );
    const counts = (text: string) => text.split("\n").filter((line) => /examples |more than one/.test(line));
    expect(counts(second).length).toBeGreaterThan(0);
    expect(counts(first)).toEqual(counts(second));
  });

  it.each(["alpaca", "jsonl"])("gives the same training rows as %s", async (format) => {
    const texts = await Promise.all(
      folders().map(async (f) => (await done(["data", "convert", f, "--split", "train", "--format", format])).stdout),
    );
    expect(parsedLines(texts[0])).toEqual(parsedLines(texts[1]));
    expect(parsedLines(texts[2])).toEqual(parsedLines(texts[1]));
  });

  it("trains the same model", async () => {
    const losses = [];
    for (const [i, folder] of folders().slice(0, 2).entries()) {
      const directory = file(`trained-${i}`);
      await done(["train", toys.recipe, "--data", folder, "--run", directory, "--set", "train.epochs=2"]);
      losses.push(
        parsedLines(readFileSync(join(directory, "log.jsonl"), "utf8")).map(({ loss, microF1 }) => ({ loss, microF1 })),
      );
    }
    expect(losses[0]).toEqual(losses[1]);
  });
});

describe("case B27: rows that were left out", () => {
  it("are counted in the table, in metrics.json and in report.html", async () => {
    const [good] = toyRows(1, 3);
    const bad = [
      { ...good, head: "戊公司" },
      { ...good, relations: ["并购"] },
    ];
    const folder = dataFolder(file("left-out"), { test: [good, ...bad] });
    const { stdout } = await done(["evaluate", run, "--data", folder, "--skip-bad"]);
    expect(stdout).toMatch(/2 (of 3 )?(bad )?rows? .*left out|left out.*\b2\b/i);
    const metrics = readFileSync(join(run, "metrics.json"), "utf8");
    expect(Object.values(JSON.parse(metrics).counts)).toContain(2);
    expect(readFileSync(join(run, "report.html"), "utf8")).toMatch(/bad row|left out/i);
    const json = JSON.parse((await done(["evaluate", run, "--data", folder, "--skip-bad", "--json", "-"])).stdout);
    expect(Object.values(json.counts)).toContain(2);
  });

  it("are counted in the statistics of data stats --skip-bad", async () => {
    const [good] = toyRows(1, 3);
    const folder = dataFolder(file("left-out-stats"), { test: [good, { ...good, head: "戊公司" }] });
    const { stdout } = await done(["data", "stats", folder, "--skip-bad"]);
    expect(stdout).toMatch(/bad rows?\D*1|left out\D*1/i);
  });
});
