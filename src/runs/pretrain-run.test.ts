import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { UserError } from "../base/errors.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { decoderWeights, freeDecoder } from "../models/decoder.ts";
import { initDecoder } from "../models/init.ts";
import { missingPretrainPaths, type PretrainRecipe, readPretrainRecipe } from "../pretrain/recipe.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { LoopLimits } from "./checkpointed-loop.ts";
import { specFromInit } from "./prepare.ts";
import {
  createPretrainFolder,
  openPretrainData,
  openPretrainFolder,
  type PretrainEvent,
  pretrainRun,
} from "./pretrain-run.ts";
import { openRunFolder, readLog } from "./run-folder.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-pretrain-"));
const backend = openReference({ precision: "float32" });
afterAll(async () => {
  await backend.close();
  rmSync(directory, { recursive: true });
});

/** Letters are ids: enough of a tokenizer for a text of a few letters. */
const LETTERS = "\n 日月山水，。";
const tokenizer: Tokenizer = {
  vocabularySize: 3 + LETTERS.length,
  bosId: 1,
  eosId: 2,
  padId: null,
  unkId: 0,
  encode: (text) => Array.from(text, (letter) => Math.max(0, 3 + LETTERS.indexOf(letter))),
  encodeAll: (texts) => texts.map((text) => tokenizer.encode(text)),
  decode: () => "",
  pieceOf: () => "",
  idOf: () => null,
};

const POEM = Array.from({ length: 60 }, (_, i) => "日月山水，".repeat(1 + (i % 4)) + "山水。".repeat(1 + (i % 3)));
writeFileSync(join(directory, "poem.txt"), `${POEM.map((line, i) => `${line}${"月".repeat(i)}`).join("\n\n")}\n`);
writeFileSync(
  join(directory, "other.jsonl"),
  POEM.map((text, i) => JSON.stringify({ text: `${"水".repeat(i)}${text}` })).join("\n"),
);
writeFileSync(join(directory, "tokenizer.model"), "in place of a tokenizer");
const SOURCES = {
  poem: { path: "poem.txt", weight: 2, heldOut: 0.2 },
  other: { path: "other.jsonl", format: "jsonl", weight: 1, heldOut: 0.1 },
};
const VALUES = {
  model: {
    init: { width: 8, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 16, maxTokens: 64 },
    tokenizer: "tokenizer.model",
    storage: "float32",
  },
  data: { folder: ".", sources: SOURCES },
  train: {
    sequenceTokens: 16,
    passSequences: 2,
    accumulation: 2,
    steps: 12,
    learningRate: 0.02,
    schedule: "trapezoid",
    warmupSteps: 2,
    decaySteps: 4,
    finalLearningRate: 0,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clipNorm: 1,
    validateEverySteps: 6,
    checkpointSeconds: 1e6,
    recompute: false,
  },
  seed: 3,
};
const recipeFile = join(directory, "recipe.yaml");
writeFileSync(recipeFile, stringify(VALUES));

/** Runs what is left of a run in `name`, as one process would, and returns its events and its weights at the end. */
async function run(
  name: string,
  options: { set?: string[]; limits?: LoopLimits; decayNow?: number; dieAfter?: number } = {},
) {
  const path = join(directory, name);
  const isNew = !readdirSync(directory).includes(name);
  const opened = isNew ? null : await openPretrainFolder(path, options.set);
  const recipe: PretrainRecipe = opened?.recipe ?? (await readPretrainRecipe(recipeFile, options.set));
  const folder = opened?.folder ?? (await createPretrainFolder(path, recipe));
  const data = await openPretrainData(recipe, tokenizer, join(directory, "tokens"));
  const model = await initDecoder(backend, specFromInit(recipe.model.init, tokenizer), recipe.seed, {
    storage: recipe.model.storage,
    trainable: true,
  });
  const events: PretrainEvent[] = [];
  for await (const event of pretrainRun(model, recipe, data, folder, options.limits, options.decayNow ?? null)) {
    events.push(event);
    if (event.kind === "step" && event.step === options.dieAfter) break;
  }
  const weights = await Promise.all(
    decoderWeights(model).map(async (one) => Array.from(await backend.readWeight(one))),
  );
  freeDecoder(model);
  const steps = events.flatMap((event) => (event.kind === "step" ? [{ step: event.step, loss: event.loss }] : []));
  const validations = events.flatMap((event) => (event.kind === "validation" ? [event] : []));
  return { folder, data, events, steps, validations, weights };
}

describe("pretrainRun", () => {
  it("learns, and says held-out bits per character of every source", async () => {
    const { steps, validations, events, folder, data } = await run("learns", { set: ["train.steps=60"] });
    expect(steps).toHaveLength(60);
    // Chance is ln 11.
    expect(steps[0].loss).toBeGreaterThan(2.2);
    expect(steps[59].loss).toBeLessThan(1.2);
    expect(events.at(-1)).toEqual({ kind: "end", step: 60 });
    const last = validations[validations.length - 1];
    expect(last.step).toBe(60);
    const { poem, other } = last.sources;
    expect(poem.characters).toBe(data.sources[0].heldOut.characters);
    const mean =
      (poem.bitsPerCharacter * poem.characters + other.bitsPerCharacter * other.characters) /
      (poem.characters + other.characters);
    expect(last.bitsPerCharacter).toBeCloseTo(mean, 12);
    expect(last.bitsPerCharacter).toBeLessThan(0.75 * validations[0].bitsPerCharacter);
    // One letter is one id, so bits per character are those per id with the end marks added.
    expect(poem.tokens).toBe(poem.characters + data.sources[0].heldOut.ends.length);
    const log = await readLog(folder);
    expect(log.filter(({ kind }) => kind === "step")).toHaveLength(60);
    expect(log.filter(({ kind }) => kind === "validation")).toHaveLength(10);
    // Another kind of run is not mistaken for one of these.
    await expect(openRunFolder(folder.directory)).rejects.toThrow(UserError);
  });

  it("gives the same numbers when it is stopped, killed and resumed", async () => {
    const whole = await run("whole");
    const stopped = await run("parts", { limits: { untilStep: 5 } });
    expect(stopped.events.at(-1)).toEqual({ kind: "stopped", step: 5 });
    // Killed after three more steps without a checkpoint: they are made again.
    await run("parts", { dieAfter: 8 });
    const rest = await run("parts");
    expect(rest.steps[0].step).toBe(6);
    expect([...stopped.steps, ...rest.steps]).toEqual(whole.steps);
    expect(rest.weights).toEqual(whole.weights);
    const logged = (await readLog(rest.folder)).filter(({ kind }) => kind === "step").map(({ loss }) => loss);
    expect(logged).toEqual(whole.steps.map(({ loss }) => loss));
    expect(rest.validations.at(-1)?.bitsPerCharacter).toBe(whole.validations.at(-1)?.bitsPerCharacter);
  });

  it("learns to continue prefixes too, and gives the same numbers when it is resumed", async () => {
    const set = ["train.prefixShare=0.5", "train.steps=60", "train.validateEverySteps=60"];
    const whole = await run("prefixes", { set });
    await run("prefix-parts", { set, limits: { untilStep: 7 } });
    const rest = await run("prefix-parts");
    expect(rest.weights).toEqual(whole.weights);
    const mean = (from: number) => whole.steps.slice(from, from + 6).reduce((sum, { loss }) => sum + loss / 6, 0);
    expect(mean(54)).toBeLessThan(0.6 * mean(0));
    // It reads without prefixes as well.
    expect(whole.validations.at(-1)?.bitsPerCharacter).toBeLessThan(2.2);
    const causal = await run("no-prefixes", { limits: { untilStep: 1 } });
    expect(whole.steps[0].loss).not.toBe(causal.steps[0].loss);
    const none = await run("none", { set: ["train.prefixShare=0"], limits: { untilStep: 1 } });
    expect(none.steps).toEqual(causal.steps);
  });

  it("learns by Muon, too, and gives the same numbers when it is resumed from a state without second moments", async () => {
    const set = ["train.optimizer=muon", "train.steps=40", "train.decaySteps=20"];
    const whole = await run("muon", { set });
    await run("muon-parts", { set, limits: { untilStep: 7 } });
    await run("muon-parts", { dieAfter: 9 });
    const rest = await run("muon-parts");
    expect(rest.weights).toEqual(whole.weights);
    expect(whole.steps[39].loss).toBeLessThan(0.7 * whole.steps[0].loss);
    const byAdam = await run("adam", { set: set.slice(1), limits: { untilStep: 1 } });
    expect(byAdam.steps[0].loss).toBe(whole.steps[0].loss);
    const names = async (folder: string) => {
      const source = await openSafetensors(join(directory, folder, "checkpoints", "state.safetensors"));
      await source.close();
      return [...source.tensors.keys()].filter((name) => name.endsWith("#moment2"));
    };
    // Embedding and norms: two in the layer, one behind it.
    expect(await names("muon")).toHaveLength(4);
    expect(await names("adam")).toHaveLength(11);
    await expect(run("adam", { set: ["train.optimizer=muon"] })).rejects.toThrow("settings in recipe.yaml");
  });

  it("starts its final phase at a checkpoint when told, and remembers it", async () => {
    await run("decays", { limits: { untilStep: 5 } });
    const part = await run("decays", { decayNow: 4, limits: { untilStep: 7 } });
    const rest = await run("decays");
    const rates = [...part.events, ...rest.events].flatMap((event) =>
      event.kind === "step" ? [event.learningRate] : [],
    );
    expect(rates).toHaveLength(4);
    for (const [i, rate] of [0.02, 0.015, 0.01, 0.005].entries()) expect(rates[i]).toBeCloseTo(rate, 12);
    expect(rest.events.at(-1)).toEqual({ kind: "end", step: 9 });
    await expect(run("decays", { decayNow: 4 })).rejects.toThrow("the final phase has begun already, at step 5");
    writeFileSync(join(directory, "decays", "decay.json"), '{"startStep": -1, "steps": 2}');
    await expect(run("decays")).rejects.toThrow('expected whole numbers "startStep" and "steps"');
  });

  it("resumes with a longer trapezoid, but not with another run's state", async () => {
    await run("longer", { limits: { untilStep: 5 } });
    expect((await run("longer", { set: ["train.steps=14"], limits: { untilStep: 6 } })).steps).toHaveLength(1);
    await expect(run("longer", { set: ["train.learningRate=0.01"] })).rejects.toThrow("settings in recipe.yaml");
    await expect(run("longer", { set: ["data.sources.poem.weight=1"] })).rejects.toThrow("settings in recipe.yaml");
    await expect(run("longer", { set: ["data.sources.poem.heldOut=0.3"] })).rejects.toThrow(
      "training or validation rows",
    );
  });

  it("makes a damaged file of tokens known", async () => {
    const { data } = await run("damaged", { limits: { untilStep: 1 } });
    const file = join(directory, "tokens", `poem-${data.sources[0].digest.slice(0, 16)}.tokens`);
    const bytes = readFileSync(file);
    truncateSync(file, bytes.length - 2);
    await expect(run("damaged")).rejects.toThrow("it is damaged");
    writeFileSync(file, "CRETOK9\n".padEnd(bytes.length, "x"));
    await expect(run("damaged")).rejects.toThrow("is no file of tokens");
    const wrong = Buffer.from(bytes);
    wrong.writeUInt16LE(999, bytes.length - 2);
    writeFileSync(file, wrong);
    await expect(run("damaged")).rejects.toThrow("has an id outside the vocabulary");
    writeFileSync(file, bytes);
    expect((await run("damaged", { limits: { untilStep: 2 } })).steps).toHaveLength(1);
  });
});

describe("a recipe for pretraining", () => {
  const read = (set: string[]) => readPretrainRecipe(recipeFile, set);

  it("makes its paths absolute and names what is missing", async () => {
    const recipe = await read(["data.sources.poem.path=none.txt.gz", "model.tokenizer=nowhere"]);
    expect(recipe.data.sources.other.path).toBe(join(directory, "other.jsonl"));
    expect(missingPretrainPaths(recipe)).toEqual([
      expect.stringContaining(`model.tokenizer: ${join(directory, "nowhere")} does not exist`),
      `data.sources.poem.path: ${join(directory, "none.txt.gz")} does not exist`,
    ]);
  });

  it("reports slips together, and what does not go together", async () => {
    const wrong = read(["train.learningRat=1", "data.sources.poem.weight=-1"]);
    await expect(wrong).rejects.toThrow('train.learningRat — unknown key, did you mean "learningRate"?');
    await expect(wrong).rejects.toThrow("data.sources.poem.weight is -1");
    await expect(read(["train.decaySteps=11"])).rejects.toThrow(
      "12 steps have no room for warmupSteps 2 and decaySteps 11",
    );
    await expect(read(["train.sequenceTokens=65"])).rejects.toThrow("65 is more than the model's maxTokens 64");
  });
});
