import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HANG_MS } from "../cases/outcome.ts";
import { copyOf, TOKENIZER, type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { cre, jsonl, ROOT, temporaryFolder, toyRows, useBestBackend } from "../e2e/support.ts";

// A reader that goes away: exit code 0 means that the work was done.

useBestBackend();
const temporary = temporaryFolder("pipes");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
let toys: ToyRuns;

beforeAll(async () => {
  toys = await toyRuns();
  writeFileSync(ROWS, jsonl(toyRows(1200, 3)));
}, 120_000);
afterAll(() => temporary.remove());

/** Commands whose work is in files, with what is there when it is done. */
const WORK: { name: string; command: (own: string) => string[]; isDone: (own: string) => boolean }[] = [
  {
    name: "train",
    command: (own) => ["train", toys.recipe, "--run", own, "--set", "train.epochs=8"],
    isDone: (own) => existsSync(join(own, "done.json")),
  },
  {
    name: "extract --output",
    command: (own) => ["extract", toys.run, ROWS, "--output", own],
    isDone: (own) => existsSync(own) && readFileSync(own, "utf8").trimEnd().split("\n").length === 1200,
  },
  {
    name: "evaluate",
    command: (own) => ["evaluate", copyOf(toys.run, own), "--json", `${own}.json`],
    isDone: (own) =>
      ["metrics.json", "report.html"].every((name) => existsSync(join(own, name))) && existsSync(`${own}.json`),
  },
  {
    name: "score --json",
    command: (own) => ["score", ROWS, "--gold", ROWS, "--json", own],
    isDone: existsSync,
  },
  {
    name: "export",
    command: (own) => ["export", toys.run, "--to", "merged", "--output", own],
    isDone: (own) => existsSync(join(own, "model.safetensors")),
  },
  {
    name: "model init",
    command: (own) => ["model", "init", toys.recipe, "--output", own],
    isDone: (own) => existsSync(join(own, "model.safetensors")) && existsSync(join(own, "tokenizer.model")),
  },
];

describe.each(["stderr", "stdout"] as const)("%s whose reader is gone", (stream) => {
  it.each(WORK)("$name does its work or ends with another code than 0", async ({ name, command, isDone }) => {
    const own = file(`${stream}-${name.replaceAll(" ", "")}`);
    const { code, signal } = await cre(command(own), { unread: [stream], timeoutMs: 2 * HANG_MS });
    expect(signal === "SIGKILL", "it hung").toBe(false);
    if (code === 0) expect(isDone(own), "exit code 0, and the work is not done").toBe(true);
  });
});

describe("both streams gone", () => {
  it("train does its work or ends with another code than 0", async () => {
    const own = file("both");
    const { code } = await cre(WORK[0].command(own), { unread: ["stdout", "stderr"], timeoutMs: 2 * HANG_MS });
    if (code === 0) expect(WORK[0].isDone(own)).toBe(true);
  });
});

describe("a reader of the first line", () => {
  /** Runs a command with `| head -1`; the code of the command, the line and what it said. */
  function head(command: readonly string[], input = ""): { code: number; line: string; stderr: string } {
    const words = [process.execPath, "dist/cli.js", ...command].map((word) => `'${word}'`).join(" ");
    const { stdout, stderr } = spawnSync("bash", ["-c", `${words} | head -1; echo "\${PIPESTATUS[0]}"`], {
      cwd: ROOT,
      input,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1" },
    });
    const lines = stdout.trimEnd().split("\n");
    return { code: Number(lines.at(-1)), line: lines[0], stderr };
  }

  // 141 is what a shell shows of a command that a closed pipe ended.
  const QUIET = [0, 141];

  it.each([
    ["data convert", () => ["data", "convert", toys.data, "--split", "train", "--format", "jsonl"]],
    ["extract", () => ["extract", toys.run, ROWS]],
    ["model info --tensors", () => ["model", "info", toys.base, "--tensors"]],
    ["score --json -", () => ["score", ROWS, "--gold", ROWS, "--json", "-"]],
  ])("gets it from %s, which ends quietly and soon", (_, command) => {
    const { code, line, stderr } = head(command());
    expect(QUIET, stderr).toContain(code);
    expect(line).not.toBe("");
    expect(stderr).not.toMatch(/fault:|EPIPE|\n\s+at /);
  });

  it("of tokenize too, fed by a long text", () => {
    const { code, line, stderr } = head(["tokenize", TOKENIZER], "远山收购近水\n".repeat(20_000));
    expect(QUIET, stderr).toContain(code);
    expect(JSON.parse(line).length).toBeGreaterThan(0);
  });

  it("does not hide a mistake", () => {
    expect(head(["extract", toys.run, file("nowhere.jsonl")]).code).toBe(1);
  });
});

describe("standard streams that are closed from the beginning", () => {
  it.each(["1", "2"])("descriptor %s: files of the command do not get its output", (descriptor) => {
    const own = file(`closed-${descriptor}`);
    const words = WORK[1]
      .command(own)
      .map((word) => `'${word}'`)
      .join(" ");
    const { status } = spawnSync("bash", ["-c", `'${process.execPath}' dist/cli.js ${words} ${descriptor}>&-`], {
      cwd: ROOT,
      env: process.env,
    });
    if (status === 0) expect(WORK[1].isDone(own)).toBe(true);
    else expect(existsSync(own)).toBe(false);
  });
});
