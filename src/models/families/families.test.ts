import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { TESTED_BACKENDS, worstOf } from "../../../test/golden/backends.ts";
import { naiveLogits, naiveSlopes } from "../../../test/naive-decoder.ts";
import { randomIds, sequenceLogits, tinyDecoder } from "../../../test/tiny-model.ts";
import { createRandom } from "../../base/random.ts";
import type { Backend } from "../../compute/backend.ts";
import { openReference } from "../../compute/reference/backend.ts";
import { generate } from "../../decode/generate.ts";
import { openCheckpoint } from "../checkpoint.ts";
import { alibiSlopes, type Decoder, decoderWeights } from "../decoder.ts";
import { loadDecoder } from "../load.ts";
import { saveDecoder } from "../save.ts";
import { specFromSizes } from "../sizes.ts";
import type { DecoderSpec } from "../spec.ts";
import { TINY_MODELS } from "../tiny.ts";
import { familyNamed, readSpec } from "./registry.ts";

const NAMES = Object.keys(TINY_MODELS);
const IDS = randomIds(createRandom(3), 6);
const FROZEN = { storage: "float32", trainable: false } as const;

const root = mkdtempSync(join(tmpdir(), "cre-families-"));
afterAll(() => rmSync(root, { recursive: true }));

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

/** A fourth of the tiny model's width, so that the naive computation is quick. */
function smallSpec(name: string): DecoderSpec {
  const model = TINY_MODELS[name];
  const headWidth = (model.headWidth ?? 16) / 4;
  const sizes = { ...model, width: model.width / 4, headWidth, feedForward: 20, maxTokens: 64 };
  const tokenizer = { vocabularySize: 40, bosId: name === "chatglm2" ? null : 1, eosId: 2 };
  return specFromSizes({ ...sizes, vocabularyMultiple: name === "chatglm2" ? 24 : 1 }, tokenizer, name);
}

const smallModel = (name: string, on = backend) => tinyDecoder(on, { seed: 7, spec: smallSpec(name), deviation: 0.4 });

async function load(directory: string, on = backend): Promise<Decoder> {
  const checkpoint = await openCheckpoint(directory);
  try {
    return await loadDecoder(on, checkpoint, FROZEN);
  } finally {
    await checkpoint.source.close();
  }
}

async function tensorsOf(directory: string): Promise<Record<string, Float32Array>> {
  const { source } = await openCheckpoint(directory);
  try {
    const entries = [...source.tensors.keys()].map(async (name) => [name, await source.read(name)]);
    return Object.fromEntries(await Promise.all(entries));
  } finally {
    await source.close();
  }
}

describe.each(NAMES)("%s", (name) => {
  const directory = join(root, name);

  it.each(TESTED_BACKENDS.filter(({ exact }) => exact))(
    "gives the logits of the formulas on $name",
    async ({ open }) => {
      const other = open();
      try {
        const raw = await smallModel(name);
        await saveDecoder(raw, directory, { dtype: "F32" });
        const loaded = await load(directory, other);
        const wanted = (await naiveLogits(raw, IDS, raw.spec.normalizedHead)).flat();
        const { difference } = worstOf(await sequenceLogits(loaded, IDS), wanted);
        expect(difference).toBeLessThan(2e-5 * Math.max(...wanted.map(Math.abs)));
      } finally {
        await other.close();
      }
    },
  );

  it("is saved as it was loaded", async () => {
    await saveDecoder(await smallModel(name), directory, { dtype: "F32" });
    const loaded = await load(directory);
    const again = join(root, `${name}-again`);
    await saveDecoder(loaded, again, { dtype: "F32" });
    const [first, second] = [await tensorsOf(directory), await tensorsOf(again)];
    expect(Object.keys(second)).toEqual(Object.keys(first));
    const { head } = familyNamed(loaded.spec.family, "x").names;
    for (const [tensor, values] of Object.entries(first)) {
      if (loaded.spec.normalizedHead && tensor === head) {
        for (let i = 0; i < 16; i++) expect(second[tensor][i]).not.toBe(values[i]);
      } else expect(second[tensor]).toEqual(values);
    }
    const config = readFileSync(join(again, "config.json"), "utf8");
    expect(config).toBe(readFileSync(join(directory, "config.json"), "utf8"));
    expect(
      worstOf(await sequenceLogits(await load(again), IDS), await sequenceLogits(loaded, IDS)).difference,
    ).toBeLessThan(1e-5);
  });

  it("comes back from its config.json", () => {
    const spec = smallSpec(name);
    const config = familyNamed(spec.family, "x").writeConfig(spec);
    expect(readSpec(JSON.parse(JSON.stringify(config)), "x")).toEqual({ ...spec, tokenCount: spec.vocabularySize });
  });

  it("generates from a cache what it computes whole", async () => {
    const model = await smallModel(name);
    const [{ ids }] = await generate(model, [IDS], { maxNewTokens: 4, eosId: null });
    const V = model.spec.vocabularySize;
    const logits = Array.from(await sequenceLogits(model, [...IDS, ...ids]));
    for (const [i, id] of ids.entries()) {
      const row = logits.slice((IDS.length - 1 + i) * V, (IDS.length + i) * V).slice(0, model.spec.tokenCount);
      expect(id).toBe(row.indexOf(Math.max(...row)));
    }
  });

  it("trains everything but an output layer that counts as normalised", async () => {
    await saveDecoder(await smallModel(name), directory, { dtype: "F32" });
    const checkpoint = await openCheckpoint(directory);
    const model = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: true });
    await checkpoint.source.close();
    const frozen = decoderWeights(model).filter(({ trainable }) => !trainable);
    expect(frozen).toEqual(model.spec.normalizedHead ? [model.head.weight] : []);
  });
});

describe("tensors of a layer", () => {
  it("are in one matrix where the authors have one, queries first", async () => {
    const model = await smallModel("chatglm2");
    const directory = join(root, "fused");
    await saveDecoder(model, directory, { dtype: "F32" });
    const tensors = await tensorsOf(directory);
    const lengths = Object.entries(tensors).map(([name, values]) => [
      name.replace("encoder.layers.1.", "~"),
      values.length,
    ]);
    expect(lengths.filter(([name]) => `${name}`.includes("~"))).toEqual([
      ["transformer.~input_layernorm.weight", 16],
      ["transformer.~self_attention.query_key_value.weight", (16 + 8 + 8) * 16],
      ["transformer.~self_attention.query_key_value.bias", 32],
      ["transformer.~self_attention.dense.weight", 16 * 16],
      ["transformer.~post_attention_layernorm.weight", 16],
      ["transformer.~mlp.dense_h_to_4h.weight", 2 * 20 * 16],
      ["transformer.~mlp.dense_4h_to_h.weight", 16 * 20],
    ]);
    const layer = model.layers[0];
    const rows = async (...parts: (typeof layer.q.weight | null)[]) =>
      (await Promise.all(parts.map(async (part) => (part ? Array.from(await backend.readWeight(part)) : [])))).flat();
    const saved = (name: string) => Array.from(tensors[`transformer.encoder.layers.0.${name}`]);
    const { q, k, v, gate, up } = layer;
    expect(saved("self_attention.query_key_value.weight")).toEqual(await rows(q.weight, k.weight, v.weight));
    expect(saved("self_attention.query_key_value.bias")).toEqual(await rows(q.bias, k.bias, v.bias));
    expect(saved("mlp.dense_h_to_4h.weight")).toEqual(await rows(gate.weight, up.weight));
  });

  it("of Baichuan2 and of Qwen have the authors' names", async () => {
    const namesOf = async (name: string) => {
      const directory = join(root, `names-${name}`);
      await saveDecoder(await smallModel(name), directory, { dtype: "F32" });
      return Object.keys(await tensorsOf(directory)).filter((tensor) => tensor.includes("layers.0.self_attn."));
    };
    const full = (names: string[]) => names.map((tensor) => `model.layers.0.self_attn.${tensor}`);
    expect(await namesOf("baichuan2-7b")).toEqual(full(["W_pack.weight", "o_proj.weight"]));
    expect(await namesOf("qwen2")).toEqual(
      full([
        "q_proj.weight",
        "q_proj.bias",
        "k_proj.weight",
        "k_proj.bias",
        "v_proj.weight",
        "v_proj.bias",
        "o_proj.weight",
      ]),
    );
    expect(await namesOf("qwen3")).toEqual(
      full(["q_proj.weight", "k_proj.weight", "v_proj.weight", "q_norm.weight", "k_norm.weight", "o_proj.weight"]),
    );
  });
});

describe("ALiBi slopes", () => {
  it.each([1, 2, 3, 5, 8, 12, 16, 32, 40, 71])("of %i heads are those of the authors' code", (heads) => {
    const wanted = naiveSlopes(heads);
    for (const [h, slope] of alibiSlopes(heads).entries()) expect(slope).toBeCloseTo(wanted[h], 6);
  });

  it("of 40 heads continue after 32 with every second one of 64", () => {
    const slopes = alibiSlopes(40);
    expect(slopes[0]).toBeCloseTo(2 ** -0.25, 7);
    expect(slopes[31]).toBe(2 ** -8);
    expect(slopes[32]).toBeCloseTo(2 ** -0.125, 7);
    expect(slopes[39]).toBeCloseTo(2 ** -1.875, 7);
  });
});
