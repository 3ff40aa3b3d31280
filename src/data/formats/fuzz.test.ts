import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { createRandom, type Random } from "../../base/random.ts";
import { splitSentences } from "../../documents/sentences.ts";
import { convertLabelled } from "./convert-labelled.ts";
import { LABELLED_FORMAT_NAMES, type LabelledFormatName } from "./registry.ts";

// Changed rows of every format: each file is converted or refused with a UserError. CRE_FUZZ_COUNT sets how many.
const COUNT = Number(process.env.CRE_FUZZ_COUNT ?? 12);
const SEED = Number(process.env.CRE_FUZZ_SEED ?? 1);

const TEXT = "😀甲公司收购乙。";
const ROWS: Record<LabelledFormatName, unknown> = {
  spert: {
    tokens: [..."甲收购乙"],
    entities: [
      { type: "x", start: 0, end: 1 },
      { type: "x", start: 3, end: 4 },
    ],
    relations: [{ type: "收购", head: 0, tail: 1 }],
  },
  duie: { text: TEXT, spo_list: [{ subject: "甲", predicate: "收购", object: { "@value": "乙" } }] },
  doccano: {
    text: TEXT,
    entities: [
      { id: 1, label: "x", start_offset: 1, end_offset: 2 },
      { id: 2, label: "x", start_offset: 6, end_offset: 7 },
    ],
    relations: [{ from_id: 1, to_id: 2, type: "收购" }],
  },
  "label-studio": {
    data: { text: TEXT },
    annotations: [
      {
        result: [
          { id: "a", type: "labels", value: { start: 1, end: 2, text: "甲", labels: ["x"] } },
          { id: "b", type: "labels", value: { start: 6, end: 7, text: "乙", labels: ["x"] } },
          { type: "relation", from_id: "a", to_id: "b", direction: "bi", labels: ["收购"] },
        ],
      },
    ],
  },
  brat: "T1\tx 1 2\t甲\nT2\tx 6 7\t乙\nR1\t收购 Arg1:T1 Arg2:T2\n",
  conll: "0\t甲\tB-x\t['收购']\t[1]\n1\t乙\tB-x\t['N']\t[1]\n",
  alpaca: { instruction: "做", input: "[甲]收购[乙] ([甲],?,[乙])", output: "([甲],收购,[乙])" },
  sharegpt: {
    conversations: [
      { from: "human", value: "做\n[甲]收购[乙] ([甲],?,[乙])" },
      { from: "gpt", value: "([甲],收购,[乙])" },
    ],
  },
  opennre: { text: "甲收购乙", h: { name: "甲", pos: [0, 1] }, t: { name: "乙", pos: [3, 4] }, relation: "收购" },
  json: { sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["收购"] },
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "cre-fuzz-labelled-"));
});
afterAll(() => rm(directory, { recursive: true }));

const ODD: readonly unknown[] = [null, -1, 1e9, 0.5, "", "x", [], {}, [[]], "\ud83d", true, "甲,乙", "__proto__"];

/** The value with one part of it replaced or left out. */
function changed(value: unknown, random: Random): unknown {
  if (typeof value === "object" && value !== null && random.below(5) > 0) {
    const entries = Object.entries(value);
    if (entries.length > 0) {
      const at = random.below(entries.length);
      entries[at][1] = random.below(8) === 0 ? undefined : changed(entries[at][1], random);
      return Array.isArray(value) ? entries.map(([, item]) => item ?? null) : Object.fromEntries(entries);
    }
  }
  return ODD[random.below(ODD.length)];
}

/** The text with some bytes replaced, left out or twice. */
function torn(text: string, random: Random): Buffer {
  const bytes = Buffer.from(text);
  const at = random.below(bytes.length);
  const end = Math.min(bytes.length, at + 1 + random.below(12));
  if (random.below(3) === 0) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
  if (random.below(2) === 0) return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
  for (let i = at; i < end; i++) bytes[i] = random.below(256);
  return bytes;
}

describe.each(LABELLED_FORMAT_NAMES)("changed rows: %s", (format) => {
  it("are converted or refused", async () => {
    const random = createRandom(SEED);
    const row = ROWS[format];
    let converted = 0;
    for (let i = 0; i < COUNT; i++) {
      const input = join(directory, `${format}-${i}.${format === "brat" ? "ann" : "json"}`);
      const isText = typeof row === "string" || random.below(4) === 0;
      const whole = typeof row === "string" ? row : JSON.stringify(row);
      const bad = isText ? torn(whole, random) : Buffer.from(JSON.stringify(changed(row, random)) ?? "null");
      await writeFile(input, Buffer.concat([Buffer.from(`${whole}\n`), bad]));
      if (format === "brat") await writeFile(input.replace(".ann", ".txt"), TEXT);
      try {
        await convertLabelled(input, format, join(directory, `${format}-${i}`), {
          negatives: 1,
          onBadRow: "skip",
          sentencesOf: (text) => splitSentences(text),
        });
        converted++;
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
      }
    }
    expect(converted).toBeGreaterThan(0);
  });
});
