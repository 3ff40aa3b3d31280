import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { UserError } from "../base/errors.ts";
import { nativeStatus } from "../compute/native/open.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { readRecipe } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { type OpenedRecipe, openForTraining, openTrained, saveLabels } from "./open.ts";
import { createRunFolder, openRunFolder, type RunFolder, readLog } from "./run-folder.ts";
import { encodeExamples, type RunEvent, trainRun } from "./train-run.ts";
import { previousState } from "./training-state.ts";

const native = nativeStatus();
if (!native.available) console.warn(`training is not resumed on the native backend: ${native.reason}`);

const temporary = temporaryFolder("train-run");
const data = writeToyData(join(temporary.path, "data"));
vi.stubEnv("CRE_BACKEND", "reference");
afterAll(() => temporary.remove());

async function recipeWith(...overrides: string[]): Promise<Recipe> {
  return readRecipe(writeRecipe(join(temporary.path, "recipe.yaml"), toyRecipe(data)), overrides);
}

let runs = 0;
const newFolder = (recipe: Recipe) => createRunFolder(join(temporary.path, `run-${runs++}`), recipe);

/** Trains in a folder until the end, or until `stopAfter` steps were made; `onEvent` may throw, as a crash would. */
async function trainIn(
  folder: RunFolder,
  options: {
    stopAfter?: number;
    train?: Example[];
    onEvent?: (event: RunEvent) => void;
    atEnd?: (bench: OpenedRecipe) => Promise<void>;
  } = {},
): Promise<RunEvent[]> {
  const { recipe } = await openRunFolder(folder.directory);
  const dataset = await openDataset(data);
  const bench = await openForTraining(recipe, dataset.labels);
  const stop = new AbortController();
  const events: RunEvent[] = [];
  try {
    await saveLabels(folder, dataset.labels);
    const train = options.train ?? (await dataset.split("train")).examples;
    const valid = (await dataset.split("valid")).examples;
    for await (const event of trainRun(bench, folder, train, valid, { signal: stop.signal })) {
      events.push(event);
      if (event.kind === "step" && event.step === options.stopAfter) stop.abort();
      options.onEvent?.(event);
    }
    await options.atEnd?.(bench);
    return events;
  } finally {
    await bench.close();
  }
}

/** The part of a log that no interruption may change: all but times. */
async function logOf(folder: RunFolder): Promise<unknown[]> {
  return (await readLog(folder)).map(({ seconds: _, ...line }) => line);
}

const weightsOf = (folder: RunFolder) => readFileSync(join(folder.model, "model.safetensors"));

describe("trainRun", () => {
  let whole: RunFolder;
  let recipe: Recipe;
  let events: RunEvent[];
  beforeAll(async () => {
    recipe = await recipeWith();
    whole = await newFolder(recipe);
    events = await trainIn(whole);
  });

  it("tells, logs and saves what happens", async () => {
    // 16 examples in steps of 4, 2 epochs, a validation every half epoch.
    const kinds = events.map(({ kind }) => kind);
    const pair = ["step", "step", "validation", "checkpoint"];
    expect(kinds).toEqual(["start", ...pair, ...pair, ...pair, ...pair, "end"]);
    const logged = (await readLog(whole)).map(({ kind, step }) => `${kind} ${step}`);
    expect(logged.slice(0, 6)).toEqual(["step 1", "step 2", "validation 2", "step 3", "step 4", "validation 4"]);
    expect(logged.length).toBe(12);
    expect(events.at(-1)).toMatchObject({ kind: "end", steps: 8 });
    expect(JSON.parse(readFileSync(whole.done, "utf8"))).toMatchObject({ steps: 8 });
  });

  it("gives the same numbers twice, and others with another seed", async () => {
    const again = await newFolder(recipe);
    await trainIn(again);
    expect(await logOf(again)).toEqual(await logOf(whole));
    expect(weightsOf(again).equals(weightsOf(whole))).toBe(true);
    const other = await newFolder(await recipeWith("seed=6"));
    await trainIn(other, { stopAfter: 1 });
    expect((await logOf(other))[0]).not.toEqual((await logOf(whole))[0]);
  });

  it("ends with the same numbers wherever it was stopped, once or at every step", async () => {
    for (const stopAfter of [1, 2, 7]) {
      const folder = await newFolder(recipe);
      const stopped = await trainIn(folder, { stopAfter });
      expect(stopped.slice(-2)).toEqual([
        { kind: "checkpoint", step: stopAfter },
        { kind: "stopped", step: stopAfter },
      ]);
      expect(existsSync(folder.done)).toBe(false);
      const resumed = await trainIn(folder);
      expect(resumed[0]).toMatchObject({ kind: "start", resumedAt: stopAfter });
      expect(await logOf(folder)).toEqual(await logOf(whole));
      if (!weightsOf(folder).equals(weightsOf(whole))) expect.fail(`stopped after step ${stopAfter}: other weights`);
    }
    const limping = await newFolder(recipe);
    for (let stopAfter = 1; stopAfter <= 8; stopAfter++) await trainIn(limping, { stopAfter });
    expect(await logOf(limping)).toEqual(await logOf(whole));
    expect(weightsOf(limping).equals(weightsOf(whole))).toBe(true);
  });

  it("does so where the mean of the weights is kept, which is what is validated and saved", async () => {
    const averaging = await recipeWith("train.averageFrom=0", "train.schedule=constant");
    const [once, limping] = [await newFolder(averaging), await newFolder(averaging)];
    await trainIn(once);
    for (let stopAfter = 1; stopAfter <= 8; stopAfter++) await trainIn(limping, { stopAfter });
    expect(await logOf(limping)).toEqual(await logOf(once));
    expect(weightsOf(limping).equals(weightsOf(once))).toBe(true);
    const plain = await newFolder(await recipeWith("train.schedule=constant"));
    await trainIn(plain);
    const stepsOf = async (folder: RunFolder) => (await logOf(folder)).filter((line) => "loss" in (line as object));
    expect(await stepsOf(once)).toEqual(await stepsOf(plain));
    expect(weightsOf(once).equals(weightsOf(plain))).toBe(false);
  });

  it.skipIf(!native.available)("does so on the native backend too", async () => {
    vi.stubEnv("CRE_BACKEND", "native");
    try {
      const [once, limping] = [await newFolder(recipe), await newFolder(recipe)];
      await trainIn(once);
      for (let stopAfter = 1; stopAfter <= 8; stopAfter++) await trainIn(limping, { stopAfter });
      expect(await logOf(limping)).toEqual(await logOf(once));
      expect(weightsOf(limping).equals(weightsOf(once))).toBe(true);
    } finally {
      vi.stubEnv("CRE_BACKEND", "reference");
    }
  });

  it("ends with the same numbers after a crash at any event, a torn log and half-written files", async () => {
    // Every event from the start to the second validation, the last checkpoint and the end.
    for (const crashAt of [1, 2, 3, 4, 5, events.length - 2, events.length - 1]) {
      const folder = await newFolder(recipe);
      let heard = 0;
      const crash = () => {
        if (heard++ === crashAt) throw new Error("crash");
      };
      await expect(trainIn(folder, { onEvent: crash })).rejects.toThrow("crash");
      writeFileSync(folder.log, '{"kind":"step","step":9', { flag: "a" });
      mkdirSync(dirname(folder.state), { recursive: true });
      writeFileSync(`${folder.state}.0123abcd.part`, "half");
      await trainIn(folder);
      expect(await logOf(folder)).toEqual(await logOf(whole));
      if (!weightsOf(folder).equals(weightsOf(whole))) expect.fail(`crash at event ${crashAt}: other weights`);
      const files = readdirSync(folder.directory, { recursive: true, encoding: "utf8" });
      expect(files.filter((name) => name.endsWith(".part"))).toEqual([]);
    }
  });

  it("keeps the weights of the best validation", async () => {
    // A learning rate that ruins the model after a good start.
    const folder = await newFolder(
      await recipeWith("train.epochs=6", "train.learningRate=0.03", "train.validateEvery=1"),
    );
    const validations = (await trainIn(folder)).flatMap((event) => (event.kind === "validation" ? [event] : []));
    const best = validations.reduce((a, b) => (b.microF1 > a.microF1 ? b : a));
    const end = JSON.parse(readFileSync(folder.done, "utf8"));
    expect(end.best).toEqual({ metric: best.microF1, step: best.step });
    expect(validations.filter(({ isBest }) => isBest).at(-1)?.step).toBe(best.step);
    const run = await openTrained(folder.directory);
    const valid = (await (await openDataset(data)).split("valid")).examples;
    const { metrics } = await evaluate(run.extractor, valid, { bootstrap: null });
    await run.close();
    expect(metrics.conventions.micro.f1).toBe(best.microF1);
  });

  it("validates at least at every step when told to validate often, and never when told 0", async () => {
    const often = await trainIn(await newFolder(await recipeWith("train.validateEvery=0.01", "train.epochs=0.5")));
    expect(often.filter(({ kind }) => kind === "validation").length).toBe(2);
    const never = await trainIn(await newFolder(await recipeWith("train.validateEvery=0", "train.epochs=0.5")));
    expect(never.map(({ kind }) => kind)).toEqual(["start", "step", "step", "checkpoint", "end"]);
  });

  describe("early stopping", () => {
    // With a learning rate that changes nothing the first validation is the best one: 3 more, then the end, after step 8 of 24.
    const values = ["train.epochs=6", "train.learningRate=1e-30", "train.validateEvery=0.5", "train.patience=3"];

    it("ends after the validations without a better one, which log and done.json tell", async () => {
      const folder = await newFolder(await recipeWith(...values));
      const told = await trainIn(folder);
      expect(told.at(-1)).toMatchObject({ kind: "end", steps: 8, waited: 3, best: { step: 2 } });
      expect(told.filter(({ kind }) => kind === "validation")).toHaveLength(4);
      expect(told.at(-2)).toEqual({ kind: "checkpoint", step: 8 });
      expect(JSON.parse(readFileSync(folder.done, "utf8"))).toMatchObject({
        steps: 8,
        best: { step: 2 },
        stoppedEarly: { totalSteps: 24, waited: 3 },
      });
      expect((await readLog(folder)).at(-1)).toMatchObject({ kind: "validation", step: 8, isBest: false });
      const late = await newFolder(await recipeWith(...values.slice(0, 3), "train.epochs=2", "train.patience=4"));
      expect((await trainIn(late)).at(-1)).toMatchObject({ steps: 8, waited: 0 });
      expect(JSON.parse(readFileSync(late.done, "utf8"))).not.toHaveProperty("stoppedEarly");
    });

    it("ends at the same step wherever it was stopped, also by a crash before the end was written", async () => {
      const once = await newFolder(await recipeWith(...values));
      await trainIn(once);
      const limping = await newFolder(await recipeWith(...values));
      for (const stopAfter of [1, 4, 7]) await trainIn(limping, { stopAfter });
      await trainIn(limping);
      const crashed = await newFolder(await recipeWith(...values));
      const crash = (event: RunEvent) => {
        if (event.kind === "checkpoint" && event.step === 8) throw new Error("crash");
      };
      await expect(trainIn(crashed, { onEvent: crash })).rejects.toThrow("crash");
      expect(existsSync(crashed.done)).toBe(false);
      const resumed = await trainIn(crashed);
      expect(resumed.map(({ kind }) => kind)).toEqual(["start", "end"]);
      expect(resumed.at(-1)).toMatchObject({ steps: 8, waited: 3 });
      for (const folder of [limping, crashed]) {
        expect(await logOf(folder)).toEqual(await logOf(once));
        expect(weightsOf(folder).equals(weightsOf(once))).toBe(true);
      }
    });
  });

  it("gives settings that change nothing the digest of runs that do not have them", async () => {
    const folder = await newFolder(await recipeWith("train.epochs=0.25"));
    await trainIn(folder);
    const state = await openSafetensors(folder.state);
    await state.close();
    // Of version 0.1.0.
    expect(state.metadata.recipe).toBe("d8b64df7d7e0fee8b39a7d8f3461c188fc267d90e6f3df086a799c8b346656a0");
  });

  it("refuses to resume when recipe, rows or state were changed", async () => {
    const folder = await newFolder(recipe);
    await trainIn(folder, { stopAfter: 3 });
    const text = readFileSync(folder.recipe, "utf8");
    const refusal = async (change: (text: string) => string) => {
      writeFileSync(folder.recipe, change(text));
      const error = await trainIn(folder).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(UserError);
      return error.message;
    };
    expect(await refusal((yaml) => yaml.replace("learningRate: 0.01", "learningRate: 0.02"))).toContain(
      "state.safetensors: was saved with other settings in recipe.yaml",
    );
    expect(await refusal((yaml) => yaml.replace("width: 16", "width: 32"))).toContain("other settings in recipe.yaml");
    writeFileSync(folder.recipe, text.replace("checkpointSeconds: 1000000", "checkpointSeconds: 5"));
    await expect(trainIn(folder, { train: toyRows(16, 9) })).rejects.toThrow("other training or validation rows");
    expect((await trainIn(folder)).at(-1)?.kind).toBe("end");
    rmSync(folder.done);
    rmSync(previousState(folder.state));
    writeFileSync(folder.state, readFileSync(folder.state).subarray(0, 5000));
    await expect(trainIn(folder)).rejects.toThrow(/state.safetensors: .*(bytes)/);
    cpSync(join(folder.model, "model.safetensors"), folder.state);
    await expect(trainIn(folder)).rejects.toThrow("is not the state of a training");
  });

  it("says what a folder is not", async () => {
    await expect(createRunFolder(whole.directory, recipe)).rejects.toThrow("already holds a run");
    await expect(openRunFolder(join(temporary.path, "none"))).rejects.toThrow("is not a run folder");
    const begun = await newFolder(recipe);
    await expect(openTrained(begun.directory)).rejects.toThrow("training has not finished");
  });

  it("reads prompts in both directions, in training as in extraction, and ends with the same numbers when resumed", async () => {
    // An answer sees its whole prompt anyway: what the prompt's tokens see shows from the second layer on.
    const causal = await newFolder(await recipeWith("model.init.layers=2"));
    await trainIn(causal, { stopAfter: 1 });
    const both = await recipeWith("model.init.layers=2", "prompt.attention=both", "train.recompute=true");
    const [once, limping] = [await newFolder(both), await newFolder(both)];
    let inMemory: number[][] = [];
    const answersOf = async ({ extractor }: Pick<OpenedRecipe, "extractor">) =>
      (await extractor.extract(toyRows(4, 4))).map(({ modelProbabilities }) => [...modelProbabilities]);
    const atEnd = async (bench: OpenedRecipe) => {
      inMemory = await answersOf(bench);
    };
    await trainIn(once, { atEnd });
    for (let stopAfter = 1; stopAfter <= 8; stopAfter++) await trainIn(limping, { stopAfter });
    expect(await logOf(limping)).toEqual(await logOf(once));
    expect(weightsOf(limping).equals(weightsOf(once))).toBe(true);
    const [own, other] = [(await logOf(once))[0], (await logOf(causal))[0]] as { loss: number }[];
    expect(own.loss).not.toBe(other.loss);
    const run = await openTrained(once.directory);
    expect(run.model.spec.promptAttention).toBe("both");
    const reloaded = await answersOf(run);
    run.model.spec.promptAttention = "causal";
    const misread = await answersOf(run);
    await run.close();
    expect(reloaded).toEqual(inMemory);
    expect(misread).not.toEqual(inMemory);
  });

  it("trains an adapter on a trained model: the loss falls, and the saved adapter answers the same", async () => {
    const base = await newFolder(
      await recipeWith("train.epochs=10", "train.learningRate=0.02", "train.validateEvery=0"),
    );
    await trainIn(base);
    const folder = await newFolder(
      await recipeWith(
        `model={path: ${base.model}, storage: bfloat16}`,
        "adapter={method: lora, rank: 4, alpha: 8, dropout: 0.05, targets: all}",
        "train.epochs=4",
        "train.learningRate=0.05",
        "decode.bothDirections=true",
      ),
    );
    const answersOf = async ({ extractor }: OpenedRecipe) =>
      (await extractor.extract(toyRows(12, 4))).map(({ modelProbabilities }) => [...modelProbabilities]);
    let inMemory: number[][] = [];
    const events = [
      ...(await trainIn(folder, { stopAfter: 5 })),
      ...(await trainIn(folder, {
        atEnd: async (bench) => {
          inMemory = await answersOf(bench);
        },
      })),
    ];
    const losses = events.flatMap((event) => (event.kind === "step" ? [event.loss] : []));
    expect(losses.length).toBe(16);
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    expect(mean(losses.slice(-4))).toBeLessThan(0.9 * mean(losses.slice(0, 4)));
    const run = await openTrained(folder.directory);
    const reloaded = await answersOf(run);
    await run.close();
    expect(reloaded).toEqual(inMemory);
    expect(JSON.parse(readFileSync(join(folder.directory, "adapter_config.json"), "utf8"))).toMatchObject({ r: 4 });
  });

  it("learns three examples by heart and writes their answers by itself", async () => {
    const folder = await newFolder(
      await recipeWith("train.epochs=90", "train.learningRate=0.03", "train.validateEvery=0", "decode.method=generate"),
    );
    const three = toyRows(3, 1);
    await trainIn(folder, { train: three });
    const run = await openTrained(folder.directory);
    const extractions = await run.extractor.extract(three);
    await run.close();
    for (const [i, { generated, predictions }] of extractions.entries()) {
      const [relation] = three[i].relations;
      expect(generated).toEqual({ text: relation, unparsed: null, unknownLabels: [], ended: true });
      expect(predictions.map((prediction) => prediction.relation)).toEqual([relation]);
      expect(predictions[0].probability).toBeGreaterThan(0.8);
    }
  });
});

describe("encodeExamples", () => {
  it("joins several relations into one answer, or gives each its own row", async () => {
    const several: Example = { ...toyRows(1, 1)[0], relations: ["收购", "合作", "收购"] };
    const rowsOf = async (severalRelations: string) => {
      const recipe = await recipeWith(`train.severalRelations=${severalRelations}`);
      const bench = await openForTraining(recipe, (await openDataset(data)).labels);
      const { encoded, truncated } = encodeExamples(bench, [several]);
      await bench.close();
      expect(truncated).toBe(0);
      return encoded.map(({ answerIds }) => bench.tokenizer.decode(Array.from(answerIds)));
    };
    expect(await rowsOf("joined")).toEqual(["收购,合作,收购"]);
    expect(await rowsOf("separate")).toEqual(["收购", "合作"]);
  });
});
