import { appendFileSync, existsSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { nativeStatus } from "../../src/compute/native/open.ts";
import { done, expectDone, expectMistake, parsedLines } from "../cases/outcome.ts";
import { copyOf, recipeWith, type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { cre, jsonl, type Outcome, temporaryFolder, toyRows } from "../e2e/support.ts";
import { type CommandServer, commandServer, trainUntil } from "./harness.ts";

// What a power loss leaves: NUL bytes and halves of lines at the end of files that grow. And what changed while nobody looked.

const native = nativeStatus();
if (!native.available) console.warn(`skipped: resuming with another instruction set; ${native.reason}`);
// As cre() and the server.
vi.stubEnv("CRE_BACKEND", "reference");
const temporary = temporaryFolder("tails");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
/** Two windows of 512 rows, and a last one. */
const COUNT = 1200;
let toys: ToyRuns;
/** Computes as the processes that were killed. */
let server: CommandServer;
let stopped: string;
let whole: string;
/** The whole output of an extraction, and the state beside an unfinished one, which is what a killed call left. */
let found: string;
let progress: Buffer;

/** The first lines of the output: what an unfinished one holds. */
const part = (lines: number) => Buffer.from(`${found.split("\n").slice(0, lines).join("\n")}\n`);

/** Line ends of a file that another process writes. */
const linesOf = (path: string) => (existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0);

const logOf = (run: string) =>
  parsedLines(readFileSync(join(run, "log.jsonl"), "utf8")).map((line) => ({ ...line, seconds: 0 }));

beforeAll(async () => {
  toys = await toyRuns();
  server = commandServer(undefined, "reference");
  whole = file("whole");
  stopped = file("stopped");
  const recipe = recipeWith(toys, toys.recipe, file("toy.yaml"), { epochs: 4, validateEvery: 1 });
  await done(["train", recipe, "--run", whole]);
  await trainUntil(8, recipe, stopped);
  writeFileSync(ROWS, jsonl(toyRows(COUNT, 3)));
  // A date that can be given to another file again.
  utimesSync(ROWS, 1_700_000_000, 1_700_000_000);
  found = (await done(["extract", toys.run, ROWS])).stdout;
  const output = file("killed.jsonl");
  await cre(["extract", toys.run, ROWS, "--output", output], {
    kill: { when: () => linesOf(`${output}.part.json`) > 2, signal: "SIGKILL" },
  });
  progress = readFileSync(`${output}.part.json`);
}, 120_000);
afterAll(async () => {
  await server.close();
  temporary.remove();
});

/** Runs a command that must end with exit code 0, in a process that runs many. */
async function quickly(command: readonly string[]): Promise<Outcome> {
  const outcome = await server.run(command);
  expectDone(outcome);
  return outcome;
}

const TAILS: [string, Buffer][] = [
  ["NUL bytes", Buffer.alloc(4096)],
  ["NUL bytes and a line end", Buffer.concat([Buffer.alloc(100), Buffer.from("\n")])],
  ["half a line", Buffer.from('{"kind":"step","step":999,"lo')],
  [
    "half a line, NUL bytes and a line end",
    Buffer.concat([Buffer.from('{"sentence":"甲'), Buffer.alloc(50), Buffer.from("\n")]),
  ],
  ["half a character", Buffer.from([0xe6, 0x94])],
];

describe.each(TAILS)("%s at the end of", (name, tail) => {
  it("log.jsonl is cut off when the training is resumed, which ends the same", async () => {
    const run = copyOf(stopped, file(`log-${name}`));
    appendFileSync(join(run, "log.jsonl"), tail);
    await quickly(["train", "--resume", "--run", run]);
    expect(logOf(run)).toEqual(logOf(whole));
    const weights = [run, whole].map((directory) => readFileSync(join(directory, "model/model.safetensors")));
    expect(weights[0].equals(weights[1])).toBe(true);
  });

  it("log.jsonl does not keep a finished run from being evaluated", async () => {
    const run = copyOf(whole, file(`finished-${name}`));
    appendFileSync(join(run, "log.jsonl"), tail);
    await quickly(["evaluate", run]);
  });

  // Rows are computed in windows, of 512 today: the tail may make the last line of one.
  it.each([1024, 1023])(
    "an unfinished output of %i rows is cut off, and the extraction ends the same",
    async (rows) => {
      const output = file(`found-${rows}-${name}.jsonl`);
      writeFileSync(`${output}.part`, Buffer.concat([part(rows), tail]));
      writeFileSync(`${output}.part.json`, progress);
      const { stderr } = await quickly(["extract", toys.run, ROWS, "--output", output]);
      expect(stderr).toMatch(rows === 1024 ? "1024 done before" : "512 done before");
      expect(readFileSync(output, "utf8") === found).toBe(true);
      expect(existsSync(`${output}.part`)).toBe(false);
    },
  );
});

describe("NUL bytes in place of", () => {
  it("whole lines inside an unfinished output are noticed", async () => {
    const output = file("nul-inside.jsonl");
    const spoilt = part(1024);
    // Some lines are lost but for their length, as some file systems do.
    spoilt.fill(0, part(100).length, part(150).length);
    writeFileSync(`${output}.part`, spoilt);
    writeFileSync(`${output}.part.json`, progress);
    const { code, stderr } = await server.run(["extract", toys.run, ROWS, "--output", output]);
    if (code === 0) expect(readFileSync(output, "utf8") === found).toBe(true);
    else expect(stderr).toContain(`${output}.part`);
  });

  it("the state of an extraction: it is begun anew or refused by name", async () => {
    const output = file("nul-state.jsonl");
    writeFileSync(`${output}.part`, part(1024));
    writeFileSync(`${output}.part.json`, Buffer.alloc(progress.length));
    const { code, stderr } = await server.run(["extract", toys.run, ROWS, "--output", output]);
    if (code === 0) expect(readFileSync(output, "utf8") === found).toBe(true);
    else expect(stderr).toContain(`${output}.part.json`);
  });

  it("done.json: the run is not called finished", async () => {
    const run = copyOf(stopped, file("nul-done"));
    writeFileSync(join(run, "done.json"), Buffer.alloc(60));
    const { stderr } = await server.run(["train", "--resume", "--run", run]);
    expect(stderr).not.toContain("finished already");
  });

  it.each(["recipe.yaml", "labels.json", "model/config.json"])("%s: refused by name", async (name) => {
    const run = copyOf(whole, file(`nul-${name.replace("/", "-")}`));
    writeFileSync(join(run, name), Buffer.alloc(200));
    expectMistake(await server.run(["extract", run, ROWS]), [name.split("/").at(-1) as string]);
  });
});

describe("a training that is resumed", () => {
  it.skipIf(!native.available)("says that another instruction set computed its checkpoint", async () => {
    const run = copyOf(stopped, file("other-instructions"));
    const { stderr } = await done(["train", "--resume", "--run", run], { env: { CRE_BACKEND: "native" } });
    expect(stderr).toMatch(/note: .*state\.safetensors: was computed with .*plain TypeScript, float32/);
    const same = await quickly(["train", "--resume", "--run", copyOf(stopped, file("same-instructions"))]);
    expect(same.stderr).not.toContain("instruction set");
  });
});

describe("an extraction that is resumed", () => {
  const begin = (name: string): string => {
    const output = file(`${name}.jsonl`);
    writeFileSync(`${output}.part`, part(1024));
    writeFileSync(`${output}.part.json`, progress);
    return output;
  };

  it("notices another input of the same size and date", async () => {
    const { mtime, size } = statSync(ROWS);
    const before = readFileSync(ROWS);
    const output = begin("other-input");
    const other = before.toString().replaceAll("远山", "近火");
    writeFileSync(ROWS, other);
    utimesSync(ROWS, mtime, mtime);
    expect(statSync(ROWS).size).toBe(size);
    const { code, stderr } = await server.run(["extract", toys.run, ROWS, "--output", output]);
    writeFileSync(ROWS, before);
    utimesSync(ROWS, mtime, mtime);
    expect(code, stderr).toBe(1);
    expect(stderr).toMatch(/other|another|changed|not the same/);
  });

  it.skipIf(!native.available)("says that another instruction set computed the rows that are there", async () => {
    const output = begin("other-instructions");
    const native = await done(["extract", toys.run, ROWS, "--output", output], { env: { CRE_BACKEND: "native" } });
    expect(native.stderr).toMatch(/note: .*\.part: \d+ rows were computed with .*plain TypeScript, float32/);
    expect(parsedLines(readFileSync(output, "utf8"))).toHaveLength(COUNT);
    // Nothing to say where the rows come from the same one.
    const same = await quickly(["extract", toys.run, ROWS, "--output", begin("same-instructions")]);
    expect(same.stderr).not.toContain("instruction set");
  });

  it("counts earlier bad rows for --strict", async () => {
    const input = file("bad-first.jsonl");
    writeFileSync(input, jsonl([{ sentence: "没有", head: "甲", tail: "乙" }, ...toyRows(COUNT, 3)]));
    const output = file("strict.jsonl");
    const command = ["extract", toys.run, input, "--output", output, "--strict"];
    const killed = await cre(command, {
      kill: { when: () => (statSync(`${output}.part`, { throwIfNoEntry: false })?.size ?? 0) > 0, signal: "SIGKILL" },
    });
    expect(killed.signal).toBe("SIGKILL");
    const resumed = await server.run(command);
    expect(resumed.stderr).toContain("done before");
    expect(resumed.stderr).toMatch(/1 bad/);
    expect(resumed.code, resumed.stderr).toBe(1);
    expect(parsedLines(readFileSync(output, "utf8"))[0]).toMatchObject({ line: 1, error: expect.any(String) });
  });
});
