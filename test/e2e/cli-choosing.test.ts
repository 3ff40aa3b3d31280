import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildCli, cre, jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "./support.ts";

// Commands that choose: cre compare, cre tune, cre data audit.

const temporary = temporaryFolder("cli-choosing");
const file = (name: string) => join(temporary.path, name);
const data = writeToyData(file("data"));
const recipe = writeRecipe(file("toy.yaml"), toyRecipe(data));
const run = file("run");

beforeAll(async () => {
  await buildCli();
  const trained = await cre(["train", recipe, "--run", run]);
  expect(trained.code, trained.stderr).toBe(0);
}, 60_000);
afterAll(() => temporary.remove());

describe("cre compare", () => {
  it("prints tables or JSON, and writes the changed rows", async () => {
    const other = file("other");
    cpSync(run, other, { recursive: true });
    const own = join(other, "recipe.yaml");
    writeFileSync(own, readFileSync(own, "utf8").replace("noRelationWeight: 1", "noRelationWeight: 1e9"));
    const { code, stdout, stderr } = await cre(["compare", run, other, "--draws", "100", "--rows", file("rows.jsonl")]);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain(`A  ${run}\nB  ${other}\ndata, test: 8 rows, 8 sentences`);
    expect(stdout).toContain("paired bootstrap of 100 draws over sentences");
    const rows = readFileSync(file("rows.jsonl"), "utf8").trimEnd().split("\n").filter(Boolean);
    expect(stderr).toContain(`${rows.length} changed rows`);
    for (const row of rows) expect(JSON.parse(row).b).toEqual([["unknown"]]);
    const json = await cre(["compare", `${run},${other}`, other, "--split", "validation", "--json"]);
    expect(json.code, json.stderr).toBe(0);
    const { runs, split, bootstrap, f1 } = JSON.parse(json.stdout);
    expect({ runs, split, draws: bootstrap.draws }).toEqual({
      runs: { a: [run, other], b: [other] },
      split: "valid",
      draws: 10000,
    });
    expect(f1.micro.withSeeds.p).toBeGreaterThan(0);
    const again = await cre(["evaluate", run]);
    expect(again.code).toBe(0);
    expect(again.stderr).toMatch(/note: look 2 of this run at the test rows of data \(before: \d{4}-\d\d-\d\d\)/);
    expect(readFileSync(join(run, "test-looks.jsonl"), "utf8").trimEnd().split("\n")).toHaveLength(2);
  });

  it("says in one line what cannot be compared", async () => {
    const cases: [string[], string][] = [
      [[run, file("nowhere")], "is not a run folder"],
      [[`${run},${run}`, run], `names ${run} twice`],
      [[run, run, "--split", "tst"], "expected train, valid or test"],
      [[run, run, "--rows", join(data, "test.jsonl"), "--data", data], "is read by this command"],
    ];
    for (const [words, message] of cases) {
      const { code, stderr } = await cre(["compare", ...words]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
  });
});

describe("cre tune", () => {
  const grid = ["--grid", "train.learningRate=1e-6,0.02", "--folds", "2", "--no-drop"];
  const set = ["--set", "train.checkpointSeconds=0.01", "--set", "train.epochs=4"];

  it("killed again and again ends with the same table and the same recipe", async () => {
    const whole = await cre(["tune", recipe, ...grid, ...set, "--run", file("whole"), "--json"]);
    expect(whole.code, whole.stderr).toBe(0);
    const killed = file("killed");
    const command = ["tune", recipe, ...grid, ...set, "--run", killed, "--json"];
    let kills = 0;
    for (let number = 1; ; number++) {
      // Each attempt may train and score a little more than the one before.
      const hasWork = (stderr: string) => stderr.includes("trainings at most");
      const kill = { when: hasWork, afterMs: 250 * number, signal: "SIGKILL" as const };
      const outcome = await cre(command, number < 9 ? { kill } : {});
      if (outcome.signal === "SIGKILL") {
        kills++;
        continue;
      }
      expect(outcome.code, outcome.stderr).toBe(0);
      const numbers = (text: string) =>
        JSON.parse(text.replace(/"seconds": [\d.]+/g, '"seconds": 0').replaceAll(killed, file("whole")));
      expect(numbers(outcome.stdout)).toEqual(numbers(whole.stdout));
      break;
    }
    expect(kills).toBeGreaterThan(2);
    const best = (folder: string) => readFileSync(join(folder, "best.yaml"), "utf8").replaceAll(folder, "");
    expect(best(killed)).toBe(best(file("whole")));
    const trained = await cre([
      "train",
      join(killed, "best.yaml"),
      "--run",
      file("best"),
      "--set",
      "train.epochs=0.25",
    ]);
    expect(trained.code, trained.stderr).toBe(0);
  }, 240_000);

  it("stopped by Ctrl-C says how to continue", async () => {
    const kill = {
      when: (stderr: string) => stderr.includes("trainings at most"),
      afterMs: 300,
      signal: "SIGINT" as const,
    };
    const { code, stderr } = await cre(
      ["tune", recipe, ...grid, "--run", file("stopped"), "--set", "train.epochs=40"],
      { kill },
    );
    expect(code).toBe(130);
    expect(stderr).toContain("stopped: what is finished is kept. Repeat the same command to continue.");
    expect(readdirSync(file("stopped")).sort()).toEqual(["folds", "folds.json"]);
  });

  it("prints its plan without making anything", async () => {
    const { code, stdout, stderr } = await cre(["tune", recipe, ...grid, "--run", file("dry"), "--dry-run"]);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain("data: 16 training rows; a fold trains on about 8 and is scored on 8");
    expect(stdout).toContain("2 candidates, 2 folds, 1 seed: 4 trainings, 0 finished\nabout ");
    expect(existsSync(file("dry"))).toBe(false);
  });

  it("refuses a bad grid in one line, before any work", async () => {
    const cases: [string[], string][] = [
      [["--grid", "train.learningRat=1,2"], '--grid train.learningRat — unknown key, did you mean "learningRate"?'],
      [[], "got no --grid"],
      [["--grid", "train.epochs=1,2", "--folds", "1"], "expected a whole number of at least 2"],
    ];
    for (const [words, message] of cases) {
      const { code, stderr } = await cre(["tune", recipe, ...words, "--run", file("never")]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
    expect(existsSync(file("never"))).toBe(false);
  });
});

describe("cre data audit", () => {
  it("ranks rows, writes page and rows, and a copy of the data without some", async () => {
    const noisy = writeToyData(file("noisy"));
    const rows = toyRows(60, 1).map((row, i) => (i === 8 ? { ...row, relations: ["合作"] } : row));
    writeFileSync(join(noisy, "train.jsonl"), jsonl(rows));
    const folder = file("audit");
    const outcome = await cre(["data", "audit", noisy, "--folds", "3", "--runs", folder, "--top", "1", "--drop", "2%"]);
    expect(outcome.code, outcome.stderr).toBe(0);
    expect(outcome.stdout).toContain(`1. "${rows[8].sentence}"\n   (${rows[8].head}, ${rows[8].tail})  label 合作`);
    expect(outcome.stderr).toContain(`${join(folder, "data")}: a copy of the data without 1 of the 60 lines of train`);
    expect(readdirSync(folder).sort()).toEqual(["data", "report.html", "rows.jsonl"]);
    const kept = readFileSync(join(folder, "data", "train.jsonl"), "utf8")
      .trimEnd()
      .split("\n");
    expect(kept).toEqual(rows.filter((_, i) => i !== 8).map((row) => JSON.stringify(row)));
    const stats = await cre(["data", "stats", join(folder, "data")]);
    expect(stats.code, stats.stderr).toBe(0);
    const planted = await cre([
      "data",
      "audit",
      noisy,
      "--folds",
      "3",
      "--runs",
      file("no"),
      "--plant",
      "0.05",
      "--json",
    ]);
    expect(planted.code, planted.stderr).toBe(0);
    expect(JSON.parse(planted.stdout)).toMatchObject({ data: "noisy", with: "linear", rows: 60, planted: 3 });
    expect(existsSync(file("no"))).toBe(false);
  });

  it("says in one line what is wrong", async () => {
    const cases: [string[], string][] = [
      [[data, "--drop", "2"], 'expected a share above 0 and below 1, as "2%"'],
      [[data, "--drop", "2%", "--plant", "2%"], "--plant and --drop: got both"],
      [[data, "--drop", "2%", "--output", data], "is not empty"],
    ];
    for (const [words, message] of cases) {
      const { code, stderr } = await cre(["data", "audit", ...words, "--runs", file("nothing")]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
    expect(existsSync(file("nothing"))).toBe(false);
  });
});
