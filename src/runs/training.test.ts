import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { UserError, UserErrors } from "../base/errors.ts";
import { holdLock } from "../base/lock.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import { saveEvaluation } from "./evaluation.ts";
import { openRun, type Run, RunStopped } from "./run.ts";
import { runFolder } from "./run-folder.ts";
import { type RecipeInput, type TrainingEvent, train } from "./training.ts";

const temporary = temporaryFolder("training");
const path = (...names: string[]) => join(temporary.path, ...names);
const data = writeToyData(path("data"));
const { data: _data, ...values } = toyRecipe(data);
const recipe = values as unknown as RecipeInput;
const recipeFile = writeRecipe(path("toy.yaml"), toyRecipe(data));
vi.stubEnv("CRE_BACKEND", "reference");
afterAll(() => temporary.remove());

const weightsOf = (run: string) => readFileSync(path(run, "model", "model.safetensors"));
const companionOf = (run: string) => ({
  model: readFileSync(path(run, "companion.bin")),
  notes: readFileSync(path(run, "companion.json"), "utf8"),
});
const placesOf = (sentence: string, names: readonly string[]) =>
  names.map((name) => ({ start: sentence.indexOf(name), end: sentence.indexOf(name) + name.length }));
const failure = (options: Parameters<typeof train>[0]) => train(options).catch((error) => error);

describe("train", () => {
  const events: TrainingEvent[] = [];
  let run: Run;
  beforeAll(async () => {
    run = await train({ run: path("whole"), recipe: recipeFile, onEvent: (event) => void events.push(event) });
  });
  afterAll(() => run.close());

  it("makes a run folder, tells what happens and opens the run", async () => {
    const kinds = events.map(({ kind }) => kind).filter((kind) => !["step", "loading"].includes(kind));
    const checked = ["validation", "checkpoint"];
    const validations = [...checked, ...checked, ...checked, ...checked];
    expect(kinds).toEqual(["data", "data", "companion", "model", "start", ...validations, "pairs", "mixture", "end"]);
    const fitted = events.find((event) => event.kind === "pairs");
    expect(fitted).toEqual({ kind: "pairs", done: fitted?.total, total: fitted?.total });
    expect(events[0]).toMatchObject({ split: "train", counts: { rows: 16, badRows: 0 } });
    expect(events.find(({ kind }) => kind === "model")).toMatchObject({
      labels: 4,
      backend: expect.stringMatching("plain"),
    });
    expect(existsSync(path("whole", "run.lock"))).toBe(false);
    expect(run.folder.directory).toBe(path("whole"));
    expect(run.labels.labels).toEqual(["unknown", "收购", "被收购", "合作"]);
  });

  it("trains alike from a file, from values with rows, and when it was stopped and resumed", async () => {
    const { labels } = await openDataset(data);
    const rows = { labels, train: toyRows(16, 1), valid: toyRows(8, 2) };
    // One relation a row, as other programs write several relations of a pair.
    const twice = (some: Example[]) => [...some, some[0]];
    const notices: string[] = [];
    const hear = (event: TrainingEvent) => void (event.kind === "notice" && notices.push(event.text));
    const given = { labels, train: rows.train, valid: twice(rows.valid) };
    await (await train({ run: path("rows"), recipe, data: given, onEvent: hear })).close();
    expect(notices).toEqual(["data.valid: 1 rows were merged into a row of the same sentence, head and tail."]);
    expect(weightsOf("rows").equals(weightsOf("whole"))).toBe(true);
    expect(companionOf("rows")).toEqual(companionOf("whole"));

    const stop = new AbortController();
    const onEvent = (event: TrainingEvent) => void (event.kind === "step" && event.step === 3 && stop.abort());
    const stopped = await failure({ run: path("parts"), recipe, data: rows, signal: stop.signal, onEvent });
    expect(stopped).toBeInstanceOf(RunStopped);
    expect(stopped).toMatchObject({ directory: path("parts"), step: 3, signal: null });
    expect(stopped.message).toContain("training stopped after step 3; its state is saved");
    await expect(openRun(path("parts"))).rejects.toThrow("training has not finished");
    expect(companionOf("parts").notes).toContain('"validation": null');
    await (await train({ run: path("parts"), data: rows, resume: true })).close();
    expect(weightsOf("parts").equals(weightsOf("whole"))).toBe(true);
    expect(companionOf("parts")).toEqual(companionOf("whole"));
    // A finished run is only opened.
    const again: TrainingEvent[] = [];
    await (await train({ run: path("parts"), resume: true, onEvent: (event) => void again.push(event) })).close();
    expect(again.filter(({ kind }) => kind !== "loading")).toEqual([]);
  });

  it("learns drawn rows of no relation, counts them, and ends alike when it was stopped and resumed", async () => {
    const { labels } = await openDataset(data);
    const [first, ...rest] = toyRows(16, 1);
    const sentence = `${first.sentence}天马股份旁观。`;
    const own = { ...first, sentence };
    // A row that validation has is never drawn, nor is one of its sentences.
    const rows = {
      labels,
      train: [own, ...rest],
      valid: toyRows(8, 2),
      annotated: [{ sentence, mentions: placesOf(sentence, [own.head, own.tail, "天马股份"]) }],
    };
    const wanted = { ...recipe, train: { ...recipe.train, negatives: 0.25 } } as RecipeInput;
    const notices: string[] = [];
    const hear = (event: TrainingEvent) => void (event.kind === "notice" && notices.push(event.text));
    await (await train({ run: path("negatives"), recipe: wanted, data: rows, onEvent: hear })).close();
    expect(notices).toEqual([
      'train.negatives: 4 of 4 pairs without a label in 1 training sentences are learnt as "unknown".',
    ]);
    const counts = { drawn: 4, candidates: 4 };
    const [line] = readFileSync(path("negatives", "log.jsonl"), "utf8").split("\n");
    expect(JSON.parse(line)).toEqual({ kind: "negatives", step: 0, ...counts });
    expect(JSON.parse(readFileSync(runFolder(path("negatives")).done, "utf8"))).toMatchObject({ negatives: counts });
    expect(weightsOf("negatives").equals(weightsOf("whole"))).toBe(false);

    const stop = new AbortController();
    const onEvent = (event: TrainingEvent) => void (event.kind === "step" && event.step === 3 && stop.abort());
    const options = { run: path("negatives-parts"), recipe: wanted, data: rows, signal: stop.signal, onEvent };
    expect(await failure(options)).toMatchObject({ step: 3 });
    await (await train({ run: path("negatives-parts"), data: rows, resume: true })).close();
    expect(weightsOf("negatives-parts").equals(weightsOf("negatives"))).toBe(true);
    expect(companionOf("negatives-parts")).toEqual(companionOf("negatives"));
    const log = readFileSync(path("negatives-parts", "log.jsonl"), "utf8");
    expect(log.match(/"negatives"/g)).toHaveLength(1);
  });

  it("learns rows of joined sentences, of which a companion learns a few, and ends alike when it was stopped and resumed", async () => {
    const { labels } = await openDataset(data);
    const rows = { labels, train: toyRows(16, 1), valid: toyRows(8, 2) };
    const wanted = { ...recipe, train: { ...recipe.train, joinedSentences: 1 } } as RecipeInput;
    const notices: string[] = [];
    const hear = (event: TrainingEvent) => void (event.kind === "notice" && notices.push(event.text));
    await (await train({ run: path("joined"), recipe: wanted, data: rows, onEvent: hear })).close();
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatch(
      /^train\.joinedSentences: \d+ rows of two sentences in one are learnt too, \d+ of them as "unknown"\.$/,
    );
    const [, count, across] = notices[0].match(/: (\d+) rows .* (\d+) of them/) as RegExpMatchArray;
    expect(Number(count)).toBeGreaterThan(16);
    expect(weightsOf("joined").equals(weightsOf("whole"))).toBe(false);
    await (await train({ run: path("not-joined"), recipe, data: rows })).close();
    const [more, fewer] = ["joined", "not-joined"].map((run) => JSON.parse(companionOf(run).notes).rows);
    expect(more - fewer).toBe(Math.ceil(Number(across) / 24));

    const stop = new AbortController();
    const onEvent = (event: TrainingEvent) => void (event.kind === "step" && event.step === 3 && stop.abort());
    const options = { run: path("joined-parts"), recipe: wanted, data: rows, signal: stop.signal, onEvent };
    expect(await failure(options)).toMatchObject({ step: 3 });
    await (await train({ run: path("joined-parts"), data: rows, resume: true })).close();
    expect(weightsOf("joined-parts").equals(weightsOf("joined"))).toBe(true);
    expect(companionOf("joined-parts")).toEqual(companionOf("joined"));
  });

  it("stops by a process signal only when it is asked to listen", async () => {
    const listeners = process.listenerCount("SIGTERM");
    const onEvent = (event: TrainingEvent) => {
      if (event.kind !== "step" || event.step !== 2) return;
      expect(process.listenerCount("SIGTERM")).toBe(listeners + 1);
      process.emit("SIGTERM", "SIGTERM");
    };
    const heard: string[] = [];
    const onSignal = (name: string) => void heard.push(name);
    const stopped = await failure({ run: path("signal"), recipe: recipeFile, onSignal, onEvent });
    expect(stopped).toMatchObject({ name: "RunStopped", step: 2, signal: "SIGTERM" });
    expect(heard).toEqual(["SIGTERM"]);
    expect(process.listenerCount("SIGTERM")).toBe(listeners);
  });

  it("refuses what cannot be trained, with every problem, before a folder is made", async () => {
    const never = path("never");
    const { labels } = await openDataset(data);
    const rows = (...changed: object[]) => ({
      labels,
      train: changed.map((row, i) => ({ ...toyRows(8, 1)[i], ...row })),
    });
    const cases: [Parameters<typeof train>[0], string][] = [
      [{ run: never }, "got neither a recipe nor data"],
      [{ run: never, recipe }, "data.path is missing"],
      [{ run: never, recipe, data: path("nowhere") }, "nowhere does not exist"],
      [{ run: never, recipe: recipeFile, resume: true }, "has its own recipe"],
      [{ run: never, resume: true }, "never: is not a run folder"],
      [{ run: never, recipe: { ...recipe, train: { learningRat: 1 } } as never }, 'did you mean "learningRate"'],
      [{ run: never, recipe, data: { labels, train: [] } }, "data.train: the rows cannot be used:\n  - got no rows"],
      [
        { run: never, recipe, data: rows({}, { relations: ["收钩"] }) },
        'row 2: got the relation "收钩", expected one of the 4',
      ],
      [{ run: never, recipe, data: rows({ relations: [] }) }, "row 1: got no relations"],
      [{ run: never, recipe, data: rows({ head: "无" }) }, 'row 1: got the head "无", expected a part of the sentence'],
      [{ run: path("whole"), recipe, data }, "already holds a run"],
    ];
    for (const [options, message] of cases) {
      const error = await failure(options);
      expect(error, message).toBeInstanceOf(UserError);
      expect(error.message).toContain(message);
      expect(existsSync(never)).toBe(false);
    }
    const both = await failure({ run: never, recipe, data: rows({ relations: [] }, { head: "无" }) });
    expect(both).toBeInstanceOf(UserErrors);
    expect(both.problems).toHaveLength(2);
  });

  it("does not resume a run that another process works in, or whose data or base model has gone", async () => {
    const begun = path("begun");
    mkdirSync(begun);
    cpSync(path("whole", "recipe.yaml"), join(begun, "recipe.yaml"));
    const release = await holdLock(join(begun, "run.lock"), begun);
    expect((await failure({ run: begun, resume: true })).message).toContain(`in use by process ${process.pid}`);
    await release();
    const text = readFileSync(join(begun, "recipe.yaml"), "utf8");
    writeFileSync(join(begun, "recipe.yaml"), text.replace(data, path("gone")));
    expect((await failure({ run: begun, resume: true })).message).toContain("1 problem:\n  - data.path:");
    rmSync(begun, { recursive: true });

    const lora = { adapter: { method: "lora", rank: 2 }, model: { path: path("base"), storage: "float32" } };
    cpSync(path("whole", "model"), path("base"), { recursive: true });
    const signal = AbortSignal.abort();
    const stopped = await failure({ run: begun, recipe: { ...recipe, ...lora } as RecipeInput, data, signal });
    expect(stopped).toMatchObject({ name: "RunStopped", step: 1 });
    writeFileSync(path("base", "config.json"), `${readFileSync(path("base", "config.json"), "utf8")} `);
    expect((await failure({ run: begun, resume: true })).message).toContain("is not the model that");
  });

  it("notes that rows without a validation split keep the last weights", async () => {
    const { labels } = await openDataset(data);
    const notes: string[] = [];
    const onEvent = (event: TrainingEvent) => void (event.kind === "notice" && notes.push(event.text));
    await (await train({ run: path("last"), recipe, data: { labels, train: toyRows(4, 1) }, onEvent })).close();
    expect(notes).toEqual([expect.stringContaining("the last weights are kept")]);
  });

  it("fits the companion anew where the best validation was made before the last stop", async () => {
    // The resumed process has no step to make, so it never sees the probabilities of a validation.
    const onEvent = (event: TrainingEvent) => {
      if (event.kind === "checkpoint" && event.step === 8) throw new Error("power cut");
    };
    await failure({ run: path("late"), recipe: recipeFile, onEvent });
    expect(existsSync(path("late", "done.json"))).toBe(false);
    await (await train({ run: path("late"), resume: true })).close();
    expect(companionOf("late")).toEqual(companionOf("whole"));
    expect(weightsOf("late").equals(weightsOf("whole"))).toBe(true);
  });

  it("ends as by a crash when onEvent throws, and the run can be resumed", async () => {
    const onEvent = (event: TrainingEvent) => {
      if (event.kind === "step" && event.step === 4) throw new Error("full disk");
    };
    expect((await failure({ run: path("crash"), recipe: recipeFile, onEvent })).message).toBe("full disk");
    expect(existsSync(path("crash", "run.lock"))).toBe(false);
    await (await train({ run: path("crash"), resume: true })).close();
    expect(weightsOf("crash").equals(weightsOf("whole"))).toBe(true);
  });
});

describe("an opened run", () => {
  let run: Run;
  beforeAll(async () => {
    run = await openRun(path("whole"));
  });

  it("extracts one example, many, and a stream with the same results", async () => {
    const rows = toyRows(5, 4);
    const many = await run.extract(rows);
    expect(many).toHaveLength(5);
    const one = await run.extract(rows[2]);
    expect(one.predictions[0].relation).toBe(many[2].predictions[0].relation);
    async function* source(): AsyncGenerator<Example> {
      yield* rows.slice(0, 2);
      yield { sentence: "没有", head: "甲", tail: "乙" };
      yield* rows.slice(2);
    }
    const results = [];
    for await (const result of run.stream(source(), { windowRows: 2 })) results.push(result);
    expect(results).toHaveLength(6);
    expect(results[2]).toEqual({ problem: expect.stringContaining('got the head "甲"') });
    const found = results.flatMap((result) => ("problem" in result ? [] : [result.predictions[0].relation]));
    expect(found).toEqual(many.map(({ predictions }) => predictions[0].relation));
    const bad = run.extract({ sentence: "没有", head: "甲", tail: "乙" });
    await expect(bad).rejects.toThrow(UserError);
  });

  it("evaluates a folder, rows and a split alike, and saves the scores", async () => {
    const heard: string[] = [];
    const onEvent = (event: { kind: string }) => void heard.push(event.kind);
    const test = await run.evaluate({ onEvent });
    expect(heard).toEqual(["data", "rows", "rows"]);
    expect(test.source).toEqual({ data: "data", split: "test" });
    const rows = await run.evaluate({ data: toyRows(8, 3) });
    expect(rows.metrics).toEqual(test.metrics);
    const [first, ...others] = toyRows(8, 3);
    const notices: unknown[] = [];
    const split = await run.evaluate({
      data: [first, { ...first, relations: ["合作"] }, ...others],
      bootstrap: null,
      onEvent: (event) => void (event.kind === "notice" && notices.push(event.text)),
    });
    expect(split.metrics.counts).toMatchObject({ rows: 8, mergedRows: 1, multiLabelRows: 1 });
    expect(notices).toEqual(["evaluate: 1 rows were merged into a row of the same sentence, head and tail."]);
    expect(rows.source).toBe(null);
    expect((await run.evaluate({ data, split: "valid", bootstrap: null })).metrics.intervals).toBe(null);
    await saveEvaluation(run, rows);
    const { conventions, data: name } = JSON.parse(readFileSync(run.folder.metrics, "utf8"));
    expect(conventions).toEqual(test.metrics.conventions);
    expect(name).toBe(undefined);
    expect(readFileSync(run.folder.report, "utf8")).toContain("8 rows");
    await expect(run.evaluate({ data: [{ sentence: "甲在乙", head: "甲", tail: "乙" }] })).rejects.toThrow(
      "row 1: got no relations",
    );
    const rowsOnly = await openRun(path("rows"));
    await expect(rowsOnly.evaluate()).rejects.toThrow("does not know where its data is");
    await rowsOnly[Symbol.asyncDispose]();
  });

  it("cannot be used once it is closed", async () => {
    await run.close();
    await run.close();
    await expect(run.extract(toyRows(1, 4))).rejects.toThrow(
      `${runFolder(path("whole")).directory}: the run is closed.`,
    );
    await expect(run.evaluate()).rejects.toThrow("the run is closed");
  });
});
