import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { temporaryFolder, toyRows, writeToyData } from "../../test/e2e/support.ts";
import { writeToyBase, writeToyLora } from "../../test/toy-runs.ts";
import { openRun } from "../runs/run.ts";
import { train } from "../runs/training.ts";
import { evaluateRuns } from "./evaluate-runs.ts";
import { identityOf, openRuns } from "./open-runs.ts";

const temporary = temporaryFolder("ensemble");
const path = (...names: string[]) => join(temporary.path, ...names);
const data = writeToyData(path("data"));
const ROWS = toyRows(8, 3);
vi.stubEnv("CRE_BACKEND", "reference");
afterAll(() => temporary.remove());

/** Replaces a text in a file of a copied run. */
function changed(from: string, to: string, file: string, text: string, other: string): string {
  cpSync(path(from), path(to), { recursive: true });
  const own = path(to, file);
  const before = readFileSync(own, "utf8");
  expect(before).toContain(text);
  writeFileSync(own, before.replaceAll(text, other));
  return path(to);
}

beforeAll(async () => {
  const base = await writeToyBase(path("base"));
  for (const [name, changes] of [
    ["a", {}],
    ["b", { seed: 6, decode: { bothDirections: true, furtherRelations: 0.5 } }],
    ["c", { adapter: { method: "prefix", virtualTokens: 3 } }],
  ] as const) {
    const recipe = writeToyLora(path(`${name}.yaml`), data, base, changes);
    await (await train({ run: path(name), recipe })).close();
  }
}, 60_000);

describe("openRuns", () => {
  it("reads a base model once, and each adapter answers as when it is opened alone", async () => {
    const alone = [];
    for (const name of ["a", "b", "c"]) {
      const run = await openRun(path(name));
      alone.push(await run.extract(ROWS));
      await run.close();
    }
    const notices: string[] = [];
    const opened = await openRuns([path("a"), path("b"), path("c")], { onNotice: (line) => notices.push(line) });
    expect(opened.sharedBases).toBe(1);
    expect(notices.filter((line) => line.includes("furtherRelations"))).toEqual([
      `decode.furtherRelations differs between the runs (1, 0.5, 1): that of ${path("a")} is used.`,
    ]);
    const together = [];
    for (const run of opened.runs) together.push(await run.extract(ROWS));
    expect(together).toEqual(alone);
    const mean = await opened.extractor.extract(ROWS);
    for (const [i, { probabilities }] of mean.entries()) {
      for (const [k, p] of probabilities.entries()) {
        expect(p).toBeCloseTo(
          (alone[0][i].probabilities[k] + alone[1][i].probabilities[k] + alone[2][i].probabilities[k]) / 3,
          12,
        );
      }
    }
    expect((await identityOf(opened)).map(({ directory }) => directory)).toEqual(
      ["a", "b", "c"].map((name) => path(name)),
    );
    await opened.close();
    await expect(opened.runs[0].extract(ROWS)).rejects.toThrow("the run is closed");
  });

  it("reads bases apart where they are kept in other ways", async () => {
    const int8 = changed("a", "a-int8", "recipe.yaml", "storage: float32", "storage: int8");
    const opened = await openRuns([path("a"), int8]);
    expect(opened.sharedBases).toBe(2);
    await opened.close();
  });

  it("refuses runs that cannot answer together", async () => {
    const labels = changed("a", "a-labels", "labels.json", "合作", "携手");
    await expect(openRuns([path("a"), labels])).rejects.toThrow(
      `${path("a")} and ${labels}: have different labels (only ${path("a")} has "合作").`,
    );
    const generating = changed("a", "a-generating", "recipe.yaml", "method: labels", "method: generate");
    await expect(openRuns([path("a"), generating])).rejects.toThrow(`${generating}: generates text, expected label`);
    const opened = await openRuns([path("a"), generating], { decode: { method: "labels" } });
    await opened.close();
    await expect(openRuns([path("a"), path("none")])).rejects.toThrow("is not a run folder");
  });
});

describe("evaluateRuns", () => {
  it("scores the mean of the runs next to each run, and keeps what they answered", async () => {
    const directories = [path("a"), path("b"), path("c")];
    const events: string[] = [];
    const onEvent = ({ run, kind }: { run: string; kind: string }) => {
      if (!events.includes(`${kind} ${run}`)) events.push(`${kind} ${run}`);
    };
    const first = await evaluateRuns(directories, { bootstrap: null, onEvent });
    expect(events).toContain(`rows ${path("c")}`);
    for (const [i, directory] of directories.entries()) {
      const run = await openRun(directory);
      const { metrics } = await run.evaluate({ bootstrap: null });
      await run.close();
      expect(first.runs[i].metrics.conventions).toEqual(metrics.conventions);
      expect(first.references[i]).toMatchObject({ name: directory, f1: { micro: metrics.conventions.micro.f1 } });
    }
    const mean = first.runs.reduce((sum, { metrics }) => sum + metrics.conventions.micro.f1 / 3, 0);
    expect(first.references[3].name).toBe("mean of the runs");
    expect(first.references[3].f1.micro).toBeCloseTo(mean, 12);
    const opened = await openRuns(directories);
    const together = await opened.extractor.extract(first.examples);
    await opened.close();
    expect(first.rows.map(({ predicted }) => predicted)).toEqual(
      together.map(({ predictions }) => predictions.map(({ relation }) => relation)),
    );
    events.length = 0;
    const second = await evaluateRuns(directories, { bootstrap: null, onEvent });
    expect(second).toEqual(first);
    expect(events.filter((event) => /^(saved|rows)/.test(event))).toEqual(directories.map((run) => `saved ${run}`));
    // Another way to decode is another answer.
    events.length = 0;
    await evaluateRuns(directories, { bootstrap: null, onEvent, decode: { companion: 0.5 } });
    expect(events.filter((event) => event.startsWith("saved"))).toEqual([]);
  });

  it("answers anew where a kept file is damaged", async () => {
    const folder = path("a", "predictions");
    for (const name of readdirSync(folder).filter((one) => one.endsWith(".probabilities.jsonl"))) {
      const text = readFileSync(join(folder, name), "utf8");
      writeFileSync(
        join(folder, name),
        text.replace(/(0\.\d)(\d)/, (_, a, b) => `${a}${9 - Number(b)}`),
      );
    }
    const events: string[] = [];
    await evaluateRuns([path("a"), path("b")], {
      bootstrap: null,
      onEvent: ({ run, kind }) => events.push(`${kind} ${run}`),
    });
    expect(events).toContain(`rows ${path("a")}`);
    expect(events).toContain(`saved ${path("b")}`);
  });

  it("refuses runs with other rows", async () => {
    const other = writeToyData(path("other-data"));
    writeFileSync(join(other, "test.jsonl"), readFileSync(join(data, "valid.jsonl"), "utf8"));
    const moved = changed("a", "a-other", "recipe.yaml", data, other);
    await expect(evaluateRuns([path("a"), moved])).rejects.toThrow("have different test rows, the first is row 1");
  });
});
