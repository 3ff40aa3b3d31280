import { appendFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { score } from "../evaluate/score.ts";
import { type ComparisonEvent, compareRuns } from "./compare-runs.ts";
import { saveEvaluation } from "./evaluation.ts";
import { openRun } from "./run.ts";
import { runFolder } from "./run-folder.ts";
import { findPredictions } from "./saved-predictions.ts";
import { readTestLooks } from "./test-looks.ts";
import { train } from "./training.ts";

const temporary = temporaryFolder("compare");
const path = (...names: string[]) => join(temporary.path, ...names);
const data = writeToyData(path("data"));
const recipe = writeRecipe(path("toy.yaml"), toyRecipe(data));
vi.stubEnv("CRE_BACKEND", "reference");
afterAll(() => temporary.remove());

const bootstrap = { draws: 100 };
const files = (run: string) => readdirSync(path(run, "predictions")).sort();

async function compared(a: string | string[], b: string, options: Parameters<typeof compareRuns>[2] = {}) {
  const events: ComparisonEvent[] = [];
  const places = (runs: string | string[]) => [runs].flat().map((run) => path(run));
  const comparison = await compareRuns(places(a), places(b), {
    ...{ bootstrap, onEvent: (event) => void events.push(event), ...options },
  });
  const kinds = events.filter(({ kind }) => kind === "saved" || kind === "rows").map(({ run, kind }) => [run, kind]);
  return { comparison, saved: kinds.filter(([, kind]) => kind === "saved").map(([run]) => run), kinds, events };
}
const failure = async (a: string, b: string, options: Parameters<typeof compareRuns>[2] = {}) =>
  compared(a, b, options).then(
    () => "no error",
    (error) => error.message as string,
  );

beforeAll(async () => {
  await (await train({ run: path("a"), recipe })).close();
  cpSync(path("a"), path("b"), { recursive: true });
  // Another way to choose relations is another run for these purposes.
  const own = path("b", "recipe.yaml");
  writeFileSync(own, readFileSync(own, "utf8").replace("noRelationWeight: 1", "noRelationWeight: 1e9"));
});

describe("comparing runs", () => {
  it("evaluates what was not evaluated, once, and records the looks at test rows", async () => {
    const run = await openRun(path("a"));
    const evaluation = await run.evaluate();
    await saveEvaluation(run, evaluation);
    await run.close();
    const first = await compared("a", "b");
    expect(first.saved).toEqual([path("a")]);
    expect(first.kinds.some(([run, kind]) => run === path("b") && kind === "rows")).toBe(true);
    const { comparison } = first;
    expect(comparison).toMatchObject({ data: "data", split: "test", counts: { rows: 8, sentences: 8 } });
    expect(comparison.f1.micro.a).toBe(evaluation.metrics.conventions.micro.f1);
    expect(comparison.rows.a).toEqual([evaluation.rows]);
    // Such a weight makes every answer "unknown".
    expect(comparison.rows.b[0].every(({ predicted }) => predicted.join() === "unknown")).toBe(true);
    const second = await compared("a", "b");
    expect(second.saved).toEqual([path("a"), path("b")]);
    expect(second.comparison).toEqual(comparison);
    expect(await readTestLooks(runFolder(path("a")))).toHaveLength(1);
    expect(await readTestLooks(runFolder(path("b")))).toHaveLength(1);
  });

  it("keeps answers in the form of an extraction", async () => {
    const [file] = files("a").filter((name) => name.endsWith(".jsonl"));
    expect(file).toMatch(/^test-[0-9a-f]{8}\.jsonl$/);
    const { metrics } = await score(path("a", "predictions", file), { gold: data, bootstrap: null });
    const run = await openRun(path("a"));
    const { metrics: own } = await run.evaluate({ bootstrap: null });
    await run.close();
    expect(metrics.conventions).toEqual(own.conventions);
  });

  it("compares other splits without a look at test rows, several seeds, and leaves metrics.json alone", async () => {
    const metrics = readFileSync(path("a", "metrics.json"), "utf8");
    const looks = (await readTestLooks(runFolder(path("a")))).length;
    const { comparison } = await compared(["a", "b"], "b", { split: "valid" });
    expect(comparison.f1.micro.each.a).toHaveLength(2);
    expect(comparison.f1.micro.withSeeds).not.toBeNull();
    expect(readFileSync(path("a", "metrics.json"), "utf8")).toBe(metrics);
    expect(await readTestLooks(runFolder(path("a")))).toHaveLength(looks);
  });

  it("finds no answers of other rows, other settings, or in a damaged file", async () => {
    const run = await openRun(path("a"));
    const rows = toyRows(8, 3);
    const answers = await findPredictions(run, rows, "test");
    expect(answers).toHaveLength(8);
    expect(await findPredictions(run, rows.slice(1), "test")).toBeNull();
    expect(await findPredictions(run, rows, "train")).toBeNull();
    const sums = readFileSync(path("a", "checksums.json"), "utf8");
    writeFileSync(path("a", "checksums.json"), `${sums} `);
    expect(await findPredictions(run, rows, "test")).toBeNull();
    writeFileSync(path("a", "checksums.json"), sums);
    expect(await findPredictions(run, rows, "test")).toEqual(answers);
    await run.close();
    const generating = await openRun(path("a"), { decode: { method: "generate" } });
    expect(await findPredictions(generating, rows, "test")).toBeNull();
    await generating.close();
    cpSync(path("a"), path("damaged"), { recursive: true });
    for (const name of files("damaged").filter((name) => name.endsWith(".jsonl"))) {
      appendFileSync(path("damaged", "predictions", name), "{}\n");
    }
    expect((await compared("damaged", "b")).saved).toEqual([path("b")]);
  });

  it("refuses runs without the same rows and labels", async () => {
    expect(await failure("a", "nowhere")).toContain("nowhere: is not a run folder");
    const moved = path("moved");
    cpSync(path("a"), moved, { recursive: true });
    const other = path("other");
    cpSync(data, other, { recursive: true });
    const text = readFileSync(join(moved, "recipe.yaml"), "utf8");
    writeFileSync(join(moved, "recipe.yaml"), text.replace(data, other));
    writeFileSync(
      join(other, "test.jsonl"),
      jsonl(toyRows(8, 3).map((row, i) => (i === 2 ? { ...row, relations: ["收购"] } : row))),
    );
    expect(await failure("a", "moved")).toMatch(/have different test rows, the first is row 3: .* 合作 and .* 收购\.$/);
    writeFileSync(join(other, "test.jsonl"), jsonl(toyRows(7, 3)));
    expect(await failure("a", "moved")).toContain("have 8 and 7 test rows, expected the same rows");
    expect((await compared("a", "moved", { data: other })).comparison.counts.rows).toBe(7);
    rmSync(other, { recursive: true });
    expect(await failure("a", "moved")).toContain(`its data ${other} does not exist`);
    const labels = join(moved, "labels.json");
    writeFileSync(labels, readFileSync(labels, "utf8").replace('"合作"\n', '"合作", "多余"\n'));
    expect(await failure("a", "moved", { data })).toContain(`different labels (only ${moved} has "多余")`);
    writeFileSync(labels, JSON.stringify({ labels: ["unknown", "收购", "被收购", "合作"], noRelation: null }));
    expect(await failure("a", "moved", { data })).toContain('different labels for no relation ("unknown" and none)');
    expect(existsSync(path("moved", "predictions"))).toBe(true);
  });
});
