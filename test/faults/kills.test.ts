import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../../src/base/random.ts";
import { done } from "../cases/outcome.ts";
import { type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { type CreOptions, cre, jsonl, type Outcome, temporaryFolder, toyRows } from "../e2e/support.ts";

// kill -9 at random moments of a training and of an extraction: resumed, both end as if nothing had happened.

const temporary = temporaryFolder("kills");
const file = (name: string) => join(temporary.path, name);
const KILLS = 20;
/** Extractions with the best backend of this machine: many windows in a short time. Trainings with the plain one, whose steps are slow. */
const BEST: CreOptions = { env: { CRE_BACKEND: "" } };
const SEED = 17;
let toys: ToyRuns;

beforeAll(async () => {
  toys = await toyRuns();
}, 120_000);
afterAll(() => temporary.remove());

/**
 * Kills a command again and again until it has been killed often enough, and then lets it finish; a job that ends before that is checked and
 * begun anew. Returns the moments of the kills in ms.
 */
async function killOften(
  kills: number,
  seed: number,
  withinMs: number,
  job: {
    options?: CreOptions;
    command: (attempt: number, isResumed: boolean) => string[];
    hasBegun: (attempt: number, stderr: string) => boolean;
    expectSame: (attempt: number, where: string) => void;
  },
): Promise<void> {
  const random = createRandom(seed);
  const moments: number[] = [];
  let attempt = 0;
  let isResumed = false;
  for (let isOver = false; !isOver; ) {
    const afterMs = random.below(withinMs);
    const kill = { when: (stderr: string) => job.hasBegun(attempt, stderr), afterMs, signal: "SIGKILL" as const };
    const outcome: Outcome = await cre(job.command(attempt, isResumed), {
      ...job.options,
      ...(moments.length < kills ? { kill } : {}),
    });
    const { code, signal, stderr } = outcome;
    expect(signal === "SIGKILL" || code === 0, `after ${moments.join(", ")} ms: ${stderr}`).toBe(true);
    isResumed = signal === "SIGKILL";
    if (isResumed) {
      moments.push(afterMs);
      continue;
    }
    job.expectSame(attempt++, `killed after ${moments.join(", ")} ms`);
    isOver = moments.length >= kills;
  }
}

/** Losses and metrics of all steps, without times. */
function logOf(directory: string): unknown[] {
  const lines = readFileSync(join(directory, "log.jsonl"), "utf8").trimEnd().split("\n");
  return lines.map((line) => ({ ...JSON.parse(line), seconds: 0 }));
}

const partsIn = (directory: string) =>
  readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) => name.includes(".part"));

/** Trainings to kill: `values` are set in the recipe. */
const WHOLE = { recipe: () => toys.recipe, epochs: 24, weights: "model/model.safetensors" };
const ADAPTER = { recipe: () => toys.loraRecipe, epochs: 10, weights: "adapter_model.safetensors" };
const TRAININGS = [
  { ...WHOLE, name: "a whole model", kills: KILLS, values: ["train.averageFrom=0.5"] },
  { ...ADAPTER, name: "LoRA", kills: KILLS / 2, values: [] },
  {
    ...ADAPTER,
    name: "DoRA with LoRA+, noise on embeddings and rates by layer",
    kills: KILLS / 4,
    values: [
      "adapter={method: dora, rank: 4, alpha: 8, targets: all, scaling: rslora, learningRateRatio: 4}",
      "train.embeddingNoise=5",
      "train.layerDecay=0.8",
    ],
  },
  { ...ADAPTER, name: "a prefix", kills: KILLS / 4, values: ["adapter={method: prefix, virtualTokens: 6}"] },
  {
    ...ADAPTER,
    name: "a prefix from an encoder, until no validation is better",
    kills: KILLS / 4,
    values: [
      "adapter={method: prefix, virtualTokens: 6, encoderWidth: 8}",
      "train.learningRate=1e-9",
      "train.validateEvery=2",
      "train.patience=2",
    ],
  },
];

describe.each(TRAININGS)("training $name", ({ name, kills, recipe, epochs, weights, values }) => {
  it(`killed ${kills} times ends with the same losses and the same bytes`, async () => {
    const settings = [`train.epochs=${epochs}`, "train.checkpointSeconds=0.1", "train.validateEvery=6", ...values];
    const set = settings.flatMap((value) => ["--set", value]);
    const place = TRAININGS.findIndex((one) => one.name === name);
    const whole = file(`whole-${place}`);
    await done(["train", recipe(), "--run", whole, ...set]);
    const own = (attempt: number) => file(`killed-${place}-${attempt}`);
    await killOften(kills, SEED, 500, {
      command: (attempt, isResumed) =>
        isResumed && existsSync(join(own(attempt), "recipe.yaml"))
          ? ["train", "--resume", "--run", own(attempt)]
          : ["train", recipe(), "--run", own(attempt), ...set],
      hasBegun: (_, stderr) => stderr.includes("training rows"),
      expectSame: (attempt, where) => {
        expect(logOf(own(attempt)), where).toEqual(logOf(whole));
        for (const name of [weights, "companion.bin", "companion.json"]) {
          const [killed, undisturbed] = [own(attempt), whole].map((directory) => readFileSync(join(directory, name)));
          expect(killed.equals(undisturbed), `${name}, ${where}`).toBe(true);
        }
        expect(partsIn(own(attempt)), where).toEqual([]);
        expect(readdirSync(own(attempt)).sort(), where).toEqual(readdirSync(whole).sort());
      },
    });
  }, 240_000);
});

describe("an extraction", () => {
  it(`killed ${KILLS} times ends with the same bytes`, async () => {
    const input = file("rows.jsonl");
    // Ten windows, each of which the native backend computes in some tens of milliseconds.
    const rows: unknown[] = toyRows(5000, 5);
    // Bad rows and blank lines are part of what is resumed.
    for (let i = 100; i < rows.length; i += 700) rows[i] = { sentence: "没有", head: "甲", tail: "乙" };
    writeFileSync(input, jsonl(rows));
    const whole = (await done(["extract", toys.run, input], BEST)).stdout;
    const own = (attempt: number) => file(`found-${attempt}.jsonl`);
    await killOften(KILLS, SEED + 1, 500, {
      options: BEST,
      command: (attempt) => ["extract", toys.run, input, "--output", own(attempt)],
      hasBegun: (attempt) => existsSync(`${own(attempt)}.part`),
      expectSame: (attempt, where) => {
        expect(readFileSync(own(attempt), "utf8") === whole, where).toBe(true);
        expect(
          partsIn(temporary.path).filter((one) => !one.includes("/")),
          where,
        ).toEqual([]);
      },
    });
  }, 240_000);
});
