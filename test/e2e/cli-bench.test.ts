import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { buildCli, cre, ROOT } from "./support.ts";

const SMALL = ["bench", "train-step", "--layers", "1", "--sequences", "1", "--tokens", "4"];
// The native backend where it is built: the reference one takes seconds for a step.
const env = { CRE_BACKEND: "" };

beforeAll(buildCli);

/** A living `cre bench train-step --on-request`, line by line. */
function startSteps() {
  const child = spawn(process.execPath, [join(ROOT, "dist", "cli.js"), ...SMALL, "--on-request"], {
    env: { ...process.env, ...env },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  return {
    child,
    closed: once(child, "close").then(([code]) => ({ code, stderr })),
    next: async () => JSON.parse((await lines.next()).value ?? "null"),
  };
}

const jsonLines = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("cre bench train-step --on-request", () => {
  it("is ready after its untimed steps, makes one step a line and ends with the input", async () => {
    const { child, closed, next } = startSteps();
    const ready = await next();
    expect(ready).toMatchObject({ ready: true, shape: "110m", layers: 1, storage: "bfloat16", tokens: 4 });
    expect(ready.flops).toBeGreaterThan(4 * 4 * 32_000 * 768);
    expect(ready.losses).toHaveLength(2);

    // Nothing is computed before it is asked for.
    const first = next();
    expect(await Promise.race([first, sleep(300, "silent")])).toBe("silent");
    child.stdin.write("step\n");
    expect(await first).toEqual({ step: 1, seconds: expect.any(Number), loss: expect.any(Number) });
    child.stdin.write("step\n");
    const second = await next();
    expect(second.step).toBe(2);
    expect(second.seconds).toBeGreaterThan(0);
    child.stdin.end();
    const end = await next();
    expect(end).toMatchObject({
      shape: "110m",
      rounds: 2,
      tokens: 4,
      flops: ready.flops,
      medianSeconds: expect.any(Number),
    });
    expect(end.seconds).toEqual([(await first).seconds, second.seconds]);
    expect(end.losses).toEqual([...ready.losses, (await first).loss, second.loss]);
    expect(end.losses[3]).toBeLessThan(end.losses[0]);
    expect(end.peakResidentBytes).toBeGreaterThanOrEqual(ready.peakResidentBytes);
    expect(await closed).toMatchObject({ code: 0 });
  });

  it("makes the steps of --rounds, on the same numbers", async () => {
    const rounds = await cre([...SMALL, "--rounds", "1", "--json"], { env });
    expect(rounds.code, rounds.stderr).toBe(0);
    const { code, stdout, stderr } = await cre([...SMALL, "--on-request"], { env, input: "step" });
    expect(code, stderr).toBe(0);
    expect(jsonLines(stdout)[2].losses).toEqual(JSON.parse(rounds.stdout).losses);
  });

  it("ends without a step when the input is empty", async () => {
    const { code, stdout, stderr } = await cre([...SMALL, "--on-request"], { env });
    expect(code, stderr).toBe(0);
    const [ready, end, ...more] = jsonLines(stdout);
    expect(ready.ready).toBe(true);
    expect(end).toMatchObject({ rounds: 0, seconds: [], medianSeconds: null });
    expect(more).toEqual([]);
  });

  it.each([
    ["another word", "step\nstop\nstep\n", 'standard input, line 2: is "stop"; expected "step".'],
    ["an empty line", "step\n\n", 'standard input, line 2: is ""; expected "step".'],
    ["a line without end", "step\n".padEnd(100_000, "x"), "line 2: the line has 99995 bytes, expected at most 100"],
  ])("refuses %s after the steps before it", async (_, input, message) => {
    const { code, stdout, stderr } = await cre([...SMALL, "--on-request"], { env, input });
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(jsonLines(stdout).map(({ ready, step }) => ready ?? step)).toEqual([true, 1]);
  });

  it("says that nobody reads its steps", async () => {
    const { child, closed, next } = startSteps();
    await next();
    child.stdout.destroy();
    child.stdin.write("step\n");
    expect(await closed).toMatchObject({ code: 1, stderr: expect.stringContaining("nobody reads the steps") });
  });

  it("takes no --rounds", async () => {
    const { code, stdout, stderr } = await cre([...SMALL, "--on-request", "--rounds", "3"], { env });
    expect(code).toBe(1);
    expect(stderr).toContain("option '--on-request' cannot be used with option '--rounds <n>'");
    expect(stdout).toBe("");
  });
});
