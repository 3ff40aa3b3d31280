import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { worstOf } from "../../test/golden/backends.ts";
import { lossAndGradients, packed } from "../../test/golden/loss-and-gradients.ts";
import { TINY_FAMILIES } from "../../test/tiny-families.ts";
import { randomIds, sequenceLogits, TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { labelProbabilities } from "../decode/choose-label.ts";
import { generate } from "../decode/generate.ts";
import { buildLabelTrie } from "../decode/label-trie.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { createCache, type Decoder, forward, freeCache, freeDecoder } from "../models/decoder.ts";
import { hashName } from "../models/init.ts";
import { loadDecoder } from "../models/load.ts";
import { prefixWeights } from "../models/prefix.ts";
import { saveDecoder } from "../models/save.ts";
import { weightsOf } from "./method.ts";
import { attachAdapter } from "./methods.ts";
import { attachPrefix, detachPrefix, loadPrefix, prefix, savePrefix } from "./prefix.ts";

const root = mkdtempSync(join(tmpdir(), "cre-prefix-"));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;
const newFolder = () => join(root, String(count++));

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float64" });
});
afterEach(() => backend.close());

const settingsOf = (values: object = {}) => prefix.schema.parse({ method: "prefix", virtualTokens: 4, ...values });
const FORMS = [
  { name: "trained itself", settings: settingsOf() },
  { name: "from an encoder", settings: settingsOf({ encoderWidth: 5 }) },
];
const IDS = randomIds(createRandom(1), 9);
const V = TINY_SPEC.vocabularySize;

const familyModel = (name: string) =>
  tinyDecoder(backend, { seed: 5, spec: { ...TINY_FAMILIES[name], layers: 2 }, deviation: 0.25 });

const logitsOf = (model: Decoder) => sequenceLogits(model, IDS);

async function expectSame(got: Promise<ArrayLike<number>>, wanted: ArrayLike<number>, tolerance: number) {
  expect(worstOf(await got, wanted)).toSatisfy(({ difference }) => difference < tolerance);
}

/** Gives the prefix weights that do something. */
function fill(model: Decoder): void {
  const random = createRandom(3);
  for (const weight of prefixWeights(model.prefix!)) {
    const length = weight.rows * weight.columns;
    backend.writeWeight(
      weight,
      Float64Array.from({ length }, () => 0.7 * random.normal()),
    );
  }
}

describe.each(Object.keys(TINY_FAMILIES))("a prefix before %s", (name) => {
  it("with the keys and values of real tokens is those tokens", async () => {
    const model = await familyModel(name);
    const before = randomIds(createRandom(2), 4);
    const whole = await sequenceLogits(model, [...before, ...IDS]);
    const trie = buildLabelTrie(
      [
        [5, 6, 2],
        [5, 7, 8, 2],
        [5, 7, 4, 2],
        [9, 2],
      ].map((ids, label) => ({ label: String(label), ids })),
    );
    const [wanted] = await labelProbabilities(model, [{ promptIds: [...before, ...IDS], trie }]);
    const continued = await generate(model, [[...before, ...IDS]], { maxNewTokens: 5, eosId: null });
    const cache = createCache(model, before.length);
    const tape = createTape(backend, { record: false });
    forward(model, tape, {
      ids: Int32Array.from(before),
      segments: [{ start: 0, length: 4, keyStart: 0, position: 0, context: [] }],
      cache: { store: cache, rows: Int32Array.of(0, 1, 2, 3) },
    });
    tape.dispose();
    await attachPrefix(model, settingsOf(), 1);
    for (const [index, { k, v }] of model.prefix!.layers.entries()) {
      backend.writeWeight(k.weight, await backend.read(cache.layers[index].k));
      backend.writeWeight(v.weight, await backend.read(cache.layers[index].v));
    }
    freeCache(model, cache);
    await expectSame(logitsOf(model), Array.from(whole).slice(before.length * V), 1e-10);
    const questions = [IDS, IDS.slice(2), IDS].map((promptIds) => ({ promptIds, trie }));
    const got = await labelProbabilities(model, questions);
    for (const place of [0, 2]) expect(worstOf(got[place], wanted).difference).toBeLessThan(1e-10);
    expect(await generate(model, [IDS], { maxNewTokens: 5, eosId: null })).toEqual(continued);
  });

  it("begins as random tokens", async () => {
    const model = await familyModel(name);
    const random = createRandom(mixSeed(7, hashName("prefix")));
    const before = Array.from({ length: 4 }, () => random.below(model.spec.tokenCount));
    const whole = Array.from(await sequenceLogits(model, [...before, ...IDS]));
    await attachPrefix(model, settingsOf(), 7);
    await expectSame(logitsOf(model), whole.slice(4 * V), 1e-10);
  });

  it.each(FORMS)("has the gradients of finite differences: $name", async ({ settings }) => {
    const model = await familyModel(name);
    await attachPrefix(model, settings, 1);
    fill(model);
    const weights = prefixWeights(model.prefix!);
    // Two sequences behind one prefix, and a third that shares the beginning of the first.
    const batch = packed({ sequences: [IDS, IDS.slice(4)], promptTokens: [2, 1] });
    const shared = { start: 0, length: 3, position: 0 };
    batch.tokens.ids = Int32Array.from([...batch.tokens.ids, 7, 8]);
    batch.tokens.segments = [
      ...batch.tokens.segments,
      { start: 14, length: 2, keyStart: 14, position: 3, context: [shared] },
    ];
    batch.rows.push(15);
    batch.targets.push(9);
    backend.zeroGradients(weights);
    await lossAndGradients(model, batch);
    const gradients = await Promise.all(weights.map((weight) => backend.readWeight(weight, "gradient")));
    const random = createRandom(9);
    for (const [w, weight] of weights.entries()) {
      const values = Float64Array.from(await backend.readWeight(weight));
      const i = random.below(values.length);
      const at = async (change: number) => {
        backend.writeWeight(weight, values.with(i, values[i] + change));
        return lossAndGradients(model, batch);
      };
      const difference = ((await at(1e-4)) - (await at(-1e-4))) / 2e-4;
      backend.writeWeight(weight, values);
      expect(Math.abs(gradients[w][i] - difference), weight.name).toBeLessThan(1e-6 + 1e-4 * Math.abs(difference));
    }
  });
});

describe.each(FORMS)("a prefix $name", ({ settings }) => {
  it("generates with its cache what passes over the whole sequence give", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    await attachPrefix(model, settings, 1);
    fill(model);
    const [{ ids }] = await generate(model, [IDS], { maxNewTokens: 6, eosId: null });
    const greedy = [...IDS];
    for (let i = 0; i < 6; i++) {
      const last = Array.from(await sequenceLogits(model, greedy)).slice(-V);
      greedy.push(last.indexOf(Math.max(...last)));
    }
    expect(ids).toEqual(greedy.slice(IDS.length));
  });

  it("draws its weights by the seed, counts them, and leaves nothing behind", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const [before, base] = [backend.memory(), await logitsOf(model)];
    const groups = await attachAdapter(model, settings, 7);
    const weights = weightsOf(groups);
    expect(weights).toEqual(prefixWeights(model.prefix!));
    const added = weights.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
    expect(added).toBe(prefix.addedNumbers(settings, model.spec));
    const first = await logitsOf(model);
    expect(worstOf(first, base).difference).toBeGreaterThan(1e-4);
    await expect(attachPrefix(model, settings, 7)).rejects.toThrow("The model already has a prefix.");
    detachPrefix(model);
    expect(await logitsOf(model)).toEqual(base);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: before.weights, bytes: before.bytes });
    await attachPrefix(model, settings, 7);
    expect(await logitsOf(model)).toEqual(first);
    detachPrefix(model);
    await attachPrefix(model, settings, 8);
    expect(await logitsOf(model)).not.toEqual(first);
    await expect(saveDecoder(model, newFolder(), { dtype: "F32" })).rejects.toThrow("merge or detach it first");
    freeDecoder(model);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: 0, bytes: 0 });
  });

  it("is saved as keys and values, and gives the same outputs from its folder, frozen", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    await attachPrefix(model, settings, 7);
    fill(model);
    const folder = newFolder();
    await savePrefix(model, folder, "base");
    const other = await tinyDecoder(backend, { seed: 1 });
    await loadPrefix(other, folder);
    await expectSame(logitsOf(other), await logitsOf(model), 1e-5);
    expect(prefixWeights(other.prefix!).every(({ trainable }) => !trainable)).toBe(true);
    // What was loaded is saved again without a change.
    const again = newFolder();
    await savePrefix(other, again, "base");
    const third = await tinyDecoder(backend, { seed: 1 });
    await loadPrefix(third, again, { trainable: true });
    expect(await logitsOf(third)).toEqual(await logitsOf(other));
    expect(prefixWeights(third.prefix!).every(({ trainable }) => trainable)).toBe(true);
  });
});

describe("files", () => {
  it("turn the keys for a base in halves", async () => {
    const interleaved = { ...TINY_SPEC.positions, layout: "interleaved" } as typeof TINY_SPEC.positions;
    const model = await tinyDecoder(backend, { seed: 1, spec: { positions: interleaved } });
    const [base, adapter, turned] = [newFolder(), newFolder(), newFolder()];
    await saveDecoder(model, base, { dtype: "F32" });
    await attachPrefix(model, settingsOf(), 7);
    fill(model);
    const adapted = await logitsOf(model);
    await savePrefix(model, adapter, null);
    await prefix.saved.saveInHalves(adapter, turned);
    const checkpoint = await openCheckpoint(base);
    const inHalves = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
    await checkpoint.source.close();
    await loadPrefix(inHalves, turned);
    await expectSame(logitsOf(inHalves), adapted, 1e-5);
    detachPrefix(inHalves);
    await loadPrefix(inHalves, adapter);
    expect(worstOf(await logitsOf(inHalves), adapted).difference).toBeGreaterThan(0.01);
  });

  it("of another model are refused with all differences, and leave it as it is", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    await attachPrefix(model, settingsOf(), 7);
    const folder = newFolder();
    await savePrefix(model, folder, null);
    const other = await tinyDecoder(backend, { seed: 1, spec: { layers: 3, keyValueHeads: 4 } });
    const before = backend.memory().weights;
    await expect(loadPrefix(other, folder)).rejects.toThrow(
      `${folder}: the adapter does not fit the model:\n` +
        '  - "num_layers" is 2, expected 3 as the model has\n' +
        '  - "num_attention_heads" is 2, expected 4 as the model has\n' +
        '  - "token_dim" is 8, expected 16 as the model has',
    );
    expect([other.prefix, backend.memory().weights]).toEqual([null, before]);
  });

  it("leave no half prefix when there is no memory", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const before = backend.memory();
    const { weight } = backend;
    let made = 0;
    backend.weight = (spec, values) => {
      if (++made === 3) throw new Error("no memory");
      return weight.call(backend, spec, values);
    };
    await expect(attachPrefix(model, settingsOf(), 7)).rejects.toThrow("no memory");
    expect(model.prefix).toBeNull();
    expect(backend.memory()).toMatchObject({ weights: before.weights, bytes: before.bytes });
  });

  it("have no merged form", () => {
    const because = "adds keys and values in front of the text, which no weight of a plain model can hold";
    expect([prefix.saved.merge, prefix.saved.ggufAdapter]).toEqual([{ because }, { because }]);
  });
});
