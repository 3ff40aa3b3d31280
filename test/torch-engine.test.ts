import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../src/base/random.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { readJsonl } from "../src/data/jsonl.ts";
import { trainWithTorch } from "../src/engines/torch.ts";
import { openPeftFolder } from "../src/formats/peft-folder.ts";
import { initDecoder } from "../src/models/init.ts";
import { saveDecoder } from "../src/models/save.ts";
import { specFromSizes } from "../src/models/sizes.ts";
import { TINY_MODELS } from "../src/models/tiny.ts";
import { readRecipeParts } from "../src/recipe/read.ts";
import { openRun } from "../src/runs/run.ts";
import { openModelTokenizer } from "../src/runs/tokenizer.ts";
import { begunTraining, newTraining, train } from "../src/runs/training.ts";
import { copyTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { jsonl, ROOT, TOKENIZER, temporaryFolder, toyRows, writeRecipe } from "./e2e/support.ts";

// The same trainings here and by engines/torch/train.py, in two processes with copies of the base (DDP) and with shards of it (FSDP2).

const PYTHON = process.env.CRE_PYTHON || "python3";
const LIBRARIES = "import torch, transformers, peft";
const found = spawnSync(PYTHON, ["-c", LIBRARIES], { encoding: "utf8" });
const installed = found.status === 0;
if (!installed) {
  const reason = found.error?.message ?? found.stderr.trim().split("\n").at(-1);
  console.warn(
    `torch-engine.test.ts: skipped, "${LIBRARIES}" fails in ${PYTHON} (${reason}); CRE_PYTHON names another one`,
  );
}

const STEPS = 20;
const TEST_ROWS = 100;
/** The last step of an epoch has five rows: three for one process, two for the other. */
const TRAINING_ROWS = 61;
const TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"];
const WAYS = ["ddp", "fsdp"] as const;
/** Threads that wait for each other cost more than they compute in models of this size. */
const ENV = { ...process.env, OMP_NUM_THREADS: "1", TOKENIZERS_PARALLELISM: "false" };

interface Case {
  name: string;
  model: string;
  /** Changes config.json: the same weights are another model then. */
  config?: Record<string, unknown>;
  recipe?: Record<"adapter" | "train" | "prompt" | "model", Record<string, unknown>> | Record<string, unknown>;
}

const LORA = { method: "lora", rank: 4, alpha: 8, dropout: 0, targets: "all" };
const CASES: readonly Case[] = [
  { name: "llama2", model: "llama2" },
  { name: "qwen2", model: "qwen2", recipe: { prompt: { attention: "both" } } },
  {
    name: "qwen3",
    model: "qwen3",
    recipe: {
      adapter: { method: "dora", scaling: "rslora", learningRateRatio: 4 },
      train: { layerDecay: 0.7, batchExamples: 2, accumulation: 4 },
    },
  },
  {
    name: "llama2 with interleaved rotary pairs",
    model: "llama2",
    config: { rope_layout: "interleaved" },
    recipe: { tasks: ["relations", "mentions"], train: { averageFrom: 0.4, promptLoss: 0.1, labelSmoothing: 0.1 } },
  },
  // Families that later versions add.
  ...Object.keys(TINY_MODELS)
    .filter((name) => !["llama2", "qwen2", "qwen3", "chatglm2", "baichuan2-7b", "baichuan2-13b"].includes(name))
    .map((model) => ({ name: model, model })),
  {
    name: "qwen2 in bfloat16",
    model: "qwen2",
    recipe: { model: { storage: "bfloat16" }, adapter: { targets: ["q_proj", "v_proj"] }, train: { recompute: true } },
  },
];

const temporary = temporaryFolder("torch-engine");
const path = (...parts: string[]) => join(temporary.path, ...parts);
afterAll(() => temporary.remove());

async function writeBase(directory: string, { model, config = {} }: Case): Promise<void> {
  const backend = openReference({ precision: "float32" });
  const sizes = TINY_MODELS[model];
  const tokenizer = await openModelTokenizer(TOKENIZER, { modelType: sizes.family });
  const spec = specFromSizes(sizes, tokenizer, "test");
  const decoder = await initDecoder(backend, spec, 3, { storage: "float32", trainable: false, deviation: 0.2 });
  await saveDecoder(decoder, directory, { dtype: "F32" });
  await backend.close();
  await copyTokenizer(TOKENIZER, directory);
  const file = join(directory, "config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...config }));
}

function writeData(directory: string): string {
  mkdirSync(directory);
  const labels = { labels: ["unknown", "收购", "被收购", "合作"], noRelation: "unknown" };
  writeFileSync(join(directory, "labels.json"), JSON.stringify(labels));
  for (const [name, count, seed] of [
    ["train", TRAINING_ROWS, 1],
    ["valid", 12, 2],
    ["test", TEST_ROWS, 3],
  ] as const) {
    writeFileSync(join(directory, `${name}.jsonl`), jsonl(toyRows(count, seed)));
  }
  return directory;
}

function recipeOf(base: string, { recipe = {} }: Case): Record<string, unknown> {
  const own = recipe as Record<string, Record<string, unknown>>;
  return {
    model: { path: base, storage: "float32", ...own.model },
    data: { path: "../data" },
    prompt: { style: "marked", template: "plain", maxPromptTokens: 128, maxAnswerTokens: 24, ...own.prompt },
    adapter: { ...LORA, ...own.adapter },
    train: {
      epochs: STEPS / 8,
      batchExamples: 4,
      accumulation: 2,
      learningRate: 0.01,
      weightDecay: 0.01,
      validateEvery: 1,
      checkpointSeconds: 1000,
      ...own.train,
    },
    ...(own.tasks ? { tasks: own.tasks, train: { ...LONG_STEPS, ...own.train } } : {}),
    decode: { companion: "none" },
    precision: "float32",
    seed: 5,
  };
}

/** Sentences are rows of their own then: 122 rows in steps of 16. */
const LONG_STEPS = {
  epochs: STEPS / 8,
  batchExamples: 8,
  accumulation: 2,
  learningRate: 0.01,
  validateEvery: 1,
  checkpointSeconds: 1000,
};

const folderOf = (one: Case) => path(String(CASES.indexOf(one)));
const outputOf = (one: Case, way: string) => join(folderOf(one), way, "hand-over", "out");

function lossesOf(run: string): number[] {
  const lines = readFileSync(join(run, "log.jsonl"), "utf8").trim().split("\n");
  return lines.flatMap((line) => {
    const event = JSON.parse(line) as { kind: string; loss: number };
    return event.kind === "step" ? [event.loss] : [];
  });
}

async function adapterOf(run: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await openPeftFolder(run);
  const values = new Map<string, Float32Array>();
  for (const name of tensors.tensors.keys()) values.set(name, Float32Array.from(await tensors.read(name)));
  await tensors.close();
  return values;
}

async function predictionsOf(run: string) {
  const rows = [];
  for await (const line of readJsonl(path("data", "test.jsonl"))) if (line.problem === null) rows.push(line.example);
  const opened = await openRun(run);
  const extractions = await opened.extract(rows.map(({ sentence, head, tail }) => ({ sentence, head, tail })));
  await opened.close();
  return extractions.map(({ predictions, probabilities }) => ({
    relations: predictions.map(({ relation }) => relation),
    probabilities,
  }));
}

/** The largest |a − b| over the values, or relative to a with `relative`. */
function worst(a: ArrayLike<number>, b: ArrayLike<number>, relative = false): number {
  expect(b.length).toBe(a.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]) / (relative ? Math.abs(a[i]) : 1));
  return most;
}

/** A process and all that it started, by `ps`. */
function familyOf(pid: number): number[] {
  const { stdout } = spawnSync("ps", ["-eo", "pid=,ppid="], { encoding: "utf8" });
  const pairs = stdout
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number));
  const found = [pid];
  for (const one of found) for (const [child, parent] of pairs) if (parent === one) found.push(child);
  return found;
}

/** Runs Python; once `kill` holds, it and all processes that it started end with SIGKILL. */
async function python(
  words: readonly string[],
  kill: () => boolean = () => false,
): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(PYTHON, words, { env: ENV, stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = new Promise<number | null>((done) => child.on("close", done));
  const watch = setInterval(() => {
    if (!kill()) return;
    clearInterval(watch);
    for (const pid of familyOf(child.pid as number)) process.kill(pid, "SIGKILL");
  }, 20);
  const code = await ended;
  clearInterval(watch);
  return { code, stderr };
}

describe.skipIf(!installed)("a training with PyTorch", () => {
  beforeAll(async () => {
    writeData(path("data"));
    const jobs: { folder: string; output: string; parallel: string }[] = [];
    for (const one of CASES) {
      const folder = folderOf(one);
      await writeBase(join(folder, "base"), one);
      const recipe = writeRecipe(join(folder, "recipe.yaml"), recipeOf("base", one));
      await (await train({ recipe, run: join(folder, "ours") })).close();
      for (const parallel of WAYS) {
        const run = await newTraining(join(folder, parallel), await readRecipeParts({ file: recipe }), undefined, {
          isElsewhere: true,
        });
        await trainWithTorch(run, { launch: null, parallel }, { isDryRun: true });
        jobs.push({ folder: join(folder, parallel, "hand-over"), output: outputOf(one, parallel), parallel });
      }
    }
    writeFileSync(path("jobs.json"), JSON.stringify(jobs));
    const script = join(ROOT, "test", "torch", "train_all.py");
    const trainer = join(ROOT, "engines", "torch", "train.py");
    const { code, stderr } = await python([...TORCHRUN, script, trainer, path("jobs.json")]);
    if (code !== 0) throw new Error(stderr);
    for (const one of CASES) {
      for (const way of WAYS) {
        const run = await begunTraining(join(folderOf(one), way));
        if (!run) throw new Error("finished before it was collected");
        await trainWithTorch(run, { launch: null, parallel: way }, { collected: outputOf(one, way) });
      }
    }
  }, 1_800_000);

  describe.each(CASES.flatMap((one) => WAYS.map((way) => [one.name, way, one] as const)))(
    "of %s with %s",
    (_, way, one) => {
      const [ours, theirs] = [join(folderOf(one), "ours"), join(folderOf(one), way)];

      it("has our losses, our adapter and our predictions", async () => {
        const losses = lossesOf(ours);
        expect(losses).toHaveLength(STEPS);
        expect(losses[STEPS - 1]).toBeLessThan(0.7 * losses[0]);
        expect(worst(losses, lossesOf(theirs), true)).toBeLessThan(1e-4);
        const [own, other] = [await adapterOf(ours), await adapterOf(theirs)];
        expect([...other.keys()].sort()).toEqual([...own.keys()].sort());
        for (const [name, values] of own) {
          expect({ name, worst: worst(values, other.get(name) as Float32Array) }).toSatisfy(
            (at: { worst: number }) => at.worst < 1e-3,
          );
        }
        const [predictions, others] = [await predictionsOf(ours), await predictionsOf(theirs)];
        expect(predictions).toHaveLength(TEST_ROWS);
        expect(others.map(({ relations }) => relations)).toEqual(predictions.map(({ relations }) => relations));
        const flat = (all: typeof predictions) => all.flatMap(({ probabilities }) => Array.from(probabilities));
        expect(worst(flat(predictions), flat(others))).toBeLessThan(1e-3);
        const best = (run: string) => JSON.parse(readFileSync(join(run, "done.json"), "utf8")).best;
        expect(best(theirs)).toEqual(best(ours));
      }, 120_000);
    },
  );

  it("ends with the same bytes when it is killed at random and started again", async () => {
    const [one] = CASES;
    const folder = path("killed");
    cpSync(join(folderOf(one), "ddp", "hand-over"), folder, { recursive: true });
    rmSync(join(folder, "out"), { recursive: true });
    const plan = JSON.parse(readFileSync(join(folder, "hand-over.json"), "utf8"));
    plan.train.checkpointSeconds = 0;
    writeFileSync(join(folder, "hand-over.json"), JSON.stringify(plan));
    const steps = 1 + createRandom(Date.now() % 2 ** 32).below(STEPS - 2);
    const output = join(folder, "out");
    const log = join(output, "log.jsonl");
    const isDue = () => existsSync(log) && readFileSync(log, "utf8").split("\n").length > steps;
    const words = [...TORCHRUN, join(folder, "train.py"), folder, "--output", output];
    const first = await python(words, isDue);
    expect({ steps, code: first.code }).toEqual({ steps, code: null });
    expect(existsSync(join(output, "result.json"))).toBe(false);
    const second = await python(words);
    expect({ steps, ...second }).toMatchObject({ steps, code: 0 });
    expect(lossesOf(output)).toEqual(lossesOf(outputOf(one, "ddp")));
    const bytes = (out: string) => {
      return readFileSync(join(out, "kept", `step-${String(STEPS).padStart(8, "0")}`, "adapter_model.safetensors"));
    };
    expect(bytes(output).equals(bytes(outputOf(one, "ddp")))).toBe(true);
  }, 600_000);
});
