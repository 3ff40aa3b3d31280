import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { jsonl, temporaryFolder, toyRows, writeToyData } from "../../test/e2e/support.ts";
import { writeToyBase, writeToyLora } from "../../test/toy-runs.ts";
import { tune } from "../crossval/tune.ts";
import { openDataset } from "../data/dataset.ts";
import { foldsBySentence } from "../data/folds.ts";
import { openRun } from "../runs/run.ts";
import { readLog, runFolder } from "../runs/run-folder.ts";
import { teacherFor } from "../runs/teacher.ts";
import { train } from "../runs/training.ts";
import { TEACHER_DECODE } from "./ask-teachers.ts";
import { type DistillEvent, type DistillOptions, distill, isDistillation } from "./distill.ts";

const temporary = temporaryFolder("distill");
const path = (...names: string[]) => join(temporary.path, ...names);
const data = writeToyData(path("data"));
const unlabelled = path("unlabelled.jsonl");
vi.stubEnv("CRE_BACKEND", "reference");
afterAll(() => temporary.remove());

let student: string;
const teachers = [path("t1"), path("t2")];

beforeAll(async () => {
  const base = await writeToyBase(path("base"));
  for (const [i, run] of teachers.entries()) {
    const seed = 20 + i;
    const decode = { bothDirections: i === 1, noRelationWeight: 5 };
    await (await train({ run, recipe: writeToyLora(`${run}.yaml`, data, base, { seed, decode }) })).close();
  }
  student = writeToyLora(path("student.yaml"), data, base, { distill: { goldWeight: 0.25 } });
  // The number in a sentence keeps them apart from the rows of the splits.
  const rows = toyRows(44, 7).slice(20);
  writeFileSync(unlabelled, jsonl(rows.map(({ relations: _, ...row }) => row)));
}, 120_000);

async function distilled(name: string, options: Partial<DistillOptions> = {}, resume = false) {
  const events: DistillEvent[] = [];
  const onEvent = (event: DistillEvent) => {
    events.push(event);
    options.onEvent?.(event);
  };
  const fresh = { teachers, recipe: student, rows: [unlabelled], overrides: ["train.epochs=0.5"] };
  const stop = await distill({
    windowRows: 16,
    ...(resume ? { resume } : fresh),
    ...options,
    run: path(name),
    onEvent,
  });
  const notices = events.flatMap((event) => (event.kind === "notice" ? [event.text] : []));
  return { stop, events, notices };
}
const linesOf = (...names: string[]) =>
  readFileSync(path(...names), "utf8")
    .trimEnd()
    .split("\n");
const weightsOf = (name: string) => readFileSync(path(name, "adapter_model.safetensors"));
const logOf = async (name: string) => (await readLog(runFolder(path(name)))).map(({ seconds: _, ...line }) => line);
const failure = async (name: string, options: Partial<DistillOptions>, resume = false) => {
  const message = await distilled(name, options, resume).then(
    () => "no error",
    (error) => String(error.message) + (error.hint ?? ""),
  );
  return message;
};

describe("distill", () => {
  it("asks the teachers once, and trains an ordinary run on their mean", async () => {
    const { stop, events, notices } = await distilled("whole");
    expect(stop).toBeNull();
    expect(isDistillation(path("whole"))).toBe(true);
    const rows = linesOf("whole", "teacher.jsonl").map((line) => JSON.parse(line));
    expect(rows).toHaveLength(40);
    expect(existsSync(path("whole", "teachers"))).toBe(false);
    // As the teachers decode, both directions included, but for the weight of "no relation".
    const examples = rows.map(({ probabilities: _, ...row }) => row);
    const sums = rows.map(() => [0, 0, 0, 0]);
    for (const teacher of teachers) {
      const run = await openRun(teacher, { decode: TEACHER_DECODE });
      for (const [i, { probabilities }] of (await run.extract(examples)).entries()) {
        for (const [k, p] of probabilities.entries()) sums[i][k] += p / 2;
      }
      await run.close();
    }
    for (const [i, { probabilities }] of rows.entries()) {
      for (const [k, p] of probabilities.entries()) expect(Math.abs(p - sums[i][k])).toBeLessThan(1e-5);
    }
    expect(events.find(({ kind }) => kind === "start")).toMatchObject({ examples: 40 });
    expect(notices).toContainEqual(expect.stringMatching(/^2 of 2 teachers were trained on these training rows/));
    expect(notices).toContainEqual(
      expect.stringMatching(/^soft targets of 40 rows \(24 of them unlabelled\): \d\.\d\d/),
    );
    const run = await openRun(path("whole"));
    expect(run.recipe.distill).toEqual({ goldWeight: 0.25, temperature: 1, leastProbability: 0.01 });
    expect((await run.extract(examples[0])).predictions).toHaveLength(1);
    await run.close();
    // Its base has checksums like that of any run.
    expect(JSON.parse(readFileSync(path("whole", "base.json"), "utf8"))).toHaveProperty("weights");
  }, 120_000);

  it("ends with the same bytes wherever it was stopped, or crashed", async () => {
    const stopAt = (condition: (event: DistillEvent) => boolean, stop: () => void) => (event: DistillEvent) => {
      if (condition(event)) stop();
    };
    const cases: [string, (event: DistillEvent) => boolean, "teachers" | "training"][] = [
      ["first-window", (event) => event.kind === "teacher" && event.done === 16, "teachers"],
      ["second-teacher", (event) => event.kind === "teacher" && event.teacher === 2 && event.done === 0, "teachers"],
      ["training", (event) => event.kind === "step" && event.step === 2, "training"],
    ];
    for (const [name, condition, phase] of cases) {
      const controller = new AbortController();
      const stopped = await distilled(name, {
        signal: controller.signal,
        onEvent: stopAt(condition, () => controller.abort()),
      });
      expect([name, stopped.stop?.phase]).toEqual([name, phase]);
      expect(existsSync(path(name, "done.json"))).toBe(false);
      const rest = await distilled(name, {}, true);
      expect(rest.stop).toBeNull();
      if (phase === "teachers") {
        const asked = rest.events.flatMap((event) => (event.kind === "teacher" ? [event] : []));
        // What was answered is not asked again.
        expect(asked[0]).toMatchObject({ teacher: name === "first-window" ? 1 : 2 });
      } else expect(rest.events.some(({ kind }) => kind === "teacher")).toBe(false);
      expect(readFileSync(path(name, "teacher.jsonl")).equals(readFileSync(path("whole", "teacher.jsonl")))).toBe(true);
      expect(weightsOf(name).equals(weightsOf("whole"))).toBe(true);
      expect(await logOf(name)).toEqual(await logOf("whole"));
    }
    const crash = (event: DistillEvent) => {
      if (event.kind === "teacher" && event.teacher === 2 && event.done === 16) throw new Error("crash");
    };
    await expect(distilled("crashed", { onEvent: crash })).rejects.toThrow("crash");
    const part = path("crashed", "teachers", "2.jsonl.part");
    expect(readFileSync(part, "utf8").split("\n")).toHaveLength(17);
    appendFileSync(part, "[0.1, 0.");
    await distilled("crashed", {}, true);
    expect(weightsOf("crashed").equals(weightsOf("whole"))).toBe(true);
    const finished = await distilled("crashed", {}, true);
    expect(finished.events).toEqual([]);
  }, 120_000);

  it("is resumed by cre train too, once the teachers have answered", async () => {
    const controller = new AbortController();
    const onEvent = (event: DistillEvent) => {
      if (event.kind === "step") controller.abort();
    };
    await distilled("by-train", { signal: controller.signal, onEvent });
    await (await train({ run: path("by-train"), resume: true })).close();
    expect(weightsOf("by-train").equals(weightsOf("whole"))).toBe(true);
    cpSync(path("by-train"), path("no-answers"), { recursive: true });
    rmSync(path("no-answers", "done.json"));
    rmSync(path("no-answers", "teacher.jsonl"));
    await expect(train({ run: path("no-answers"), resume: true })).rejects.toThrow("there is no");
  });

  it("refuses a teacher or rows that changed before all was answered", async () => {
    const controller = new AbortController();
    const onEvent = (event: DistillEvent) => {
      if (event.kind === "teacher") controller.abort();
    };
    const [mine, rows] = [path("mine"), path("mine.jsonl")];
    cpSync(teachers[0], mine, { recursive: true });
    cpSync(unlabelled, rows);
    const options = { teachers: [mine], rows: [rows], signal: controller.signal, onEvent };
    expect((await distilled("changed", options)).stop?.phase).toBe("teachers");
    appendFileSync(rows, jsonl(toyRows(1, 99)));
    expect(await failure("changed", {}, true)).toContain("the rows are not those that its teachers were asked");
    cpSync(unlabelled, rows);
    const recipe = join(mine, "recipe.yaml");
    writeFileSync(recipe, readFileSync(recipe, "utf8").replace("bothDirections: false", "bothDirections: true"));
    expect(await failure("changed", {}, true)).toContain(`${mine}: is not the teacher that`);
  });

  it("leaves out rows of validation and test sentences and training rows, and counts them", async () => {
    const rows = path("mixed.jsonl");
    const [own] = toyRows(1, 11);
    const { relations: _, ...bare } = own;
    const held = [...toyRows(1, 2), ...toyRows(1, 3)];
    writeFileSync(rows, jsonl([own, bare, ...toyRows(16, 1), ...held, { sentence: "甲", head: "乙", tail: "甲" }]));
    expect(await failure("stopped-by-bad", { rows: [rows] })).toContain("1 of 21 rows cannot be used");
    expect(existsSync(path("stopped-by-bad"))).toBe(false);
    const { notices, events } = await distilled("mixed", { rows: [rows], badRows: "skip" });
    expect(notices).toContainEqual(
      "--rows: 1 unlabelled rows; left out: 1 bad, 17 repeated or training rows, 2 of validation or test sentences; the relations in 1 of them are not read.",
    );
    expect(events.find(({ kind }) => kind === "start")).toMatchObject({ examples: 17 });
    const none = path("none.jsonl");
    writeFileSync(none, jsonl(toyRows(16, 1)));
    expect(await failure("nothing", { rows: [none] })).toContain("has no row to learn from");
  });

  it("asks each training row of the folds of a tuning that did not see it, and unlabelled rows of all", async () => {
    const tuned = path("tuned");
    const grid = ["train.learningRate=0.001,0.03"];
    await tune({ run: tuned, recipe: path("t1.yaml"), grid, folds: 2, seeds: [1, 2], dropLosers: false });
    const { events, notices } = await distilled("from-folds", { teachers: [], folds: tuned });
    expect(notices.some((text) => text.includes("trained on these training rows"))).toBe(false);
    expect(events.flatMap((event) => (event.kind === "teacher" ? [event.total] : [])).at(-1)).toBe(32);
    const about = JSON.parse(readFileSync(path("from-folds", "teacher.json"), "utf8"));
    expect(about.folds).toEqual({ count: 2, seed: 1 });
    expect(about.teachers.map(({ fold }: { fold: number }) => fold)).toEqual([0, 1, 0, 1]);
    const { examples: train } = await (await openDataset(data)).split("train");
    const folds = foldsBySentence(train, 2, 1);
    const rows = linesOf("from-folds", "teacher.jsonl").map((line) => JSON.parse(line));
    expect(rows).toHaveLength(40);
    const sums = rows.map(() => [0, 0, 0, 0]);
    for (const { run: directory, fold } of about.teachers) {
      const run = await openRun(directory, { decode: TEACHER_DECODE });
      // Of the best recipe of the two.
      expect(run.recipe.train.learningRate).toBe(
        JSON.parse(readFileSync(join(tuned, "results.json"), "utf8")).candidates[0].name.endsWith("0.03")
          ? 0.03
          : 0.001,
      );
      const asked = rows.map(({ probabilities: _, ...row }) => row);
      for (const [i, { probabilities }] of (await run.extract(asked)).entries()) {
        if (i < train.length && !folds[fold].held.includes(i)) continue;
        for (const [k, p] of probabilities.entries()) sums[i][k] += p / (i < train.length ? 2 : 4);
      }
      await run.close();
    }
    for (const [i, { probabilities }] of rows.entries()) {
      for (const [k, p] of probabilities.entries()) expect(Math.abs(p - sums[i][k])).toBeLessThan(1e-5);
    }
    const controller = new AbortController();
    const onEvent = (event: DistillEvent) => {
      if (event.kind === "teacher" && event.teacher === 3) controller.abort();
    };
    const stopped = { teachers: [], folds: tuned, signal: controller.signal, onEvent };
    expect((await distilled("folds-resumed", stopped)).stop?.phase).toBe("teachers");
    await distilled("folds-resumed", {}, true);
    expect(weightsOf("folds-resumed").equals(weightsOf("from-folds"))).toBe(true);

    expect(await failure("no-folds", { folds: tuned })).toContain("expected finished runs or the folder of a tuning");
    expect(await failure("no-folds", { teachers: [], folds: data })).toContain("is not a finished tuning");
    const other = writeToyData(path("more"));
    appendFileSync(join(other, "train.jsonl"), jsonl(toyRows(1, 42)));
    expect(await failure("no-folds", { teachers: [], folds: tuned, data: other })).toContain(
      "its folds are not of these training rows",
    );
    for (const { run } of about.teachers.slice(0, 1)) rmSync(join(run, "done.json"));
    expect(await failure("no-folds", { teachers: [], folds: tuned })).toContain(
      "has 1 (seed 1) finished runs of its best recipe, expected one for each of 2 folds",
    );
    expect(existsSync(path("no-folds"))).toBe(false);
  }, 120_000);

  it("says what is wrong before anything is written", async () => {
    const other = writeToyData(path("other"));
    const labels = join(other, "labels.json");
    writeFileSync(labels, readFileSync(labels, "utf8").replaceAll("合作", "携手"));
    for (const name of ["train", "valid", "test"]) {
      const file = join(other, `${name}.jsonl`);
      writeFileSync(file, readFileSync(file, "utf8").replaceAll('"合作"', '"携手"'));
    }
    const unfinished = path("unfinished");
    cpSync(teachers[0], unfinished, { recursive: true });
    rmSync(join(unfinished, "adapter_config.json"));
    for (const [options, message] of [
      [{ teachers: [] }, "expected finished runs or the folder of a tuning"],
      [{ teachers: [path("nowhere")] }, "is not a run folder"],
      [{ teachers: [unfinished] }, "training has not finished"],
      [{ rows: [path("nowhere.jsonl")] }, "does not exist"],
      [{ data: other }, `have different labels (only ${teachers[0]} has "合作").A student has the labels`],
      [{ overrides: ["distill.goldWeight=2", "train.epochs=0"] }, "distill.goldWeight"],
      [{ overrides: ["distill.goldWeigth=1"] }, 'did you mean "goldWeight"'],
    ] as const) {
      expect(await failure("nothing-written", options)).toContain(message);
    }
    expect(existsSync(path("nothing-written"))).toBe(false);
    expect(await failure("plain-resume", {}, true)).toContain("is not a run folder");
    cpSync(teachers[0], path("not-distilled"), { recursive: true });
    expect(await failure("not-distilled", {}, true)).toContain("is not a distillation that was begun");
    await expect(train({ run: path("by-hand"), recipe: student })).rejects.toThrow(
      "its recipe has distill, but there is no",
    );
    expect(existsSync(path("by-hand"))).toBe(false);
  });

  it("names the line of a damaged teacher.jsonl", async () => {
    const run = await openRun(path("whole"));
    const { recipe, labels } = run;
    await run.close();
    mkdirSync(path("damaged"));
    const folder = runFolder(path("damaged"));
    const lines = linesOf("whole", "teacher.jsonl");
    for (const [line, problem] of [
      [lines[2].replace(/"probabilities":\[[^,]*,/, '"probabilities":['), 'has no "probabilities", expected 4 numbers'],
      [lines[2].replace(/"probabilities":\[[^,]*,/, '"probabilities":[0.9999,'), "that add up to 1"],
      ["{", "expected a JSON object"],
    ]) {
      writeFileSync(path("damaged", "teacher.jsonl"), [...lines.slice(0, 2), line].join("\n"));
      await expect(teacherFor(folder, recipe, labels)).rejects.toThrow(`teacher.jsonl, line 3: `);
      await expect(teacherFor(folder, recipe, labels)).rejects.toThrow(problem);
    }
    expect(readdirSync(path("damaged"))).toEqual(["teacher.jsonl"]);
  });
});
