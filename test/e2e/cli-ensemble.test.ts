import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildCli, cre, jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "./support.ts";

// Several runs as one: cre extract A,B, cre evaluate A,B and cre distill A B.

const temporary = temporaryFolder("cli-ensemble");
const file = (name: string) => join(temporary.path, name);
const data = writeToyData(file("data"));
const rows = file("rows.jsonl");
const [a, b] = [file("a"), file("b")];

beforeAll(async () => {
  await buildCli();
  const recipe = writeRecipe(file("toy.yaml"), toyRecipe(data));
  for (const [run, seed] of [
    [a, 5],
    [b, 6],
  ] as const) {
    const trained = await cre(["train", recipe, "--run", run, "--set", `seed=${seed}`]);
    expect(trained.code, trained.stderr).toBe(0);
  }
  writeFileSync(rows, jsonl(toyRows(1100, 9).map(({ relations: _, ...row }) => row)));
}, 60_000);
afterAll(() => temporary.remove());

const probabilityOf = (line: string, relation: string): number =>
  JSON.parse(line).predictions.find((one: { relation: string }) => one.relation === relation)?.probability;

describe("cre extract RUN_A,RUN_B", () => {
  it("averages the runs, and ends with the same bytes after kill -9", async () => {
    const whole = file("whole.jsonl");
    const extracted = await cre(["extract", `${a},${b}`, rows, "--output", whole]);
    expect(extracted.code, extracted.stderr).toBe(0);
    expect(extracted.stderr).toContain("2 runs: the mean of their label probabilities");
    const lines = readFileSync(whole, "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(1100);
    const few = file("few.jsonl");
    writeFileSync(few, readFileSync(rows, "utf8").split("\n").slice(0, 8).join("\n"));
    const [ofA, ofB] = [await cre(["extract", a, few]), await cre(["extract", b, few])];
    let compared = 0;
    for (let i = 0; i < 8; i++) {
      const [{ relation, probability }] = JSON.parse(lines[i]).predictions;
      const each = [ofA, ofB].map(({ stdout }) => probabilityOf(stdout.split("\n")[i], relation));
      if (each.includes(undefined as never)) continue;
      expect(Math.abs(probability - (each[0] + each[1]) / 2)).toBeLessThan(2e-6);
      compared++;
    }
    expect(compared).toBeGreaterThan(0);
    const part = file("killed.jsonl");
    const written = () =>
      existsSync(`${part}.part`) ? readFileSync(`${part}.part`, "utf8").split("\n").length - 1 : 0;
    const command = ["extract", `${a},${b}`, rows, "--output", part];
    const killed = await cre(command, { kill: { when: () => written() >= 512, signal: "SIGKILL" } });
    expect(killed.signal).toBe("SIGKILL");
    const other = await cre(["extract", `${b},${a}`, rows, "--output", part]);
    expect([other.code, other.stderr]).toEqual([
      1,
      expect.stringContaining("is the unfinished output of another call"),
    ]);
    const resumed = await cre(command);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.stderr).toMatch(/(512|1024) done before/);
    expect(readFileSync(part, "utf8")).toBe(readFileSync(whole, "utf8"));
  });

  it("says in one line which runs cannot answer together", async () => {
    for (const [list, message] of [
      [`${a},${a}`, `names ${a} twice`],
      [`${a},`, "is a list with an empty name"],
      [`${a},${file("none")}`, "is not a run folder"],
    ]) {
      const { code, stderr } = await cre(["extract", list, rows]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
    const generate = await cre(["evaluate", `${a},${b}`, "--method", "generate"]);
    expect([generate.code, generate.stderr]).toEqual([1, expect.stringContaining("generates text, expected label")]);
  });
});

describe("cre evaluate RUN_A,RUN_B", () => {
  it("shows the F1 of the mean next to that of each run, and leaves their reports alone", async () => {
    const { code, stdout, stderr } = await cre(["evaluate", `${a},${b}`, "--split", "valid"]);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain("2 runs together on data, valid");
    expect(stdout).toMatch(/mean of the runs/);
    expect(existsSync(join(a, "report.html"))).toBe(false);
    const json = await cre(["evaluate", `${a},${b}`, "--split", "valid", "--json", "-"]);
    expect(json.stderr).toContain(`${a}: answers of an earlier evaluation`);
    const { runs, references, conventions, split } = JSON.parse(json.stdout);
    expect(runs.map(({ run }: { run: string }) => run)).toEqual([a, b]);
    expect(references[2].name).toBe("mean of the runs");
    expect({ split, f1: typeof conventions.micro.f1 }).toEqual({ split: "valid", f1: "number" });
    const read = await cre(["evaluate", `${a},${b}`, "--json", join(data, "test.jsonl")]);
    expect([read.code, read.stderr]).toEqual([1, expect.stringContaining("is read by this command")]);
  });
});

describe("cre distill", () => {
  it("trains a run on the mean of others, and ends with the same bytes after kill -9 in either part", async () => {
    const command = ["distill", a, b, "--into", file("toy.yaml"), "--rows", rows, "--set", "train.epochs=0.05"];
    const whole = await cre([...command, "--run", file("whole")]);
    expect(whole.code, whole.stderr).toBe(0);
    expect(whole.stderr).toContain("note: 2 of 2 teachers were trained on these training rows");
    expect(whole.stderr).toContain("note: soft targets of 1116 rows (1100 of them unlabelled)");
    const bytes = (run: string) => readFileSync(join(file(run), "model", "model.safetensors"));
    const linesOf = (path: string) => (existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0);
    const part = join(file("killed"), "teachers", "1.jsonl.part");
    const first = await cre([...command, "--run", file("killed")], {
      kill: { when: () => linesOf(part) >= 256, signal: "SIGKILL" },
    });
    expect(first.signal).toBe("SIGKILL");
    const early = await cre(["train", "--resume", "--run", file("killed")]);
    expect([early.code, early.stderr]).toEqual([1, expect.stringContaining("its recipe has distill, but there is no")]);
    const log = join(file("killed"), "log.jsonl");
    const resume = ["distill", "--resume", "--run", file("killed")];
    const second = await cre(resume, { kill: { when: () => linesOf(log) >= 2, signal: "SIGKILL" } });
    expect(second.signal).toBe("SIGKILL");
    const last = await cre(resume);
    expect(last.code, last.stderr).toBe(0);
    expect(last.stderr).not.toContain("teacher 1/2");
    expect(bytes("killed").equals(bytes("whole"))).toBe(true);
    expect((await cre(resume)).stderr).toContain("training is finished already");
    const evaluated = await cre(["evaluate", file("killed"), "--split", "valid"]);
    expect(evaluated.code, evaluated.stderr).toBe(0);
  }, 120_000);

  it("says in one line what is missing", async () => {
    for (const [words, message] of [
      [[a, b], "got neither a recipe nor data"],
      [["--into", file("toy.yaml")], "got no run, expected at least one finished run"],
      [[a, a, "--into", file("toy.yaml")], `names ${a} twice`],
      [[a, "--folds", data, "--into", file("toy.yaml")], "got runs and --folds, expected one of both"],
      [["--folds", data, "--into", file("toy.yaml"), "--run", file("never")], "is not a finished tuning"],
      [["--resume", a, "--run", file("whole")], "give only --run DIR"],
      [["--resume", "--run", a], "is not a distillation that was begun"],
    ] as const) {
      const { code, stderr } = await cre(["distill", ...words]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
  });
});
