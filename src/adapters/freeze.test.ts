import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { TOKENIZER, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { tinyFamily } from "../../test/tiny-families.ts";
import { TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { exportRun } from "../export/run.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { decoderWeights } from "../models/decoder.ts";
import { initDecoder } from "../models/init.ts";
import { saveDecoder } from "../models/save.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { readRecipeParts } from "../recipe/read.ts";
import { openPrepared, openTrained, saveLabels } from "../runs/open.ts";
import { prepareTraining } from "../runs/prepare.ts";
import { createRunFolder } from "../runs/run-folder.ts";
import { trainRun } from "../runs/train-run.ts";
import { copyTokenizer, openTokenizer } from "../tokenizers/open-tokenizer.ts";
import { freeze } from "./freeze.ts";
import { weightsOf } from "./method.ts";
import { adapterSchema, attachAdapter } from "./methods.ts";

const temporary = temporaryFolder("freeze");
afterAll(() => temporary.remove());

let backend: Backend;
beforeEach(() => {
  vi.stubEnv("CRE_BACKEND", "reference");
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

/** A recipe's settings with the defaults of those that are not given. */
function settingsOf(given: object) {
  const settings = adapterSchema.parse({ method: "freeze", ...given });
  if (settings.method !== "freeze") throw new Error(settings.method);
  return settings;
}

/** Names of the weights that are trained with these settings, without the path to their layer. */
async function trainedNames(spec: DecoderSpec, given: object): Promise<string[]> {
  const settings = settingsOf(given);
  const trainable = freeze.trainsOfBase(settings, spec);
  const model = await initDecoder(backend, spec, 1, { storage: "float32", trainable });
  const trained = weightsOf(await attachAdapter(model, settings, 1));
  expect(trained).toEqual(decoderWeights(model).filter((weight) => weight.trainable));
  return trained.map(({ name }) => name.replace(/^.*layers\./, "").replace(".weight", ""));
}

const MLP = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
const inLayers = (layers: number[], names: string[]) =>
  layers.flatMap((layer) => names.map((name) => `${layer}.${name}`));

describe("the trained weights", () => {
  // Twelve layers: layer 1 must not be taken for 10 and 11.
  const spec = { ...TINY_SPEC, layers: 12 };

  it("are the feed-forward layers of the last three layers by default", async () => {
    expect(settingsOf({})).toEqual({ method: "freeze", layers: 3, modules: ["mlp"] });
    expect(await trainedNames(spec, {})).toEqual(inLayers([9, 10, 11], MLP));
  });

  it("are of the first layers when negative", async () => {
    expect(await trainedNames(spec, { layers: -2 })).toEqual(inLayers([0, 1], MLP));
  });

  it("are those of the named modules: a block, a module, its last part, or all", async () => {
    expect(await trainedNames(spec, { layers: 1, modules: ["self_attn"] })).toEqual(
      inLayers([11], ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]),
    );
    expect(await trainedNames(spec, { layers: 1, modules: ["mlp.down_proj", "q_proj", "input_layernorm"] })).toEqual(
      inLayers([11], ["input_layernorm", "self_attn.q_proj", "mlp.down_proj"]),
    );
    expect(await trainedNames(spec, { layers: -1, modules: "all" })).toHaveLength(9);
  });

  it("are whole matrices and biases where a family keeps several products as one", async () => {
    const { spec: chatglm } = await tinyFamily(backend, "chatglm2", { seed: 1 });
    const names = await trainedNames(
      { ...chatglm, queryKeyValueBias: true },
      { layers: 1, modules: ["self_attention"] },
    );
    const own = (part: string) => `${chatglm.layers - 1}.self_attention.${part}`;
    expect(names.sort()).toEqual(
      [
        ...["q", "k", "v"].flatMap((slot) => [own(`query_key_value:${slot}`), own(`query_key_value.bias:${slot}`)]),
        own("dense"),
      ].sort(),
    );
  });
});

describe("the settings", () => {
  it("are checked against the model, all problems together", () => {
    expect(freeze.problems(settingsOf({ layers: -9, modules: ["mpl", "mlp", "W_pack"] }), TINY_SPEC)).toEqual([
      "adapter.layers is -9, expected at most the 2 layers of the model",
      'adapter.modules: "mpl" is not a module of a llama model, did you mean "mlp"?',
      expect.stringMatching(
        /^adapter.modules: "W_pack" is not a module of a llama model, expected .*mlp, .* or "all"$/,
      ),
    ]);
    expect(freeze.problems(settingsOf({ layers: 2 }), TINY_SPEC)).toEqual([]);
    expect(() => settingsOf({ layers: 0 })).toThrow("0 layers would train nothing");
  });
});

describe("a run", () => {
  it("changes the chosen weights only; it is saved whole, extracts and exports as it was trained", async () => {
    const path = (name: string) => join(temporary.path, name);
    const { vocabularySize } = await openTokenizer(TOKENIZER);
    const spec = { vocabularySize, maxTokens: 256 };
    await saveDecoder(await tinyDecoder(backend, { seed: 1, spec, deviation: 0.2 }), path("base"), { dtype: "F32" });
    await copyTokenizer(TOKENIZER, path("base"));
    const data = writeToyData(path("data"));
    const recipe = {
      ...toyRecipe(data),
      model: { path: path("base"), storage: "float32" },
      adapter: { method: "freeze", layers: 1, modules: ["mlp", "post_attention_layernorm"] },
    };
    const prepared = await prepareTraining(await readRecipeParts({ file: writeRecipe(path("recipe.yaml"), recipe) }));
    const opened = await openPrepared(prepared);
    const folder = await createRunFolder(path("run"), opened.recipe);
    await saveLabels(folder, prepared.dataset.labels);
    const [train, valid] = await Promise.all(["train", "valid"].map((name) => prepared.dataset.split(name as "train")));
    const losses: number[] = [];
    for await (const event of trainRun(opened, folder, train.examples, valid.examples)) {
      if (event.kind === "step") losses.push(event.loss);
    }
    expect(losses.at(-1)).toBeLessThan(losses[0]);
    const answers = async ({ extractor }: Pick<typeof opened, "extractor">) =>
      (await extractor.extract(toyRows(4, 9))).map(({ modelProbabilities }) => [...modelProbabilities]);
    const before = await answers(opened);
    await opened.close();
    expect(parse(readFileSync(folder.recipe, "utf8")).adapter).toEqual(recipe.adapter);

    const [start, end] = await Promise.all([path("base"), folder.model].map(openCheckpoint));
    for (const name of start.source.tensors.keys()) {
      const isTrained = /layers\.1\.(mlp|post_attention)/.test(name);
      const isSame = Buffer.from((await start.source.read(name)).buffer).equals(
        Buffer.from((await end.source.read(name)).buffer),
      );
      expect(isSame, name).toBe(!isTrained);
    }
    await Promise.all([start, end].map(({ source }) => source.close()));

    const run = await openTrained(path("run"));
    expect(await answers(run)).toEqual(before);
    await run.close();
    await exportRun(path("run"), { to: "merged" });
    const merged = await openCheckpoint(join(path("run"), "export", "merged"));
    await merged.source.close();
    expect(merged.config.num_hidden_layers).toBe(2);
    await expect(exportRun(path("run"), { to: "peft" })).rejects.toThrow(
      'cannot be exported to peft: adapter.method "freeze" saves a whole model, there is no adapter',
    );
  });
});
