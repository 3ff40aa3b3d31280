import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { relationsOfAnswer } from "./answer-text.ts";
import { type PredictionFile, readPredictions } from "./predictions.ts";
import { scorePredictions } from "./score-predictions.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-predictions-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function read(content: string | Uint8Array): Promise<PredictionFile> {
  const file = join(folder, `predictions-${files++}.jsonl`);
  writeFileSync(file, content);
  return readPredictions(file);
}
const jsonl = (...lines: unknown[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join("");

describe("relations of an answer text", () => {
  it("reads one and several triples", () => {
    expect(relationsOfAnswer("([华盛达],拥有,[刚泰控股])")).toEqual(["拥有"]);
    expect(relationsOfAnswer("([a],收购,[b]),([a],拥有,[b])")).toEqual(["收购", "拥有"]);
  });

  it("reads every triple: the limit of four belongs to the convention paper", () => {
    const five = ["一", "二", "三", "四", "五"].map((relation) => `([a],${relation},[b])`).join(",");
    expect(relationsOfAnswer(five)).toEqual(["一", "二", "三", "四", "五"]);
  });

  it("reads nothing from text without a pair of brackets", () => {
    for (const text of ["", "不知道", "([a],拥有,b)", "[a", "]a[", "([a],拥有,[b"])
      expect(relationsOfAnswer(text)).toEqual([]);
  });

  it("takes what the authors' offsets take: nothing is trimmed, brackets side by side give an empty relation", () => {
    expect(relationsOfAnswer("([a], 拥有,[b])")).toEqual([" 拥有"]);
    expect(relationsOfAnswer("[a][b]")).toEqual([""]);
  });
});

describe("scoring LLaMA-Factory answers", () => {
  const content = jsonl(
    { label: "([a],拥有,[b])", predict: "([a],拥有,[b])" },
    { label: "([a],拥有,[b]),([a],收购,[b])", predict: "([a],收购,[b]),([a],竞争,[b])" },
    { label: "([a],unknown,[b])", predict: "我不知道" },
    { label: "([a],竞争,[b])", predict: "([a],竞争,[b])" },
  );
  const gold = [
    { sentence: "甲", head: "a", tail: "b", relations: ["拥有"] },
    { sentence: "乙", head: "a", tail: "b", relations: ["拥有"] },
    { sentence: "丙", head: "a", tail: "b", relations: ["unknown"] },
    { sentence: "乙", head: "a", tail: "b", relations: ["收购"] },
    { sentence: "丙", head: "b", tail: "a", relations: ["竞争"] },
  ];

  it("without a gold file: by the labels they carry", async () => {
    const { metrics, matching, labels } = scorePredictions(await read(content), null);
    // Rows: 1, ½, 0, 1.
    expect(metrics.conventions.paper.f1).toBe(0.625);
    expect(metrics.conventions.micro.f1).toBeCloseTo(0.75, 12);
    expect(metrics.counts.unparseable).toBe(1);
    expect(metrics.counts.sentences).toBe(4);
    expect(matching).toMatchObject({ goldRows: 4, matched: 4, missing: 0 });
    expect(labels).toEqual({ labels: ["unknown", "拥有", "收购", "竞争"], noRelation: "unknown" });
  });

  it("with a gold file: by order of the merged rows, drawing sentences", async () => {
    const { metrics, matching } = scorePredictions(await read(content), gold);
    expect(metrics.conventions.paper.f1).toBe(0.625);
    expect(metrics.counts.sentences).toBe(3);
    expect(matching).toMatchObject({ goldRows: 4, mergedGoldRows: 1, matched: 4, goldDiffers: 0, notes: [] });
  });

  it("counts and names answers whose own label differs from the gold row", async () => {
    const edited = gold.map((row, i) => (i === 0 ? { ...row, relations: ["竞争"] } : row));
    const { metrics, matching } = scorePredictions(await read(content), edited);
    expect(matching.goldDiffers).toBe(1);
    expect(matching.notes).toEqual(["line 1: its label says 拥有, gold row 1 says 竞争"]);
    expect(metrics.conventions.paper.f1).toBe(0.375);
  });

  it("refuses another number of answers, or another order", async () => {
    const predictions = await read(content);
    expect(() => scorePredictions(predictions, gold.slice(0, 2))).toThrow(
      "has 4 answers, expected 2: one for each gold row",
    );
    const other = ["竞争", "竞争", "竞争", "拥有"].map((relation, i) => ({
      ...gold[i],
      sentence: `${i}`,
      relations: [relation],
    }));
    expect(() => scorePredictions(predictions, other)).toThrow("expected the order of the gold file");
  });
});

describe("scoring our own lines", () => {
  const gold = [
    { sentence: "甲乙", head: "甲", tail: "乙", relations: ["拥有"], id: 1 },
    { sentence: "甲乙", head: "乙", tail: "甲", relations: ["unknown"], id: 2 },
    { sentence: "丙丁", head: "丙", tail: "丁", relations: ["收购", "拥有"], id: 3 },
  ];
  const ranked = (...relations: string[]) =>
    relations.map((relation, i) => ({ relation, probability: 0.1 * (i + 1) })).reverse();

  it("matches by sentence, head and tail in any order, and counts what does not fit", async () => {
    const predictions = await read(
      jsonl(
        { sentence: "丙丁", head: "丙", tail: "丁", predictions: ranked("拥有", "收购") },
        { sentence: "甲乙", head: "甲", tail: "乙", predictions: ranked("拥有") },
        { sentence: "甲乙", head: "甲", tail: "乙", predictions: ranked("收购") },
        { sentence: "戊己", head: "戊", tail: "己", predictions: ranked("收购") },
      ),
    );
    const { metrics, matching, rows } = scorePredictions(predictions, gold);
    expect(matching).toEqual({
      goldRows: 3,
      mergedGoldRows: 0,
      predictionLines: 4,
      matched: 2,
      missing: 1,
      duplicates: 1,
      unmatched: 1,
      goldDiffers: 0,
      failed: 0,
      suspectedNoRelation: null,
      notes: [
        "line 3: (甲, 乙) was predicted before on line 2",
        "line 4: (戊, 己) is not in the gold file",
        "gold row 2: (乙, 甲) has no prediction",
      ],
    });
    expect(rows[0]).toEqual({ gold: ["拥有"], predicted: ["拥有"], argmax: "拥有", group: "甲乙" });
    expect(metrics.counts).toMatchObject({ rows: 3, sentences: 2, missing: 1, unparseable: 0 });
    // A missing prediction is an empty set: (1 + 0 + 1) / 3.
    expect(metrics.conventions.paper.f1).toBeCloseTo(2 / 3, 12);
    expect(metrics.conventions.micro.f1).toBe(1);
  });

  it("takes predictions by probability, and before relations, which extraction copies from a labelled input", async () => {
    const predictions = await read(
      jsonl({
        sentence: "丙丁",
        head: "丙",
        tail: "丁",
        relations: ["收购", "拥有"],
        predictions: [
          { relation: "unknown", probability: 0.3 },
          { relation: "竞争", probability: 0.6 },
        ],
      }),
    );
    const labels = { labels: ["unknown", "拥有", "收购", "竞争"], noRelation: "unknown" };
    const { rows, metrics } = scorePredictions(predictions, gold, { labels });
    expect(rows[2]).toMatchObject({ gold: ["收购", "拥有"], predicted: ["竞争", "unknown"], argmax: "竞争" });
    expect(metrics.conventions.micro.f1).toBe(0);
  });

  it("counts the lines of rows that could not be extracted; their rows have no prediction", async () => {
    const predictions = await read(
      jsonl(
        { line: 1, error: "the head does not occur in the sentence" },
        { sentence: "甲乙", head: "乙", tail: "甲", predictions: [] },
      ),
    );
    const { matching, metrics } = scorePredictions(predictions, gold);
    expect(matching).toMatchObject({ predictionLines: 1, failed: 1, matched: 1, missing: 2 });
    expect(metrics.counts).toMatchObject({ missing: 2, unparseable: 1 });
  });

  it("tells rows apart by the places of their mentions", async () => {
    const at = (start: number, relations: string[]) => ({
      ...{ sentence: "甲乙甲", head: "甲", tail: "乙" },
      headSpan: { start, end: start + 1 },
      relations,
    });
    const placed = [at(0, ["拥有"]), at(2, ["收购"])];
    const predictions = await read(
      jsonl(
        { ...at(2, ["收购"]), headSpan: [2, 3], tailSpan: null },
        { sentence: "甲乙甲", head: "甲", tail: "乙", relations: ["拥有"] },
      ),
    );
    const { rows, matching } = scorePredictions(predictions, placed);
    expect(rows.map((row) => row.predicted)).toEqual([[], ["收购"]]);
    expect(matching.notes[0]).toBe("line 2: (甲, 乙) is not one single row in the gold file");
    const unplaced = [{ sentence: "甲乙甲", head: "甲", tail: "乙", relations: ["收购"] }];
    expect(scorePredictions(predictions, unplaced).matching).toMatchObject({ matched: 1, duplicates: 1 });
  });

  it("matches by id where a line has no sentence", async () => {
    const predictions = await read(
      jsonl({ id: 3, relations: ["拥有"] }, { id: 1, relations: [] }, { id: 9, relations: ["拥有"] }),
    );
    const { matching, rows } = scorePredictions(predictions, gold);
    expect(matching).toMatchObject({ matched: 2, missing: 1, unmatched: 1 });
    expect(rows.map((row) => row.predicted)).toEqual([[], [], ["拥有"]]);
    const twice = gold.map((row) => ({ ...row, id: row.id === 1 ? 3 : row.id }));
    expect(
      scorePredictions(await read(jsonl({ id: 3, relations: [] }, { id: 2, relations: [] })), twice).matching.notes[0],
    ).toBe("line 1: id 3 is not one single row in the gold file");
  });

  it("uses the label set it is given", async () => {
    const predictions = await read(jsonl({ sentence: "甲乙", head: "甲", tail: "乙", relations: ["结婚"] }));
    const labels = { labels: ["unknown", "拥有", "收购", "结婚"], noRelation: "unknown" };
    expect(scorePredictions(predictions, gold, { labels }).metrics.counts.unknownLabel).toBe(0);
    expect(scorePredictions(predictions, gold).metrics.counts.unknownLabel).toBe(1);
  });

  it("refuses gold that cannot be scored against", async () => {
    const predictions = await read(jsonl({ sentence: "甲乙", head: "甲", tail: "乙", relations: ["拥有"] }));
    expect(() => scorePredictions(predictions, null)).toThrow(
      "its lines have no gold labels, expected a gold file too",
    );
    expect(() => scorePredictions(predictions, [])).toThrow("The gold file has no rows");
    expect(() => scorePredictions(predictions, [{ sentence: "甲乙", head: "甲", tail: "乙" }])).toThrow(
      "Gold row 1 has no relations",
    );
    expect(() => scorePredictions(predictions, gold.slice(2))).toThrow(
      "none of its 1 predictions belongs to one of the 1 gold rows",
    );
  });
});

describe("malformed prediction files", () => {
  const good = { sentence: "甲乙", head: "甲", tail: "乙", relations: ["拥有"] };
  const cases: [string, string | Uint8Array, string][] = [
    ["an empty file", "", "is empty, expected one JSON object a line"],
    ["blank lines only", "\n \n", "is empty, expected one JSON object a line"],
    ["a line that is not JSON", `${jsonl(good)}{"sentence": \n`, "line 2: is not valid JSON."],
    ["a line that is not an object", "[1]\n", "line 1: is a list, expected a JSON object."],
    ["a line without known fields", jsonl({ text: "x" }), "line 1: has the fields [text], expected"],
    [
      "two kinds in one file",
      jsonl(good, { label: "([a],r,[b])", predict: "" }),
      "line 2: is of another kind than the lines before",
    ],
    [
      "no sentence",
      jsonl({ head: "a", tail: "b", relations: [] }),
      'line 1: "sentence" is missing, expected a string.',
    ],
    ["neither triple nor id", jsonl({ relations: [] }), 'line 1: "sentence" is missing, expected a string.'],
    ["a head that is a number", jsonl({ ...good, head: 3 }), 'line 1: "head" is 3, expected a string.'],
    ["an id that is a list", jsonl({ ...good, id: [] }), 'line 1: "id" is a list, expected a string or a number.'],
    [
      "relations that are a string",
      jsonl({ ...good, relations: "拥有" }),
      'line 1: "relations" is "拥有", expected a list.',
    ],
    [
      "a relation that is null",
      jsonl({ ...good, relations: [null] }),
      'line 1: "relations" item 1 is null, expected a string.',
    ],
    [
      "a prediction that is a string",
      jsonl({ ...good, predictions: ["拥有"] }),
      'line 1: "predictions" item 1 is "拥有", expected {"relation", "probability"}.',
    ],
    [
      "a prediction without a relation",
      jsonl({ ...good, predictions: [{ probability: 1 }] }),
      'line 1: "predictions" item 1: "relation" is missing, expected a string.',
    ],
    [
      "a probability above 1",
      jsonl({ ...good, predictions: [{ relation: "拥有", probability: 87 }] }),
      'line 1: "predictions" item 1: "probability" is 87, expected a number from 0 to 1.',
    ],
    [
      "too many labels",
      jsonl({ ...good, relations: new Array(10_001).fill("a") }),
      '"relations" has 10001 items, expected at most 10000.',
    ],
    ["an answer without a label", jsonl({ predict: "([a],r,[b])" }), 'line 1: "label" is missing, expected a string.'],
    [
      "an answer without a prediction",
      jsonl({ label: "([a],r,[b])" }),
      'line 1: "predict" is missing, expected a string.',
    ],
    [
      "a label without a triple",
      jsonl({ label: "拥有", predict: "" }),
      'line 1: "label" holds no triple ([head],relation,[tail]), got "拥有".',
    ],
    [
      "bytes that are not UTF-8",
      Uint8Array.from([0x7b, 0xff, 0xfe, 0x7d, 0x0a]),
      "line 1: the line is not valid UTF-8.",
    ],
    [
      "a line of more than 1 MB",
      `"${"长".repeat(400_000)}"\n`,
      "line 1: the line has 1200002 bytes, expected at most 1048576.",
    ],
  ];
  for (const [name, content, message] of cases) {
    it(name, async () => {
      await expect(read(content)).rejects.toMatchObject({
        name: expect.stringMatching(/^UserErrors?$/),
        message: expect.stringContaining(message),
      });
    });
  }

  it("lists the first twenty bad lines and counts the others", async () => {
    await expect(read("x\n".repeat(25))).rejects.toThrow(
      /25 of its lines[\s\S]*line 20: is not valid JSON\.\n {2}- and 5 more lines\./,
    );
  });

  it("a file that is not there", async () => {
    await expect(readPredictions(join(folder, "absent.jsonl"))).rejects.toThrow(/absent\.jsonl: cannot be read/);
  });

  it("takes a byte-order mark, CRLF and blank lines as they come", async () => {
    const { lines } = await read(`\uFEFF${JSON.stringify(good)}\r\n\r\n${JSON.stringify({ ...good, head: "乙" })}`);
    expect(lines.map((line) => line.line)).toEqual([1, 3]);
  });
});
