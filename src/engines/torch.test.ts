import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT, temporaryFolder, writeToyData } from "../../test/e2e/support.ts";
import { writeToyBase, writeToyLora } from "../../test/toy-runs.ts";
import { openPeftFolder } from "../formats/peft-folder.ts";
import { readRecipeParts } from "../recipe/read.ts";
import { removeRun } from "../runs/remove-run.ts";
import { openRun } from "../runs/run.ts";
import { begunTraining, newTraining } from "../runs/training.ts";
import { planSteps } from "../train/batches.ts";
import { learningRateAt } from "../train/optimizer.ts";
import { engineOf, type TorchEvent, type TorchOptions, trainWithTorch } from "./torch.ts";

const temporary = temporaryFolder("torch");
const path = (...names: string[]) => join(temporary.path, ...names);
const data = writeToyData(path("data"));
const FAKE = join(ROOT, "test", "torch", "fake-trainer.mjs");
const fake = (mode: string) => ({ launch: [process.execPath, FAKE, mode], parallel: "fsdp" as const });
beforeAll(() => writeToyBase(path("base")));
afterAll(() => temporary.remove());

const recipeFile = (changes: Record<string, unknown> = {}) =>
  writeToyLora(path("toy.yaml"), data, path("base"), changes);
const text = (...names: string[]) => readFileSync(path(...names), "utf8");
const lines = (...names: string[]) =>
  text(...names)
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

async function newRun(name: string, changes: Record<string, unknown> = {}) {
  const reading = await readRecipeParts({ file: recipeFile(changes) });
  return newTraining(path(name), reading, undefined, { isElsewhere: true });
}

/** Trains a run with the fake trainer and returns what was heard. */
async function trained(name: string, mode: string, options: TorchOptions & { changes?: Record<string, unknown> } = {}) {
  const events: TorchEvent[] = [];
  const onEvent = (event: TorchEvent) => {
    events.push(event);
    options.onEvent?.(event);
  };
  const run = existsSync(path(name)) ? await begunTraining(path(name)) : await newRun(name, options.changes);
  if (!run) throw new Error("finished already");
  const stop = await trainWithTorch(run, fake(mode), { ...options, onEvent });
  return { events, stop };
}

async function weightsOf(directory: string): Promise<Set<number>> {
  const { tensors } = await openPeftFolder(directory);
  const found = new Set<number>();
  for (const name of tensors.tensors.keys()) for (const value of await tensors.read(name)) found.add(value);
  await tensors.close();
  return found;
}

describe("a dry run", () => {
  beforeAll(async () => {
    await trained("dry", "train", { isDryRun: true, changes: { seed: 7 } });
  });

  it("hands over the rows as they are rendered here, in the order of the seed", async () => {
    const run = await begunTraining(path("dry"));
    if (!run) throw new Error("no run");
    const { renderer, recipe, close } = run.prepared;
    const rows = lines("dry", "hand-over", "rows.jsonl");
    expect(rows).toHaveLength(16);
    for (const [i, line] of text("data", "train.jsonl").trim().split("\n").entries()) {
      const { promptIds, answerIds } = renderer.renderExample(JSON.parse(line));
      const input_ids = [...promptIds, ...answerIds];
      const labels = [...promptIds.map(() => -100), ...answerIds];
      expect(rows[i]).toEqual({ input_ids, attention_mask: input_ids.map(() => 1), labels });
      expect(lines("dry", "hand-over", "examples.jsonl")[i]).toEqual({
        example: i,
        promptTokens: promptIds.length,
        weight: 1,
      });
    }
    const plan = planSteps(16, recipe.train, 7);
    const steps = lines("dry", "hand-over", "steps.jsonl");
    expect(steps).toHaveLength(8);
    for (const [i, step] of steps.entries()) {
      const keep = i % 2 === 1 ? { keep: true } : {};
      const learningRate = learningRateAt(recipe.train, i, 8);
      expect(step).toEqual({ step: i + 1, rows: plan.examplesOf(i), learningRate, ...keep });
    }
    await close();
  });

  it("hands over the base without copying it, the first adapter, the script and an Axolotl configuration", async () => {
    const { ino } = statSync(path("base", "model.safetensors"));
    expect(statSync(path("dry", "hand-over", "base", "model.safetensors")).ino).toBe(ino);
    const { config, tensors } = await openPeftFolder(path("dry", "hand-over", "adapter"));
    expect(config).toMatchObject({ rank: 4, alpha: 8, dropout: 0.1, hasMagnitudes: false });
    const [a, b] = ["lora_A.weight", "lora_B.weight"].map((part) =>
      tensors.read(`base_model.model.model.layers.0.self_attn.q_proj.${part}`),
    );
    expect(new Set(await b)).toEqual(new Set([0]));
    expect(Math.max(...(await a))).toBeGreaterThan(0.1);
    await tensors.close();
    const script = readFileSync(join(ROOT, "engines", "torch", "train.py"), "utf8");
    expect(text("dry", "hand-over", "train.py")).toBe(script);
    expect(text("dry", "hand-over", "axolotl.yaml")).toContain("micro_batch_size: 4\n");
    expect(await engineOf(path("dry"))).toEqual(fake("train"));
  });

  it("is removed with its run, and nothing else is", async () => {
    cpSync(path("dry"), path("removed"), { recursive: true });
    writeFileSync(path("removed", "hand-over", "base", "notes.txt"), "mine");
    await expect(removeRun(path("removed"), [])).rejects.toThrow("since hand-over/base/notes.txt in it was not made");
    rmSync(path("removed", "hand-over", "base", "notes.txt"));
    await removeRun(path("removed"), []);
    expect(readdirSync(path("removed"))).toEqual([]);
  });

  it("is a run once its result is taken, with the log and the validations made here", async () => {
    await trained("dry-made", "train", { changes: { seed: 7 } });
    const out = path("dry-made", "hand-over", "out");
    const events: TorchEvent[] = [];
    const run = await begunTraining(path("dry"));
    if (!run) throw new Error("no run");
    await trainWithTorch(run, fake("train"), { collected: out, onEvent: (event) => void events.push(event) });
    const validations = events.flatMap((event) => (event.kind === "validation" ? [event.step] : []));
    expect(validations).toEqual([2, 4, 6, 8]);
    const kinds = lines("dry", "log.jsonl").map(({ kind, step }) => `${kind} ${step}`);
    expect(kinds.slice(0, 5)).toEqual(["step 1", "step 2", "validation 2", "step 3", "step 4"]);
    expect(await weightsOf(path("dry"))).toEqual(new Set([0.25]));
    expect(JSON.parse(text("dry", "done.json"))).toMatchObject({ steps: 8, best: { step: 2 } });
    const engine = JSON.parse(text("dry", "engine.json"));
    expect(engine.trainedBy).toMatchObject({ device: "a test", processes: 2, parallel: "fsdp", seconds: 3 });
    const opened = await openRun(path("dry"));
    const { predictions } = await opened.extract({ sentence: "东风收购西岭的股份", head: "东风", tail: "西岭" });
    expect(predictions).toHaveLength(1);
    await opened.close();
    expect(await begunTraining(path("dry"))).toBe(null);
  });
});

describe("a training elsewhere", () => {
  it("starts the trainer, shows its steps, and takes its result", async () => {
    const { events, stop } = await trained("whole", "train");
    expect(stop).toBe(null);
    const heard = events.map(({ kind }) => kind).filter((kind) => kind !== "loading");
    expect(heard.slice(0, 5)).toEqual(["data", "data", "handed over", "trainer", "start"]);
    expect(events.filter(({ kind }) => kind === "step")).toHaveLength(8);
    expect(events.find(({ kind }) => kind === "handed over")).toMatchObject({ rows: 16, steps: 8 });
    expect(await weightsOf(path("whole"))).toEqual(new Set([0.25]));
  });

  it("is stopped with the trainer and continues with what it handed over", async () => {
    const stopping = new AbortController();
    const onEvent = (event: TorchEvent) => void (event.kind === "trainer" && stopping.abort());
    const { stop } = await trained("stopped", "stop", { signal: stopping.signal, onEvent });
    expect(stop).toEqual({ step: 1, signal: null });
    const { mtimeMs } = statSync(path("stopped", "hand-over", "rows.jsonl"));
    const { events } = await trained("stopped", "stop");
    expect(events.find(({ kind }) => kind === "start")).toMatchObject({ resumedAt: 1, totalSteps: 8 });
    expect(statSync(path("stopped", "hand-over", "rows.jsonl")).mtimeMs).toBe(mtimeMs);
    expect(existsSync(path("stopped", "done.json"))).toBe(true);
  });

  it("says what the trainer said last when it fails, or what cannot be started", async () => {
    const failed = await trained("failed", "fail").catch((error) => error);
    expect(failed.message).toContain("the trainer ended with 1:\n");
    expect(failed.message).toContain("  RuntimeError: no memory for train.py");
    expect(failed.hint).toContain(path("failed", "hand-over", "trainer.log"));
    const run = await newRun("none");
    const none = await trainWithTorch(run, { launch: ["no-such-torchrun"], parallel: "ddp" }).catch((error) => error);
    expect(none.message).toMatch(/^no-such-torchrun: cannot be started \(.*ENOENT/);
  });

  it("refuses what only this program trains, before it makes a folder", async () => {
    const refused = async (changes: Record<string, unknown>) => {
      const error = await trained("refused", "train", { changes }).catch((one) => one);
      expect(existsSync(path("refused"))).toBe(false);
      return error.message;
    };
    expect(await refused({ adapter: { method: "full" } })).toBe(
      '--engine torch: adapter.method "full" is trained here only.',
    );
    const int8 = await refused({ model: { path: path("base"), storage: "int8" } });
    expect(int8).toBe("--engine torch: model.storage int8 is for this program only.");
  });
});

describe("a result", () => {
  const taking = async (directory: string) => {
    const run = await begunTraining(path("taker"));
    if (!run) throw new Error("finished");
    const notices: string[] = [];
    const onEvent = (event: TorchEvent) => void (event.kind === "notice" && notices.push(event.text));
    const outcome = await trainWithTorch(run, fake("train"), { collected: directory, onEvent }).catch((error) => error);
    return { outcome, notices };
  };
  const messageFor = async (directory: string): Promise<string> => (await taking(directory)).outcome.message;
  beforeAll(async () => {
    await trained("giver", "train");
    await trained("other", "train", { changes: { seed: 8 } });
    await trained("taker", "train", { isDryRun: true });
  });

  it("of another hand-over, unfinished or damaged is refused", async () => {
    expect(await messageFor(path("other", "hand-over", "out"))).toContain("is the result of another hand-over");
    expect(await messageFor(path("data"))).toContain("has no result.json");
    const copy = path("copy");
    cpSync(path("giver", "hand-over", "out"), copy, { recursive: true });
    const weights = path("copy", "kept", "step-00000008", "adapter_model.safetensors");
    const bytes = readFileSync(weights);
    writeFileSync(weights, bytes.subarray(0, bytes.length - 4));
    expect(await messageFor(copy)).toBe(`${weights}: is missing or damaged.`);
    rmSync(path("copy", "result.json"));
    expect((await taking(copy)).outcome.hint).toContain("start the same command again");
    const result = JSON.parse(text("giver", "hand-over", "out", "result.json"));
    result.kept[0].folder = "../../data";
    writeFileSync(path("copy", "result.json"), JSON.stringify(result));
    expect(await messageFor(copy)).toContain("kept");
  });

  it("may be a PEFT folder of another program, of the recipe's sizes", async () => {
    const kept = path("giver", "hand-over", "out", "kept", "step-00000008");
    const small = path("small");
    cpSync(kept, small, { recursive: true });
    const config = JSON.parse(text("small", "adapter_config.json"));
    writeFileSync(path("small", "adapter_config.json"), JSON.stringify({ ...config, lora_alpha: 16 }));
    expect(await messageFor(small)).toContain("is an adapter with other settings than the recipe's");
    const { outcome, notices } = await taking(kept);
    expect(outcome).toBe(null);
    expect(notices).toContainEqual(expect.stringContaining("no log of its training"));
    expect(await weightsOf(path("taker"))).toEqual(new Set([0.25]));
  });
});
