import { execFileSync, spawn } from "node:child_process";
import { lstatSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cre, jsonl, ROOT, temporaryFolder, toyRows } from "../e2e/support.ts";
import { canRun, done, expectDone, expectMistake, HANG_MS, makeDevice } from "./outcome.ts";
import { copyOf, type ToyRuns, toyRuns } from "./toy-runs.ts";

// Case B09: an output that is a device, a FIFO or a link is written to, and stays that.

const temporary = temporaryFolder("special");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
const PREDICTIONS = file("predictions.jsonl");
let toys: ToyRuns;
let ownRun: string;

/** Every option that names one file to write. */
const OUTPUTS: { name: string; command: (output: string) => string[]; isWhole: (text: string) => boolean }[] = [
  {
    name: "extract --output --overwrite",
    command: (output) => ["extract", toys.run, ROWS, "--output", output, "--overwrite"],
    isWhole: (text) => text.trimEnd().split("\n").length === 3 && text.includes('"predictions"'),
  },
  {
    name: "score --json",
    command: (output) => ["score", PREDICTIONS, "--json", output],
    isWhole: (text) => JSON.stringify(JSON.parse(text)).includes('"micro"'),
  },
  {
    name: "evaluate --json",
    command: (output) => ["evaluate", ownRun, "--json", output],
    isWhole: (text) => JSON.parse(text).split === "test",
  },
];

beforeAll(async () => {
  toys = await toyRuns();
  ownRun = copyOf(toys.run, file("run"));
  writeFileSync(ROWS, jsonl(toyRows(3, 7)));
  writeFileSync(PREDICTIONS, jsonl([{ label: "([甲],收购,[乙])", predict: "([甲],收购,[乙])" }]));
}, 120_000);
afterAll(() => temporary.remove());

const hasFifo = canRun(["mkfifo", file("probe")], "outputs to a FIFO");

/** What lies beside an output and was not there before it. */
const leftovers = (output: string) =>
  readdirSync(temporary.path).filter((name) => name.startsWith(basename(output)) && name !== basename(output));

describe.each(OUTPUTS)("$name", ({ name, command, isWhole }) => {
  const own = (kind: string) => file(`${name.split(" ")[0]}-${kind}`);

  it.skipIf(!hasFifo)("writes to a FIFO, whose reader gets everything", async () => {
    const fifo = own("fifo");
    execFileSync("mkfifo", [fifo]);
    const reader = spawn("timeout", ["40", "cat", fifo]);
    let text = "";
    reader.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    const closed = new Promise((resolve) => reader.on("close", resolve));
    const outcome = await cre(command(fifo), { timeoutMs: HANG_MS });
    const isFifo = lstatSync(fifo).isFIFO();
    if (!isFifo) reader.kill();
    await closed;
    expectDone(outcome);
    expect(isFifo, "the FIFO was replaced").toBe(true);
    expect(isWhole(text), text).toBe(true);
    expect(leftovers(fifo)).toEqual([]);
  });

  it("writes to a device, which stays one", async (context) => {
    const device = makeDevice(own("null"), "null");
    if (!device) return context.skip();
    await done(command(device));
    expect(lstatSync(device).isCharacterDevice(), "the device was replaced").toBe(true);
    expect(leftovers(device)).toEqual([]);
  });

  it("says that a full device is full, and leaves it a device", async (context) => {
    const device = makeDevice(own("full"), "full");
    if (!device) return context.skip();
    const outcome = await cre(command(device), { timeoutMs: HANG_MS });
    expect(lstatSync(device).isCharacterDevice(), "the device was replaced").toBe(true);
    expectMistake(outcome, [device, /no space/i]);
  });

  it("follows a link to a file, to a name that is free, and to a device", async () => {
    const target = own("target");
    writeFileSync(target, "old");
    const links = [
      { link: own("link"), to: basename(target), target },
      { link: own("link-to-link"), to: basename(own("link")), target },
      { link: own("link-to-free"), to: own("free"), target: own("free") },
    ];
    for (const { link, to, target } of links) {
      symlinkSync(to, link);
      await done(command(link));
      expect(lstatSync(link).isSymbolicLink(), `${link} was replaced`).toBe(true);
      expect(readlinkSync(link)).toBe(to);
      expect(isWhole(readFileSync(target, "utf8"))).toBe(true);
    }
    const device = makeDevice(own("null2"), "null");
    if (!device) return;
    symlinkSync(device, own("link-to-null"));
    await done(command(own("link-to-null")));
    expect(lstatSync(own("link-to-null")).isSymbolicLink()).toBe(true);
    expect(lstatSync(device).isCharacterDevice()).toBe(true);
  });

  it.skipIf(process.platform !== "linux")("writes to standard output by its path", () => {
    // Never /dev/stdout itself: a version that replaces it would spoil the machine of whoever runs this test.
    const link = own("stdout");
    symlinkSync("/proc/self/fd/1", link);
    const words = command(link)
      .map((word) => `'${word}'`)
      .join(" ");
    const text = execFileSync("bash", ["-c", `set -o pipefail; '${process.execPath}' dist/cli.js ${words} | cat`], {
      cwd: ROOT,
      env: { ...process.env, CRE_BACKEND: "reference" },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    expect(lstatSync(link).isSymbolicLink(), "the link was replaced").toBe(true);
    expect(text).toMatch(/"predictions"|"micro"/);
  });

  it("does not write over what it reads", async () => {
    const inputs = { extract: ROWS, score: PREDICTIONS, evaluate: join(ownRun, "recipe.yaml") };
    const input = inputs[name.split(" ")[0] as keyof typeof inputs];
    const before = readFileSync(input);
    symlinkSync(input, own("link-to-input"));
    for (const output of [input, own("link-to-input")]) {
      const outcome = await cre(command(output), { timeoutMs: HANG_MS });
      const isKept = readFileSync(input).equals(before);
      writeFileSync(input, before);
      expect(isKept, `${input} was overwritten by --output ${output}`).toBe(true);
      expectMistake(outcome, [output]);
    }
  });
});

describe("what evaluate writes into the run", () => {
  it("follows links, so that reports can lie elsewhere", async () => {
    const run = copyOf(toys.run, file("linked-run"));
    for (const name of ["metrics.json", "report.html"]) {
      writeFileSync(file(`elsewhere-${name}`), "old");
      symlinkSync(file(`elsewhere-${name}`), join(run, name));
    }
    await done(["evaluate", run]);
    for (const name of ["metrics.json", "report.html"]) {
      expect(lstatSync(join(run, name)).isSymbolicLink(), `${name} was replaced`).toBe(true);
      expect(readFileSync(file(`elsewhere-${name}`), "utf8")).toMatch(/"micro"|<\/html>/);
    }
  });
});
