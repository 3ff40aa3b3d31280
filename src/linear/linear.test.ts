import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { Example } from "../data/example.ts";
import { openLinear, saveLinear } from "./file.ts";
import { type LinearModel, linearProbabilities } from "./model.ts";
import { trainLinear } from "./train.ts";

const LABELS = { labels: ["unknown", "收购", "被收购", "合作"] };
const folder = mkdtempSync(join(tmpdir(), "linear-"));
afterAll(() => rmSync(folder, { recursive: true }));

const NAMES = ["华盛达", "刚泰控股", "辛夷药业", "恒磬机床", "骏铆五金", "云汐科技"];
const VERBS = { 收购: "收购了", 合作: "携手", unknown: "和" };

/** Both directions of sentences like "昨日华盛达收购了刚泰控股。". */
function examples(count: number, seed: number): Example[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, () => {
    const [first, second] = random.shuffle([...NAMES]);
    const label = random.shuffle(Object.keys(VERBS))[0] as keyof typeof VERBS;
    const sentence = `${["昨日", "据悉", "今年"][random.below(3)]}${first}${VERBS[label]}${second}。`;
    const mirrored = label === "收购" ? "被收购" : label;
    return [
      { sentence, head: first, tail: second, relations: [label] },
      { sentence, head: second, tail: first, relations: [mirrored] },
    ];
  }).flat();
}

const train = examples(60, 1);
const model = trainLinear(train, LABELS);
const bestOf = (probabilities: Float64Array) => LABELS.labels[probabilities.indexOf(Math.max(...probabilities))];

describe("trainLinear", () => {
  it("learns relations with their direction", () => {
    const held = examples(40, 2);
    const predicted = linearProbabilities(model, held).map(bestOf);
    const hits = predicted.filter((label, row) => label === held[row].relations?.[0]).length;
    expect(hits / held.length).toBeGreaterThan(0.95);
  });

  it("gives probabilities in the order of the label set", () => {
    for (const row of linearProbabilities(model, train.slice(0, 5))) {
      expect(row).toHaveLength(LABELS.labels.length);
      expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
    }
  });

  it("gives a row with two relations about equal shares", () => {
    const rows: Example[] = Array.from({ length: 8 }, (_, i) => ({
      ...{ sentence: `甲${i}买乙`, head: `甲${i}`, tail: "乙", relations: ["收购", "合作", "收购"] },
    }));
    const [row] = linearProbabilities(trainLinear(rows, LABELS, { l2: 0.01 }), rows);
    expect(row[1]).toBeCloseTo(0.5, 1);
    expect(row[3]).toBeCloseTo(0.5, 1);
  });

  it("gives the same model for the same seed", () => {
    expect(trainLinear(train, LABELS)).toEqual(model);
  });

  it("keeps at most the features it is told to, in ascending order", () => {
    const small = trainLinear(train, LABELS, { maxFeatures: 50 });
    expect(small.hashes).toHaveLength(50);
    expect(small.quantized).toHaveLength(50 * LABELS.labels.length);
    expect([...small.hashes]).toEqual([...small.hashes].sort((a, b) => a - b));
    expect(trainLinear(train, LABELS, { minRows: 30 }).hashes.length).toBeLessThan(model.hashes.length / 2);
    const predicted = linearProbabilities(small, train).map(bestOf);
    expect(predicted.filter((label, row) => label === train[row].relations?.[0]).length / train.length).toBeGreaterThan(
      0.8,
    );
  });

  it("refuses rows that it cannot learn from", () => {
    const row = train[0];
    expect(() => trainLinear([], LABELS)).toThrow("got no rows to train on, expected at least one");
    expect(() => trainLinear([{ ...row, relations: [] }], LABELS)).toThrow("training row 1 has no relations");
    expect(() => trainLinear([row, { ...row, relations: ["买"] }], LABELS)).toThrow(
      'training row 2 has the relation "买", expected one of the 4 labels',
    );
  });

  it("works when no n-gram is known", () => {
    const empty = trainLinear(train.slice(0, 1), LABELS);
    expect(empty.hashes).toHaveLength(0);
    expect([...linearProbabilities(empty, train.slice(0, 1))[0]]).toEqual([0.25, 0.25, 0.25, 0.25]);
  });
});

describe("the file", () => {
  const file = join(folder, "linear.bin");
  /** A copy of the saved file that `change` made wrong, with a right checksum unless told otherwise. */
  async function changed(change: (bytes: Buffer) => Buffer, digest = true): Promise<Promise<LinearModel>> {
    await saveLinear(model, file);
    const bytes = change(readFileSync(file));
    if (digest) {
      const content = bytes.subarray(0, bytes.length - 32);
      bytes.set(createHash("sha256").update(content).digest(), bytes.length - 32);
    }
    const copy = join(folder, "changed.bin");
    writeFileSync(copy, bytes);
    return openLinear(copy);
  }
  const headerEnd = (bytes: Buffer) => 12 + bytes.readUInt32LE(8);
  const withHeader = (edit: (header: Record<string, unknown>) => void) => (bytes: Buffer) => {
    const header = JSON.parse(bytes.toString("utf8", 12, headerEnd(bytes)));
    edit(header);
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    return Buffer.concat([bytes.subarray(0, 8), length, text, bytes.subarray(headerEnd(bytes))]);
  };

  it("gives the same model back", async () => {
    await saveLinear(model, file);
    const opened = await openLinear(file);
    expect(opened).toEqual(model);
    expect(linearProbabilities(opened, train)).toEqual(linearProbabilities(model, train));
  });

  it("is the same for the same model", async () => {
    const other = join(folder, "other.bin");
    await saveLinear(model, file);
    await saveLinear(trainLinear(train, LABELS), other);
    expect(readFileSync(other)).toEqual(readFileSync(file));
  });

  it("is refused when any byte has changed or it was cut", async () => {
    const flip = (bytes: Buffer) => {
      bytes[bytes.length >> 1] ^= 1;
      return bytes;
    };
    await expect(changed(flip, false)).rejects.toThrow("the checksum at its end is not that of its content");
    await expect(changed((bytes) => bytes.subarray(0, bytes.length - 100), false)).rejects.toThrow("checksum");
    await expect(changed((bytes) => bytes.subarray(0, 20), false)).rejects.toThrow(
      "expected a file of the linear companion",
    );
  });

  const hostile: [what: string, change: (bytes: Buffer) => Buffer, message: string][] = [
    ["another mark", (bytes) => bytes.fill("x", 0, 8), "does not begin with crelin01"],
    [
      "a header longer than the file",
      (bytes) => {
        bytes.writeUInt32LE(0xffffffff, 8);
        return bytes;
      },
      "the header claims 4294967295 bytes",
    ],
    ["a header that is not JSON", (bytes) => bytes.fill("{", 12, headerEnd(bytes)), "the header is not JSON"],
    [
      "a key twice",
      (bytes) => bytes.fill('{"labels":[],"labels":[]}'.padEnd(headerEnd(bytes) - 12), 12, headerEnd(bytes)),
      "twice",
    ],
    ["a header that is not UTF-8", (bytes) => bytes.fill(0xff, 12, headerEnd(bytes)), "is not valid UTF-8"],
    [
      "more features than bytes",
      withHeader((header) => (header.features = 1_000_000)),
      "for 1000000 features and 4 labels",
    ],
    ["too large a count", withHeader((header) => (header.features = 1e12)), "features"],
    ["no labels", withHeader((header) => (header.labels = [])), "labels"],
    ["a label twice", withHeader((header) => (header.labels = ["a", "a", "b", "c"])), "is given 2 times"],
    [
      "a group's weight that is no number",
      withHeader((header) => (header.groupWeights = { between: "2" })),
      "groupWeights",
    ],
    ["too long n-grams", withHeader((header) => (header.maxNgram = 1e9)), "maxNgram"],
    ["an unknown key", withHeader((header) => (header.version = 2)), "version"],
    [
      "hashes out of order",
      (bytes) => {
        bytes.writeUInt32LE(0xffffffff, headerEnd(bytes));
        return bytes;
      },
      "feature 1 has the hash",
    ],
    [
      "a scale that is not finite",
      (bytes) => {
        bytes.writeFloatLE(Number.NaN, headerEnd(bytes) + 4 * model.hashes.length);
        return bytes;
      },
      "feature 0 has the scale NaN, expected a finite number",
    ],
  ];
  it.each(hostile)("is refused with %s", async (_, change, message) => {
    const opening = changed(change);
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toBeInstanceOf(UserError);
  });

  it("of the first version has no weights for later groups, and gives the same probabilities", async () => {
    type Header = { groupWeights: Record<string, number> };
    const without = withHeader((header) => {
      const { clause: _, kinds: __, ...first } = (header as unknown as Header).groupWeights;
      return Object.assign(header, { groupWeights: first });
    });
    const zero = withHeader((header) =>
      Object.assign((header as unknown as Header).groupWeights, { clause: 0, kinds: 0 }),
    );
    const [older, same] = [await changed(without), await changed(zero)];
    expect(older.vectors.groupWeights).toMatchObject({ between: 2, clause: 0, kinds: 0 });
    expect(older).toEqual(same);
  });

  it("is named when it is missing", async () => {
    await expect(openLinear(join(folder, "none.bin"))).rejects.toThrow("none.bin: cannot be read");
  });
});
