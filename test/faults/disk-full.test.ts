import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canRun, done, expectMistake, HANG_MS, mistake } from "../cases/outcome.ts";
import { copyOf, TOKENIZER, type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { cre, jsonl, temporaryFolder, toyRows, useBestBackend } from "../e2e/support.ts";

// A full disk and a full standard output: one message, exit code 1, and what was done is not lost.

useBestBackend();
const temporary = temporaryFolder("disk");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
let toys: ToyRuns;
const mounted: string[] = [];

beforeAll(async () => {
  toys = await toyRuns();
  writeFileSync(ROWS, jsonl(toyRows(1500, 3)));
}, 120_000);
afterAll(() => {
  for (const path of mounted) execFileSync("umount", [path]);
  temporary.remove();
});

/** A disk of some kilobytes. */
function smallDisk(kilobytes: number): string {
  const path = file(`disk-${mounted.length}`);
  mkdirSync(path);
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${kilobytes}k`, "tmpfs", path]);
  mounted.push(path);
  return path;
}

/** Disk space that a folder takes. */
function kilobytesOf(folder: string): number {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names.reduce((sum, name) => sum + statSync(join(folder, name)).blocks / 2, 0);
}

/** Leaves no free block on a disk. */
function fill(disk: string): void {
  const block = Buffer.alloc(4096);
  try {
    for (let i = 0; ; i++) writeFileSync(join(disk, `filler-${i}`), block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

const grow = (path: string) => execFileSync("mount", ["-o", "remount,size=64m", path]);

mkdirSync(file("probe"));
const canMount = canRun(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", file("probe")], "full disks");
if (canMount) execFileSync("umount", [file("probe")]);
const NO_SPACE = /no space|ENOSPC|disk is full/i;
const leftovers = (path: string) =>
  readdirSync(path, { recursive: true, encoding: "utf8" }).filter((name) => /\.[0-9a-f]{8}\.part$/.test(name));

describe.skipIf(!canMount)("a full disk", () => {
  it("stops a training, which is resumed when there is space, and ends the same", async () => {
    const set = ["--set", "train.epochs=4", "--set", "train.checkpointSeconds=0.01"];
    await done(["train", toys.recipe, "--run", file("whole"), ...set]);
    // Room for the first files, not for a checkpoint; for one, not for the next; for all but the end.
    for (const kilobytes of [60, 2000, kilobytesOf(file("whole")) - 200]) {
      const disk = smallDisk(kilobytes);
      const run = join(disk, "run");
      const outcome = await cre(["train", toys.recipe, "--run", run, ...set], { timeoutMs: 2 * HANG_MS });
      expectMistake(outcome, [disk, NO_SPACE]);
      expect(leftovers(disk)).toEqual([]);
      grow(disk);
      const again = existsSync(join(run, "recipe.yaml"))
        ? ["train", "--resume", "--run", run]
        : ["train", toys.recipe, "--run", run, ...set];
      await done(again);
      const weights = [run, file("whole")].map((directory) => readFileSync(join(directory, "model/model.safetensors")));
      expect(weights[0].equals(weights[1])).toBe(true);
    }
  }, 240_000);

  it("stops an extraction, which is resumed when there is space, and ends the same", async () => {
    const whole = (await done(["extract", toys.run, ROWS])).stdout;
    const disk = smallDisk(160);
    const output = join(disk, "found.jsonl");
    const command = ["extract", toys.run, ROWS, "--output", output];
    expectMistake(await cre(command, { timeoutMs: 2 * HANG_MS }), [output, NO_SPACE]);
    expect(existsSync(output)).toBe(false);
    grow(disk);
    const { stderr } = await done(command);
    expect(stderr).toContain("done before");
    expect(readFileSync(output, "utf8") === whole).toBe(true);
  }, 120_000);

  it("leaves no half file of an export, a model, a tokenizer, metrics", async () => {
    const text = file("text.txt");
    writeFileSync(text, Array.from({ length: 60 }, (_, i) => `${i}日，甲公司收购乙公司的股份。`).join("\n\n"));
    writeFileSync(file("predictions.jsonl"), jsonl([{ label: "([甲],收购,[乙])", predict: "([甲],收购,[乙])" }]));
    const commands: [number, (disk: string) => string[]][] = [
      [200, (disk) => ["export", toys.run, "--to", "merged", "--output", join(disk, "x")]],
      [20, (disk) => ["export", toys.run, "--to", "merged", "--output", join(disk, "x")]],
      [200, (disk) => ["export", toys.run, "--to", "gguf", "--output", join(disk, "x")]],
      [12, (disk) => ["export", toys.loraRun, "--to", "peft", "--output", join(disk, "x")]],
      [12, (disk) => ["export", toys.loraRun, "--to", "gguf-lora", "--output", join(disk, "x")]],
      [200, (disk) => ["model", "init", toys.recipe, "--output", join(disk, "x")]],
      [4, (disk) => ["tokenizer", "train", text, "--output", join(disk, "x"), "--pieces", "300"]],
      [4, (disk) => ["score", file("predictions.jsonl"), "--json", join(disk, "x.json")]],
      [4, (disk) => ["extract", toys.run, ROWS, "--output", join(disk, "x.jsonl")]],
    ];
    for (const [kilobytes, command] of commands) {
      const disk = smallDisk(kilobytes);
      if (kilobytes === 4) writeFileSync(join(disk, "filler"), Buffer.alloc(4096));
      const outcome = await cre(command(disk), { timeoutMs: HANG_MS });
      expectMistake(outcome, [disk, NO_SPACE]);
      expect(leftovers(disk), command(disk).join(" ")).toEqual([]);
    }
    const disk = smallDisk(kilobytesOf(toys.run) + 200);
    const run = copyOf(toys.run, join(disk, "run"));
    fill(disk);
    expectMistake(await cre(["evaluate", run], { timeoutMs: HANG_MS }), [run, NO_SPACE]);
    expect(leftovers(disk)).toEqual([]);
  }, 240_000);
});

describe.skipIf(!existsSync("/dev/full"))("a full standard output", () => {
  const COMMANDS: [string, () => string[], string?][] = [
    ["extract", () => ["extract", toys.run, ROWS]],
    ["score", () => ["score", ROWS, "--gold", ROWS]],
    ["score --json -", () => ["score", ROWS, "--gold", ROWS, "--json", "-"]],
    ["data stats", () => ["data", "stats", toys.data]],
    ["data stats --json", () => ["data", "stats", toys.data, "--json"]],
    ["data convert", () => ["data", "convert", toys.data, "--split", "train", "--format", "jsonl"]],
    ["tokenize", () => ["tokenize", TOKENIZER], "远山\n"],
    ["model info", () => ["model", "info", toys.base]],
    ["model info --tensors", () => ["model", "info", toys.base, "--tensors"]],
    ["model generate", () => ["model", "generate", toys.base, "--prompt", "远山", "--max-new-tokens", "2"]],
    ["evaluate", () => ["evaluate", copyOf(toys.run, file("full-run"))]],
    ["evaluate --json -", () => ["evaluate", copyOf(toys.run, file("full-run-2")), "--json", "-"]],
    ["--help", () => ["--help"]],
  ];

  it.each(COMMANDS)("%s says so and ends with 1", async (_, command, input) => {
    const options = { stdoutFile: "/dev/full", input, timeoutMs: HANG_MS };
    await mistake(command(), [/standard output/, NO_SPACE], options);
  });
});
