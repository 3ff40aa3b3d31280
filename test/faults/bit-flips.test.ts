import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../../src/base/random.ts";
import { done, expectDone, HANG_MS } from "../cases/outcome.ts";
import { copyOf, recipeWith, runOnBase, type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { cre, jsonl, type Outcome, temporaryFolder, toyRows, useBestBackend } from "../e2e/support.ts";
import { type CommandServer, commandServer, trainUntil } from "./harness.ts";

// One bit at a random place of a file of weights: noticed every time, by the name of the file.

// As the process that runs many commands.
useBestBackend();
const temporary = temporaryFolder("flips");
const file = (name: string) => join(temporary.path, name);
const SEED = 40;
const ROW = file("row.jsonl");
let toys: ToyRuns;
let server: CommandServer;
/** A training that was stopped in the middle, and the same one undisturbed. */
let stopped: string;
let whole: string;

beforeAll(async () => {
  toys = await toyRuns();
  server = commandServer();
  stopped = file("stopped");
  whole = file("whole");
  writeFileSync(ROW, jsonl(toyRows(1, 1)));
  const recipe = recipeWith(toys, toys.loraRecipe, file("lora.yaml"), { epochs: 5, validateEvery: 1 });
  await done(["train", recipe, "--run", whole]);
  // Late enough for two checkpoints.
  await trainUntil(8, recipe, stopped);
}, 120_000);
afterAll(async () => {
  await server.close();
  temporary.remove();
});

type Run = (command: readonly string[]) => Promise<Outcome>;

/** Flips one bit of a file. */
function flip(path: string, bit: number): void {
  const descriptor = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(descriptor, byte, 0, 1, Math.floor(bit / 8));
  byte[0] ^= 1 << (bit % 8);
  writeSync(descriptor, byte, 0, 1, Math.floor(bit / 8));
  closeSync(descriptor);
}

/** Random bits of a file, evenly over it: the first in its header. */
function randomBits(path: string, count: number, seed: number): number[] {
  const random = createRandom(seed);
  const bits = statSync(path).size * 8;
  return Array.from({ length: count }, (_, i) => Math.floor(((i + random.uniform()) / count) * bits));
}

/** Tries one flip after the other: the first by a process of its own, the others in one that runs many. What a command did not notice. */
async function unnoticed(
  bits: readonly number[],
  tryOne: (bit: number, run: Run) => Promise<{ outcome: Outcome; isNoticed: boolean }>,
): Promise<string[]> {
  const missed: string[] = [];
  for (const [i, bit] of bits.entries()) {
    const run: Run = i === 0 ? (command) => cre(command, { timeoutMs: HANG_MS }) : server.run;
    const { outcome, isNoticed } = await tryOne(bit, run);
    if (!isNoticed) missed.push(`bit ${bit}: exit ${outcome.code}: ${outcome.stderr.slice(-200)}`);
  }
  return missed;
}

const isRefused = ({ code, stderr }: Outcome, name: string) =>
  code === 1 && stderr.includes(name) && !/\n\s+at /.test(stderr);

/** Whether a resumed training ended with the bytes of the undisturbed one. */
function sameAdapter(run: string): boolean {
  const [resumed, undisturbed] = [run, whole].map((one) => readFileSync(join(one, "adapter_model.safetensors")));
  return resumed.equals(undisturbed);
}

const stateFiles = (run: string) =>
  readdirSync(join(run, "checkpoints")).filter((name) => name.endsWith(".safetensors") && !name.startsWith("best"));

describe("a flipped bit", () => {
  it("in the newest checkpoint: the one before it is resumed from with a notice, or the file is refused", async () => {
    // The newest state, whatever checkpoints are called.
    const time = (name: string) => statSync(join(stopped, "checkpoints", name)).mtimeMs;
    const [newest] = stateFiles(stopped).sort((a, b) => time(b) - time(a));
    const path = join(stopped, "checkpoints", newest);
    const missed = await unnoticed(randomBits(path, 14, SEED), async (bit, command) => {
      const run = copyOf(stopped, file(`state-${bit}`));
      flip(join(run, "checkpoints", newest), bit);
      const outcome = await command(["train", "--resume", "--run", run]);
      if (outcome.code !== 0) return { outcome, isNoticed: isRefused(outcome, newest) };
      return { outcome, isNoticed: outcome.stderr.includes(newest) && sameAdapter(run) };
    });
    expect(missed).toEqual([]);
  }, 240_000);

  it("in the best weights that a training keeps", async () => {
    const path = join(stopped, "checkpoints", "best.safetensors");
    const missed = await unnoticed(randomBits(path, 6, SEED + 1), async (bit, command) => {
      const run = copyOf(stopped, file(`best-${bit}`));
      flip(join(run, "checkpoints", "best.safetensors"), bit);
      const outcome = await command(["train", "--resume", "--run", run]);
      // A later validation may have been better: then the file was written anew.
      const isSame = outcome.code === 0 && sameAdapter(run);
      return { outcome, isNoticed: isSame || isRefused(outcome, "best.safetensors") };
    });
    expect(missed).toEqual([]);
  }, 240_000);

  it("in an adapter", async () => {
    const bits = randomBits(join(toys.loraRun, "adapter_model.safetensors"), 10, SEED + 2);
    const missed = await unnoticed(bits, async (bit, command) => {
      const run = copyOf(toys.loraRun, file(`adapter-${bit}`));
      flip(join(run, "adapter_model.safetensors"), bit);
      const words = [
        ["extract", run, ROW],
        ["export", run, "--to", "merged", "--output", file(`x-${bit}`)],
      ][bit % 2];
      const outcome = await command(words);
      return { outcome, isNoticed: isRefused(outcome, "adapter_model.safetensors") };
    });
    expect(missed).toEqual([]);
  }, 240_000);

  it("in the whole model of a run", async () => {
    const bits = randomBits(join(toys.run, "model/model.safetensors"), 6, SEED + 3);
    const missed = await unnoticed(bits, async (bit, command) => {
      const run = copyOf(toys.run, file(`model-${bit}`));
      flip(join(run, "model/model.safetensors"), bit);
      const words = [
        ["extract", run, ROW],
        ["evaluate", run],
        ["export", run, "--to", "gguf", "--output", file(`g-${bit}`)],
      ][bit % 3];
      const outcome = await command(words);
      return { outcome, isNoticed: isRefused(outcome, "model.safetensors") };
    });
    expect(missed).toEqual([]);
  }, 240_000);

  it("in the base of a run, by extract and by resuming", async () => {
    const bits = randomBits(join(toys.base, "model.safetensors"), 10, SEED + 4);
    const missed = await unnoticed(bits, async (bit, command) => {
      const base = copyOf(toys.base, file(`base-${bit}`));
      flip(join(base, "model.safetensors"), bit);
      const run = runOnBase(bit % 3 === 0 ? stopped : toys.loraRun, file(`of-base-${bit}`), base);
      const outcome = await command(bit % 3 === 0 ? ["train", "--resume", "--run", run] : ["extract", run, ROW]);
      return { outcome, isNoticed: isRefused(outcome, base) };
    });
    expect(missed).toEqual([]);
  }, 240_000);

  it("in the tokenizer, the labels or the companion of a run", async () => {
    const files = ["model/tokenizer.model", "labels.json", "companion.bin", "companion.json"];
    const missed = await unnoticed([0, 1, 2, 3, 4, 5, 6, 7], async (i, command) => {
      const name = files[i % 4];
      const run = copyOf(toys.run, file(`small-${i}`));
      flip(join(run, name), randomBits(join(run, name), 8, SEED + 5)[i]);
      const outcome = await command(["extract", run, ROW]);
      return { outcome, isNoticed: isRefused(outcome, name.split("/").at(-1) as string) };
    });
    expect(missed).toEqual([]);
  }, 120_000);
});

describe("a checkpoint that is cut short", () => {
  it("is left for the one before it, with a notice, and the training ends the same", async () => {
    expect(stateFiles(stopped).length, "checkpoints that are kept").toBeGreaterThanOrEqual(2);
    const time = (name: string) => statSync(join(stopped, "checkpoints", name)).mtimeMs;
    const [newest] = stateFiles(stopped).sort((a, b) => time(b) - time(a));
    for (const share of [0, 0.001, 0.5, 0.999]) {
      const run = file(`cut-${share}`);
      cpSync(stopped, run, { recursive: true, preserveTimestamps: true });
      const path = join(run, "checkpoints", newest);
      truncateSync(path, Math.floor(share * statSync(path).size));
      const outcome = await server.run(["train", "--resume", "--run", run]);
      expectDone(outcome);
      const { stderr } = outcome;
      expect(stderr).toContain(newest);
      expect(stderr).toMatch(/going on after step [1-9]|resum\w+ after step [1-9]/);
      expect(sameAdapter(run)).toBe(true);
    }
  }, 120_000);

  it("is refused when there is none before it that is whole", async () => {
    const run = copyOf(stopped, file("all-cut"));
    for (const name of stateFiles(run)) truncateSync(join(run, "checkpoints", name), 1000);
    const outcome = await server.run(["train", "--resume", "--run", run]);
    expect(isRefused(outcome, ".safetensors"), outcome.stderr).toBe(true);
  });
});
