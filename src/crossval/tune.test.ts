import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { UserError } from "../base/errors.ts";
import { readRecipe } from "../recipe/read.ts";
import { estimateFolds } from "./estimate.ts";
import { planTuning, type TuneEvent, type TuneOptions, type TuneResult, TuningStopped, tune } from "./tune.ts";
import { renderTuning } from "./tune-table.ts";

const temporary = temporaryFolder("tune");
const path = (...names: string[]) => join(temporary.path, ...names);
const data = writeToyData(path("data"));
// Nothing but the training rows may be read.
writeFileSync(join(data, "valid.jsonl"), "no rows\n");
writeFileSync(join(data, "test.jsonl"), "no rows\n");
const toy = toyRecipe(data);
const recipe = writeRecipe(path("toy.yaml"), { ...toy, train: { ...toy.train, epochs: 1 } });
vi.stubEnv("CRE_BACKEND", "reference");
afterAll(() => temporary.remove());

const grid = ["train.learningRate=1e-6,0.02", "decode.noRelationWeight=1,100"];
const options = (name: string, changed: Partial<TuneOptions> = {}): TuneOptions => {
  return { run: path(name), recipe, grid, folds: 2, dropLosers: false, ...changed };
};
const failure = async (changed: Partial<TuneOptions>) => {
  const error = await planTuning(options("never", changed)).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  expect(existsSync(path("never"))).toBe(false);
  return error.message as string;
};
const withoutTimes = ({ candidates, best: _, ...result }: TuneResult) => {
  return { ...result, candidates: candidates.map(({ seconds, ...candidate }) => candidate) };
};

describe("tuning", () => {
  const events: TuneEvent[] = [];
  let result: TuneResult;
  beforeAll(async () => {
    result = await tune(options("whole", { onEvent: (event) => void events.push(event) }));
  });

  it("trains what is trained alike once for each fold, and scores every candidate", () => {
    const plan = events.find(({ kind }) => kind === "plan");
    expect(plan).toMatchObject({ folds: 2, seeds: [1], trainings: 4 });
    const ended = events.filter((event) => event.kind === "training" && event.event.kind === "end");
    expect(ended).toHaveLength(4);
    expect(events.filter(({ kind }) => kind === "score")).toHaveLength(8);
    expect(events.filter(({ kind }) => kind === "notice")).toEqual([]);
    const names = ["1e-6", "0.02"].flatMap((rate) =>
      [1, 100].map((weight) => `train.learningRate=${rate} decode.noRelationWeight=${weight}`),
    );
    expect(result.candidates.map(({ name }) => name).sort()).toEqual(names.sort());
    for (const { units, isDropped, seconds } of result.candidates) {
      expect([units, isDropped]).toEqual([2, false]);
      expect(seconds).toBeGreaterThan(0);
    }
    const micro = result.candidates.map((candidate) => candidate.micro);
    expect(micro).toEqual([...micro].sort((a, b) => b - a));
    // A weight of 100 makes every answer "unknown", which micro does not count.
    const heavy = result.candidates.filter(({ name }) => name.endsWith("=100"));
    expect(heavy.map((candidate) => candidate.micro)).toEqual([0, 0]);
  });

  it("keeps a run for each training, without checkpoints", () => {
    const runs = readdirSync(path("whole", "folds"));
    expect(runs).toHaveLength(4);
    for (const run of runs) {
      expect(run).toMatch(/^[0-9a-f]{12}-seed1-fold[12]$/);
      expect(existsSync(path("whole", "folds", run, "done.json"))).toBe(true);
      expect(existsSync(path("whole", "folds", run, "checkpoints"))).toBe(false);
    }
  });

  it("writes the best recipe, which trains on the data", async () => {
    const [best] = result.candidates;
    const text = readFileSync(result.best, "utf8");
    expect(text).toContain(`# Chosen by cre tune on data (16 training rows, 2 folds, seeds 1): ${best.name}\n`);
    const read = await readRecipe(result.best);
    const [, rate, weight] = /learningRate=(\S+) .*Weight=(\d+)/.exec(best.name) as RegExpExecArray;
    expect([read.train.learningRate, read.decode.noRelationWeight]).toEqual([Number(rate), Number(weight)]);
    expect([read.data.path, read.seed]).toEqual([data, 5]);
    expect(JSON.parse(readFileSync(path("whole", "results.json"), "utf8"))).toEqual(result);
    const table = renderTuning(result);
    expect(table.split("\n")[1]).toContain(best.name);
    expect(table).toContain("data: 16 training rows, 2 folds by sentence, seed 1");
  });

  it("does no work twice: the same command reads what is there, further values are added", async () => {
    const again: TuneEvent[] = [];
    const onEvent = (event: TuneEvent) => void again.push(event);
    expect(withoutTimes(await tune(options("whole", { onEvent })))).toEqual(withoutTimes(result));
    const more = { "decode.noRelationWeight": [1, 3], "train.learningRate": [0.02] };
    const added = await tune(options("whole", { onEvent, grid: more }));
    expect(again.filter(({ kind }) => kind === "training").length).toBeGreaterThan(0);
    expect(again.some((event) => event.kind === "training" && event.event.kind === "step")).toBe(false);
    const known = result.candidates.find(({ name }) => name === "train.learningRate=0.02 decode.noRelationWeight=1");
    const same = added.candidates.find(({ name }) => name === "decode.noRelationWeight=1 train.learningRate=0.02");
    expect(same?.micro).toBe(known?.micro);
  });

  it("that was stopped anywhere continues to the same result", async () => {
    const kinds = ["training", "rows", "score"] as const;
    for (const [i, kind] of kinds.entries()) {
      const stop = new AbortController();
      let left = 6;
      const onEvent = (event: TuneEvent) => {
        const counts = event.kind === kind && (event.kind !== "training" || event.event.kind === "step");
        if (counts && --left === 0) stop.abort();
      };
      const stopped = await tune(options("parts", { onEvent, signal: stop.signal })).catch((error) => error);
      expect(stopped, kind).toBeInstanceOf(TuningStopped);
      expect(existsSync(path("parts", "folds.lock"))).toBe(false);
      if (i === 0) {
        // What a kill -9 leaves between the files of a new run.
        const [run] = readdirSync(path("parts", "folds")).sort();
        rmSync(path("parts", "folds", run, "recipe.yaml"));
        for (const name of readdirSync(path("parts", "folds", run))) {
          if (name !== "base.json") rmSync(path("parts", "folds", run, name), { recursive: true });
        }
      }
    }
    expect(withoutTimes(await tune(options("parts")))).toEqual(withoutTimes(result));
  });

  it("has several seeds and drops losers", async () => {
    const dropped: TuneEvent[] = [];
    const rows = path("many");
    writeToyData(rows);
    writeFileSync(join(rows, "train.jsonl"), jsonl(toyRows(32, 1)));
    const seeded = await tune(
      options("seeds", {
        ...{ data: rows, seeds: [1, 2], dropLosers: true, grid: ["decode.noRelationWeight=1,1e9"] },
        overrides: ["train.learningRate=0.03", "train.epochs=2"],
        onEvent: (event) => void (event.kind === "dropped" && dropped.push(event)),
      }),
    );
    expect(dropped).toMatchObject([{ candidate: "decode.noRelationWeight=1e9" }]);
    expect(seeded.candidates.map(({ name, units, isDropped }) => [name, units, isDropped])).toEqual([
      ["decode.noRelationWeight=1", 4, false],
      ["decode.noRelationWeight=1e9", 2, true],
    ]);
    expect(renderTuning(seeded)).toMatch(/2\/4 dropped[^\n]*\n\n[^\n]*seeds 1, 2; means over folds and seeds\./);
  });

  it("is estimated without a trace", async () => {
    const plan = await planTuning(options("dry"));
    const estimate = await estimateFolds(plan, [1]);
    expect(estimate).toMatchObject({ trainings: 4, finished: 0 });
    expect(estimate.seconds).toBeGreaterThan(0);
    expect(existsSync(path("dry"))).toBe(false);
    const finished = await estimateFolds(await planTuning(options("whole")), [1]);
    expect(finished).toEqual({ trainings: 4, finished: 4, seconds: 0 });
  });

  it("refuses mistakes before any work, in one line each", async () => {
    const cases: [Partial<TuneOptions>, string | RegExp][] = [
      [{ grid: ["train.learningRat=1"] }, /^--grid train\.learningRat — unknown key, did you mean "learningRate"\?$/],
      [{ grid: ["train.learningRate=abc,1"] }, /^--grid train\.learningRate is "abc": [^\n]+\.$/],
      [{ grid: ["prompt.style=marked,mark"] }, /^--grid prompt\.style=mark: [^\n]*did you mean "marked"\?$/],
      [{ grid: ["adapter.method=lora,full"] }, /^--grid adapter\.method: [^\n]+\.$/],
      [{ grid: ["train.epochs=0,-1"] }, /^The grid: 2 problems:\n {2}- --grid train\.epochs is 0: /],
      [{ grid: [] }, "The grid is empty"],
      [{ grid: { "train.epochs": [] } }, "--grid train.epochs: has no values"],
      [{ folds: 99 }, "got 16 rows with 16 distinct sentences, expected at least 99"],
      [{ seeds: [1, 1] }, "expected 1 to 100 different whole numbers"],
      [{ recipe: undefined, data: path("nowhere") }, "nowhere does not exist"],
      [{ overrides: ["train.epoch=3"] }, 'did you mean "epochs"'],
      [{ run: data }, "has labels.json and no folds.json, expected a new folder"],
      [{ run: path("whole"), folds: 3 }, "was begun with another number of folds (2, now 3)"],
      [{ run: path("whole"), foldSeed: 7 }, "was begun with another seed of the folds (1, now 7)"],
      [{ run: path("whole"), data: path("many") }, "was begun with other training rows"],
    ];
    for (const [changed, message] of cases) expect(await failure(changed)).toMatch(message);
  });
});
