import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { UserError } from "../base/errors.ts";
import { openReference } from "../compute/reference/backend.ts";
import { initDecoder } from "../models/init.ts";
import { saveDecoder } from "../models/save.ts";
import { scoreHeldOut } from "../pretrain/held-out.ts";
import { readPretrainRecipe } from "../pretrain/recipe.ts";
import { collectPretraining, handOver } from "./collected.ts";
import { specFromInit } from "./prepare.ts";
import { createPretrainFolder, openPretrainData, openPretrainFolder } from "./pretrain-run.ts";
import { openPretrainSizes, PRETRAINING, type PretrainingEvent, runPretraining } from "./pretraining.ts";
import { begunRun, newRun } from "./protocol.ts";
import { readLog, runFolder } from "./run-folder.ts";
import { readTrainingProgress } from "./training-state.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-start-"));
const at = (...names: string[]) => join(directory, ...names);
const SMALL = join(import.meta.dirname, "..", "..", "models", "small-zh");
const INIT = { family: "llama", width: 8, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 16, maxTokens: 64 };
/** What a user writes, in a few lines. */
const SHORT = {
  model: { start: "start", storage: "float32" },
  data: { folder: ".", sources: { own: { path: "own.txt", heldOut: 0.2 } } },
  train: { sequenceTokens: 16, passSequences: 2, accumulation: 1, steps: 6, learningRate: 0.01, validateEverySteps: 3 },
};
const recipeWith = (...set: string[]) => readPretrainRecipe(at("own.yaml"), set);

async function saveModel(folder: string, seed: number): Promise<void> {
  const backend = openReference({ precision: "float32" });
  const sizes = { ...INIT, tiedHead: true, normEpsilon: 1e-5, rotaryBase: 5000 };
  const { tokenizer } = await openPretrainSizes({ model: { init: sizes, tokenizer: SMALL } } as never);
  const model = await initDecoder(backend, specFromInit(sizes, tokenizer), seed, {
    storage: "float32",
    trainable: false,
  });
  await saveDecoder(model, folder, { dtype: "F32" });
  for (const file of ["tokenizer.model", "tokenizer_config.json"]) {
    if (existsSync(join(SMALL, file))) cpSync(join(SMALL, file), join(folder, file));
  }
  await backend.close();
}

beforeAll(async () => {
  writeFileSync(at("own.txt"), Array.from({ length: 40 }, (_, i) => `${i}日，甲公司收购乙公司的股份。`).join("\n\n"));
  writeFileSync(at("own.yaml"), stringify(SHORT));
  await saveModel(at("start"), 5);
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Trains what is left of a run; `dieAfter` ends it without a checkpoint. */
async function train(name: string, options: { set?: string[]; dieAfter?: number; untilStep?: number } = {}) {
  const { set = [], dieAfter, untilStep } = options;
  const isNew = !existsSync(at(name));
  const run = isNew
    ? await newRun(PRETRAINING, at(name), await recipeWith(...set), "own.yaml")
    : await begunRun(PRETRAINING, at(name), set);
  if (!run) throw new Error("is finished");
  const events: PretrainingEvent[] = [];
  const training = runPretraining(run, {
    untilStep,
    onEvent: (event) => {
      events.push(event);
      if (event.kind === "step" && event.step === dieAfter) throw new Error("killed");
    },
  });
  await (dieAfter === undefined ? training : expect(training).rejects.toThrow("killed"));
  return events;
}

describe("model.start", () => {
  it("gives a short recipe its sizes and its tokenizer", async () => {
    const { model, train } = await recipeWith();
    expect(model.init).toEqual({ ...INIT, tiedHead: true, normEpsilon: 1e-5, rotaryBase: 5000 });
    expect(model.tokenizer).toBe(at("start"));
    expect(train).toMatchObject({ warmupSteps: 1, decaySteps: 3, schedule: "trapezoid", clipNorm: 1 });
  });

  it("begins with that model's weights, and says its bits per character before the first step", async () => {
    const events = await train("run");
    const validations = events.flatMap((event) => (event.kind === "validation" ? [event] : []));
    expect(validations.map(({ step }) => step)).toEqual([0, 3, 6]);
    const recipe = await recipeWith();
    const backend = openReference({ precision: "float32" });
    const { tokenizer, spec } = await openPretrainSizes(recipe);
    const model = await initDecoder(backend, spec, 5, { storage: "float32", trainable: false });
    const { sources, marks } = await openPretrainData(recipe, tokenizer, at("run", "tokens"));
    const score = await scoreHeldOut(model, sources[0].heldOut, marks, 16, 32);
    await backend.close();
    expect(validations[0].bitsPerCharacter).toBeCloseTo(score.bitsPerCharacter, 2);
    expect(validations[2].bitsPerCharacter).toBeLessThan(validations[0].bitsPerCharacter);
  });

  it("gives the same numbers when the training is killed and resumed", async () => {
    await train("parts", { dieAfter: 2 });
    await train("parts", { untilStep: 4 });
    await train("parts", { dieAfter: 5 });
    await train("parts");
    const numbers = async (name: string) =>
      (await readLog(runFolder(at(name)))).map(({ kind, step, loss, bitsPerCharacter }) => [
        kind,
        step,
        loss ?? bitsPerCharacter,
      ]);
    expect(await numbers("parts")).toEqual(await numbers("run"));
    const weights = (name: string) => readFileSync(runFolder(at(name)).state);
    expect(weights("parts").equals(weights("run"))).toBe(true);
    expect((await readTrainingProgress(runFolder(at("parts")).state)).step).toBe(6);
  });

  it.each([
    [
      [
        "model.init.width=16",
        ...Object.entries(INIT)
          .slice(2)
          .map(([key, value]) => `model.init.${key}=${value}`),
      ],
      /width 8, the recipe 16/,
    ],
    [[`model.tokenizer=${join(SMALL, "..", "base-zh")}`], /its tokenizer is not .*base-zh: they differ at id \d+/],
  ])("refuses another shape before anything is made: %s", async (set, message) => {
    const failed = train("refused", { set: [...set] });
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.toThrow(UserError);
    expect(existsSync(at("refused"))).toBe(false);
  });

  it("names what is missing, and what does not go together", async () => {
    await expect(recipeWith("model.start=none")).rejects.toThrow(`model.start: ${at("none")} does not exist`);
    const whole = [`model.init=${JSON.stringify(INIT)}`, "model.tokenizer=start"];
    const late = train("refused", { set: ["model.start=none", ...whole] });
    await expect(late).rejects.toThrow(`model.start: ${at("none")} does not exist`);
    const alone = recipeWith("model.start=null", "model.startOrigin=x");
    await expect(alone).rejects.toThrow("model.init");
    const origin = readPretrainRecipe(writeNothing(), ["model.startOrigin=x", ...whole]);
    await expect(origin).rejects.toThrow("model.startOrigin: speaks of a model to start from: give model.start, too");
    expect(existsSync(at("refused"))).toBe(false);
  });

  it("resumes from the same model only", async () => {
    await saveModel(at("second"), 6);
    const set = ["model.start=second"];
    await train("changed", { set, untilStep: 1 });
    await expect(train("changed", { set: ["model.start=../start"] })).rejects.toThrow("is not the model that");
    await expect(train("changed", { set: ["model.start=null"] })).rejects.toThrow(/model\.start/);
    await saveModel(at("second"), 7);
    await expect(train("changed")).rejects.toThrow(/second: is not the model that .*changed started from/);
    await saveModel(at("second"), 6);
    expect((await train("changed", { untilStep: 2 })).some(({ kind }) => kind === "step")).toBe(true);
    expect(basename((await openPretrainFolder(at("changed"))).recipe.model.start ?? "")).toBe("second");
  });

  it("cannot be given to a run that began with random weights", async () => {
    const whole = [`model.init=${JSON.stringify(INIT)}`, "model.tokenizer=start"];
    await createPretrainFolder(at("random"), await readPretrainRecipe(writeNothing(), whole));
    const given = openPretrainFolder(at("random"), ["model.start=../start"]);
    await expect(given).rejects.toThrow(/random began with random weights, which --set cannot change/);
  });

  it("is not handed over, and not collected", async () => {
    await expect(handOver(await recipeWith(), at("out"), () => {})).rejects.toThrow("not with model.start");
    const collected = collectPretraining(await recipeWith(), at("out"), at("run-out"), "own.yaml", () => {});
    await expect(collected).rejects.toThrow("not with model.start");
    expect(existsSync(at("out"))).toBe(false);
  });
});

/** A recipe that starts from random weights. */
function writeNothing(): string {
  const { start: _start, ...model } = SHORT.model;
  writeFileSync(at("nothing.yaml"), stringify({ ...SHORT, model }));
  return at("nothing.yaml");
}
