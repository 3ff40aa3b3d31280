import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { TOKENIZER, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { worstOf } from "../../test/golden/backends.ts";
import { randomIds, sequenceLogits, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom } from "../base/random.ts";
import { nativeStatus } from "../compute/native/open.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openDataset } from "../data/dataset.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import { exportRun } from "../export/run.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { loadDecoder } from "../models/load.ts";
import { saveDecoder } from "../models/save.ts";
import { readRecipe } from "../recipe/read.ts";
import { copyTokenizer, openTokenizer } from "../tokenizers/open-tokenizer.ts";
import { openForTraining, openTrained, saveLabels } from "./open.ts";
import { createRunFolder, type RunFolder, readLog } from "./run-folder.ts";
import { type RunEvent, trainRun } from "./train-run.ts";

// Every method with an adapter as whole runs: trained, stopped and resumed, evaluated, opened again, exported.

const native = nativeStatus();
if (!native.available) console.warn(`methods are not resumed on the native backend: ${native.reason}`);

const temporary = temporaryFolder("methods");
const path = (name: string) => join(temporary.path, name);
const data = writeToyData(path("data"));
const IDS = randomIds(createRandom(5), 12);

const METHODS = [
  {
    name: "rsLoRA and LoRA+ with noise on embeddings and rates by layer",
    adapter: "{method: lora, rank: 4, alpha: 4, dropout: 0.1, targets: all, scaling: rslora, learningRateRatio: 4}",
    more: ["train.embeddingNoise=5", "train.layerDecay=0.7"],
    exports: ["peft", "merged", "gguf", "gguf-lora"],
  },
  {
    name: "dora",
    adapter: "{method: dora, rank: 4, alpha: 8, dropout: 0.05, targets: all, learningRateRatio: 2}",
    more: ["train.averageFrom=0.5", "model.storage=nf4"],
    exports: ["peft", "merged", "gguf"],
  },
  { name: "prefix", adapter: "{method: prefix, virtualTokens: 5}", more: ["model.storage=int8"], exports: ["peft"] },
  {
    name: "prefix from an encoder",
    adapter: "{method: prefix, virtualTokens: 5, encoderWidth: 8}",
    more: ["train.recompute=true"],
    exports: ["peft"],
  },
] as const;

vi.stubEnv("CRE_BACKEND", "reference");
beforeAll(async () => {
  const backend = openReference();
  const { vocabularySize } = await openTokenizer(TOKENIZER);
  const spec = { vocabularySize, maxTokens: 256 };
  await saveDecoder(await tinyDecoder(backend, { seed: 1, spec, deviation: 0.15 }), path("base"), { dtype: "F32" });
  await copyTokenizer(TOKENIZER, path("base"));
  await backend.close();
});
afterAll(() => temporary.remove());

let count = 0;

async function newRun({ adapter, more }: (typeof METHODS)[number]): Promise<RunFolder> {
  const file = writeRecipe(path("recipe.yaml"), {
    ...toyRecipe(data),
    model: { path: path("base"), storage: "float32" },
  });
  const values = ["train.epochs=2", "train.learningRate=0.03", "train.validateEvery=1", `adapter=${adapter}`, ...more];
  return createRunFolder(path(`run-${count++}`), await readRecipe(file, values));
}

/** Trains until the end, or until `stopAfter` steps were made; returns the events and the answers of the trained model. */
async function trainIn(folder: RunFolder, stopAfter?: number) {
  const dataset = await openDataset(data);
  const opened = await openForTraining(await readRecipe(folder.recipe), dataset.labels);
  const stop = new AbortController();
  const events: RunEvent[] = [];
  try {
    await saveLabels(folder, dataset.labels);
    const [train, valid] = [(await dataset.split("train")).examples, (await dataset.split("valid")).examples];
    for await (const event of trainRun(opened, folder, train, valid, { signal: stop.signal })) {
      events.push(event);
      if (event.kind === "step" && event.step === stopAfter) stop.abort();
    }
    return { events, answers: await answersOf(opened) };
  } finally {
    await opened.close();
  }
}

const answersOf = async ({ extractor }: Pick<Awaited<ReturnType<typeof openTrained>>, "extractor">) =>
  (await extractor.extract(toyRows(6, 9))).map(({ modelProbabilities, generated, predictions }) => ({
    probabilities: [...modelProbabilities],
    generated,
    predictions: predictions.map(({ relation }) => relation),
  }));

/** What no interruption may change: the log without times, and the bytes of the adapter. */
async function resultOf(folder: RunFolder) {
  const log = (await readLog(folder)).map(({ seconds: _, ...line }) => line);
  return { log, adapter: readFileSync(join(folder.directory, "adapter_model.safetensors")).toString("hex") };
}

describe.each(METHODS)("$name", (method) => {
  it("learns, ends with the same bytes wherever it is stopped, and answers the same when it is opened again", async () => {
    const whole = await newRun(method);
    const { events, answers } = await trainIn(whole);
    const losses = events.flatMap((event) => (event.kind === "step" ? [event.loss] : []));
    expect(losses).toHaveLength(8);
    expect(losses[7]).toBeLessThan(losses[0]);
    const limping = await newRun(method);
    for (const stopAfter of [1, 4, 6, 8]) await trainIn(limping, stopAfter);
    expect(await resultOf(limping)).toEqual(await resultOf(whole));
    const opened = await openTrained(whole.directory);
    const again = await answersOf(opened);
    await opened.close();
    expect(again.map(({ predictions }) => predictions)).toEqual(answers.map(({ predictions }) => predictions));
    // A prefix from an encoder is opened as the rows that it gives, rounded to float32.
    for (const [i, { probabilities }] of again.entries()) {
      expect(worstOf(probabilities, answers[i].probabilities).difference).toBeLessThan(1e-6);
    }
  });

  it("is evaluated, and exported or refused in one line", async () => {
    const folder = await newRun(method);
    await trainIn(folder);
    const run = await openTrained(folder.directory);
    const test = (await (await openDataset(data)).split("test")).examples;
    const { metrics, rows } = await evaluate(run.extractor, test, { bootstrap: null });
    expect(rows).toHaveLength(8);
    expect(metrics.conventions.micro.f1).toBeLessThanOrEqual(1);
    const logits = await sequenceLogits(run.model, IDS);
    await run.close();
    const name = run.recipe.adapter.method;
    for (const to of ["peft", "merged", "gguf", "gguf-lora"] as const) {
      const exported = exportRun(folder.directory, { to });
      if (!(method.exports as readonly string[]).includes(to)) {
        const message = `${folder.directory}: cannot be exported to ${to}: adapter.method "${name}" `;
        await expect(exported).rejects.toThrow(message);
        await expect(exported).rejects.not.toThrow("\n");
        continue;
      }
      const output = await exported;
      if (to !== "merged" || run.recipe.model.storage !== "float32") continue;
      const checkpoint = await openCheckpoint(output);
      const backend = openReference();
      const merged = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
      await checkpoint.source.close();
      expect(worstOf(await sequenceLogits(merged, IDS), logits).difference).toBeLessThan(1e-4);
      await backend.close();
    }
  });

  it.skipIf(!native.available)("ends with the same bytes on the native backend too", async () => {
    vi.stubEnv("CRE_BACKEND", "native");
    try {
      const [once, limping] = [await newRun(method), await newRun(method)];
      await trainIn(once);
      for (const stopAfter of [3, 8]) await trainIn(limping, stopAfter);
      expect(await resultOf(limping)).toEqual(await resultOf(once));
    } finally {
      vi.stubEnv("CRE_BACKEND", "reference");
    }
  });
});
