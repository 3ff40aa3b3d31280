import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { holdLock } from "../../src/base/lock.ts";
import { createRandom } from "../../src/base/random.ts";
import { buildCli, cre, jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "./support.ts";

const temporary = temporaryFolder("cli-run");
const data = writeToyData(join(temporary.path, "data"));
const file = (name: string) => join(temporary.path, name);
const recipe = writeRecipe(file("toy.yaml"), toyRecipe(data));
const run = file("run");
const LONGER = ["--set", "train.epochs=16", "--set", "train.checkpointSeconds=0.05", "--set", "train.validateEvery=4"];

/** Loss of every step and metrics of every validation, without times. */
function logOf(directory: string): unknown[] {
  const lines = readFileSync(join(directory, "log.jsonl"), "utf8").trimEnd().split("\n");
  return lines.map((line) => ({ ...JSON.parse(line), seconds: 0 }));
}

const hasBegun = (stderr: string) => stderr.includes("training rows");
const weightsOf = (directory: string) => readFileSync(join(directory, "model", "model.safetensors"));

beforeAll(async () => {
  await buildCli();
  const trained = await cre([
    "train",
    recipe,
    "--run",
    run,
    "--set",
    "train.epochs=24",
    "--set",
    "train.learningRate=0.02",
  ]);
  expect(trained.code, trained.stderr).toBe(0);
  expect(trained.stderr).toContain("16 training rows; 96 steps (24.0 epochs)");
  expect(trained.stdout).toBe("");
});
afterAll(() => temporary.remove());

describe("a run", () => {
  it("is a folder of the documented files, and is not trained twice", async () => {
    expect(readdirSync(run).sort()).toEqual(
      [
        ...[
          "calibration.json",
          "checkpoints",
          "checksums.json",
          "companion.bin",
          "companion.json",
          "done.json",
          "labels.json",
          "log.jsonl",
        ],
        ...["model", "recipe.yaml"],
      ].sort(),
    );
    const again = await cre(["train", recipe, "--run", run]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("already holds a run");
    expect(again.stderr).toContain("--resume");
    const resumed = await cre(["train", "--resume", "--run", run]);
    expect(resumed).toMatchObject({ code: 0, stderr: expect.stringContaining("finished already") });
    const changed = await cre(["train", "--resume", "--run", run, "--set", "seed=2"]);
    expect(changed).toMatchObject({ code: 1, stderr: expect.stringContaining("would change it") });
  });

  it("is evaluated: tables, JSON, metrics and report", async () => {
    const { code, stdout, stderr } = await cre(["evaluate", run, "--json", "-"]);
    expect(code, stderr).toBe(0);
    const metrics = JSON.parse(stdout);
    expect(metrics.split).toBe("test");
    expect(JSON.stringify(metrics)).toContain('"micro"');
    expect(JSON.parse(readFileSync(join(run, "metrics.json"), "utf8"))).toEqual(metrics);
    expect(readFileSync(join(run, "report.html"), "utf8")).toContain("</html>");
    const table = await cre(["evaluate", run, "--split", "valid", "--json", file("valid.json")]);
    expect(table.code).toBe(0);
    for (const name of ["paper", "micro", "micro-argmax"]) expect(table.stdout).toContain(name);
    expect(JSON.parse(readFileSync(file("valid.json"), "utf8")).split).toBe("valid");
  });

  it("extracts from a file, from a pipe and into a file, the same every time; predictions are scored", async () => {
    const rows = toyRows(20, 4);
    const input = file("rows.jsonl");
    writeFileSync(input, jsonl([...rows.slice(0, 9), { sentence: "没有", head: "甲", tail: "乙" }, ...rows.slice(9)]));
    const fromFile = await cre(["extract", run, input]);
    expect(fromFile.code, fromFile.stderr).toBe(0);
    expect(fromFile.stderr).toContain("21 rows: 20 extracted, 1 bad");
    expect(fromFile.stderr).toContain("bad row, line 10:");
    const lines = fromFile.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ id }) => id)).toEqual([
      ...rows.slice(0, 9).map(({ id }) => id),
      undefined,
      ...rows.slice(9).map(({ id }) => id),
    ]);
    expect(lines[9]).toMatchObject({ line: 10, error: expect.stringContaining("甲") });
    const right = lines.filter(
      (line) => line.predictions?.[0].relation === line.relations?.[0] && line.relations,
    ).length;
    expect(right).toBeGreaterThanOrEqual(15);

    expect((await cre(["extract", run, "-"], { input: readFileSync(input) })).stdout).toBe(fromFile.stdout);
    const output = file("found.jsonl");
    expect((await cre(["extract", run, input, "--output", output])).code).toBe(0);
    expect(readFileSync(output, "utf8")).toBe(fromFile.stdout);
    const again = await cre(["extract", run, input, "--output", output]);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("exists already") });
    expect((await cre(["extract", run, input, "--output", output, "--overwrite", "--strict"])).code).toBe(1);
    expect(readFileSync(output, "utf8")).toBe(fromFile.stdout);
    expect((await cre(["extract", run, "--output", output])).stderr).toContain("--output needs an input file");

    const sure = await cre(["extract", run, input, "--min-score", "1"]);
    expect(JSON.parse(sure.stdout.split("\n")[0]).predictions).toEqual([]);
    expect((await cre(["extract", run, input, "--min-score", "2"])).stderr).toContain("expected a number from 0 to 1");

    const predictions = file("predictions.jsonl");
    writeFileSync(predictions, jsonl(lines.filter(({ error }) => !error)));
    writeFileSync(file("gold.jsonl"), jsonl(rows));
    const scored = await cre(["score", predictions, "--gold", file("gold.jsonl"), "--json", "-"]);
    expect(scored.code, scored.stderr).toBe(0);
    const accuracy = JSON.parse(scored.stdout);
    expect(JSON.stringify(accuracy)).toContain('"paper"');
    writeFileSync(file("factory.jsonl"), jsonl([{ label: "([甲],合作,[乙])", predict: "([甲],合作,[乙])" }]));
    expect((await cre(["score", file("factory.jsonl")])).stdout).toContain("100.0");
  });

  it("goes on with an extraction that was killed", async () => {
    const input = file("many.jsonl");
    writeFileSync(input, jsonl(toyRows(700, 5)));
    const output = file("many-found.jsonl");
    const whole = await cre(["extract", run, input]);
    const hasRows = () => (statSync(`${output}.part`, { throwIfNoEntry: false })?.size ?? 0) > 0;
    const killed = await cre(["extract", run, input, "--output", output], {
      kill: { when: hasRows, signal: "SIGKILL" },
    });
    expect(killed.signal).toBe("SIGKILL");
    expect(existsSync(output)).toBe(false);
    const finished = await cre(["extract", run, input, "--output", output]);
    expect(finished.code, finished.stderr).toBe(0);
    expect(whole.stdout.length).toBeGreaterThan(70_000);
    expect(readFileSync(output, "utf8") === whole.stdout).toBe(true);
    expect(finished.stderr).toMatch(/700 rows: .* \d+ done before/);
    expect(hasRows()).toBe(false);
  });

  it("does not mind a reader that goes away", async () => {
    const { spawnSync } = await import("node:child_process");
    const command = `"${process.execPath}" dist/cli.js data convert "${data}" --split train --format jsonl | head -1; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", command], { encoding: "utf8" });
    expect(["0", "141"]).toContain(stdout.trimEnd().split("\n").at(-1));
    expect(stderr).toBe("");
  });
});

describe("training that is interrupted", () => {
  let whole: string;
  beforeAll(async () => {
    whole = file("whole");
    expect((await cre(["train", recipe, "--run", whole, ...LONGER])).code).toBe(0);
  });

  it("ends after kill -9 at random moments with the same losses and the same bytes", async () => {
    const random = createRandom(Date.now());
    const directory = file("killed");
    const moments: number[] = [];
    let isResumed = false;
    while (!existsSync(join(directory, "done.json"))) {
      moments.push(random.below(700));
      const command = isResumed
        ? ["train", "--resume", "--run", directory]
        : ["train", recipe, "--run", directory, ...LONGER];
      // The last call is left to finish.
      const kill =
        moments.length <= 3 ? { when: hasBegun, afterMs: moments.at(-1), signal: "SIGKILL" as const } : undefined;
      const { code, signal, stderr } = await cre(command, { kill });
      expect(signal === "SIGKILL" || code === 0, stderr).toBe(true);
      isResumed = true;
    }
    const where = `killed after ${moments.join(", ")} ms`;
    expect(logOf(directory), where).toEqual(logOf(whole));
    expect(weightsOf(directory).equals(weightsOf(whole)), where).toBe(true);
    for (const name of ["companion.bin", "companion.json"]) {
      expect(readFileSync(join(directory, name)).equals(readFileSync(join(whole, name))), `${name}, ${where}`).toBe(
        true,
      );
    }
    const names = readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".part"),
    );
    expect(names, where).toEqual([]);
  });

  it("saves a checkpoint on Ctrl-C, says how to go on, and ends the same", async () => {
    const directory = file("stopped");
    const log = join(directory, "log.jsonl");
    const stopped = await cre(
      ["train", recipe, "--run", directory, ...LONGER, "--set", "train.checkpointSeconds=1000"],
      {
        kill: { when: () => existsSync(log) && readFileSync(log, "utf8").split("\n").length > 3, signal: "SIGINT" },
      },
    );
    expect(stopped.code, stopped.stderr).toBe(130);
    expect(stopped.stderr).toContain(`Resume with: cre train --resume --run ${directory}`);
    expect(stopped.stderr).not.toContain("    at ");
    expect(existsSync(join(directory, "checkpoints", "state.safetensors"))).toBe(true);
    const release = await holdLock(join(directory, "run.lock"), directory);
    const second = await cre(["train", "--resume", "--run", directory]);
    expect(second.code, second.stderr).toBe(1);
    expect(second.stderr).toContain(`${directory} is in use by process ${process.pid}`);
    await release();
    const resumed = await cre(["train", "--resume", "--run", directory]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(existsSync(join(directory, "run.lock"))).toBe(false);
    expect(resumed.stderr).toMatch(/resuming after step [1-9]/);
    expect(logOf(directory)).toEqual(logOf(whole));
    expect(weightsOf(directory).equals(weightsOf(whole))).toBe(true);
  });

  it("stops on SIGTERM as on Ctrl-C, and ends at once on a second signal", async () => {
    const directory = file("terminated");
    const log = join(directory, "log.jsonl");
    const hasSteps = () => existsSync(log) && readFileSync(log, "utf8").split("\n").length > 3;
    const options = [...LONGER, "--set", "train.checkpointSeconds=1000"];
    const kill = { when: hasSteps, signal: "SIGTERM" as const };
    const stopped = await cre(["train", recipe, "--run", directory, ...options], { kill });
    expect(stopped.code, stopped.stderr).toBe(143);
    expect(stopped.stderr).toContain("stopping after this step and saving a checkpoint");
    expect(stopped.stderr).toContain(`Resume with: cre train --resume --run ${directory}`);
    expect(existsSync(join(directory, "run.lock"))).toBe(false);
    expect((await cre(["train", "--resume", "--run", directory])).code).toBe(0);
    expect(weightsOf(directory).equals(weightsOf(whole))).toBe(true);

    // Steps of several seconds: the second signal comes before the first one's step is done.
    const slow = ["--set", "model.init.width=256", "--set", "model.init.layers=8", "--set", "train.batchExamples=16"];
    const twice = { when: hasBegun, afterMs: 300, signal: "SIGTERM" as const, again: "stopping after this step" };
    const killed = await cre(["train", recipe, "--run", file("twice"), ...slow], { kill: twice });
    expect(killed.signal, killed.stderr).toBe("SIGTERM");
    expect(existsSync(join(file("twice"), "checkpoints"))).toBe(false);
  });

  it("leaves nothing behind when the training cannot begin", async () => {
    const directory = file("never");
    const cases: [string[], string][] = [
      [["--set", "train.learningRat=1"], 'did you mean "learningRate"'],
      [["--set", "model.init.heads=3"], "cannot be shared evenly by 3 heads"],
      [["--set", "prompt.style=papers"], 'did you mean "paper"'],
      [["--set", "prompt.maxAnswerTokens=1"], "prompt.maxAnswerTokens is 1, expected at least 3"],
      [["--data", file("nowhere")], "nowhere does not exist"],
    ];
    for (const [options, problem] of cases) {
      const { code, stderr } = await cre(["train", recipe, "--run", directory, ...options]);
      expect(code, stderr).toBe(1);
      expect(stderr).toContain(problem);
      expect(existsSync(directory)).toBe(false);
    }
    rmSync(file("toy.yaml"));
    expect((await cre(["train"])).stderr).toContain("got neither a recipe nor data");
    expect((await cre(["train", "--resume"])).stderr).toContain("--resume needs --run DIR or the recipe");
  });
});
