import { z } from "zod";
import { UserError, UserErrors } from "../base/errors.ts";
import { createRandom, mixSeed, type Random } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import type { Values, Weight } from "../compute/backend.ts";
import { type PeftPrefixConfig, readPeftPrefix, savePeftPrefix } from "../formats/peft-prefix.ts";
import { createCache, type Decoder, forward, freeCache } from "../models/decoder.ts";
import { hashName } from "../models/init.ts";
import { encodedRows, type Prefix, type PrefixRows, prefixRows, prefixWeights } from "../models/prefix.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { reorderRotaryRows } from "../models/weight-rows.ts";
import { oneGroup, startSetting, type TuningMethod } from "./method.ts";

const MOST_TOKENS = 4096;
const MOST_WIDTH = 1 << 16;

const schema = z.strictObject({
  method: z.literal("prefix").describe("What is trained: keys and values in front of every sequence, in every layer."),
  virtualTokens: z.int().min(1).max(MOST_TOKENS).default(20).describe("Length of the prefix in tokens (P)."),
  encoderWidth: z
    .int()
    .min(1)
    .max(MOST_WIDTH)
    .optional()
    .describe(
      "Hidden width of a network that the prefix comes from while it trains (reparameterisation); without it the prefix itself is trained.",
    ),
  start: startSetting,
});

type PrefixSettings = z.output<typeof schema>;

const widthOf = (spec: DecoderSpec) => spec.keyValueHeads * spec.headWidth;

/**
 * Puts a fresh prefix in front of a model. The same seed gives the same weights. Without an encoder it begins as the keys and values that the
 * model has for random tokens: real activations are a far better start than random numbers (Li & Liang 2021, 7.4). An encoder begins as
 * PyTorch's layers do, as in PEFT.
 */
export async function attachPrefix(
  model: Decoder,
  { virtualTokens: tokens, encoderWidth }: PrefixSettings,
  seed: number,
): Promise<Prefix> {
  const width = widthOf(model.spec);
  const randomOf = (name: string) => createRandom(mixSeed(seed, hashName(name)));
  if (encoderWidth === undefined) {
    const values = await activationsOf(model, tokens, randomOf("prefix"));
    let part = 0;
    return place(model, tokens, (put) => ({
      encoder: null,
      rowsOf: (name) => ({ weight: put(name, tokens, width, values[part++]), bias: null }),
    }));
  }
  return place(model, tokens, (put) => {
    const uniform = (name: string, rows: number, columns: number, inputs: number) => {
      const [random, bound] = [randomOf(name), 1 / Math.sqrt(inputs)];
      const values = Float32Array.from({ length: rows * columns }, () => (2 * random.uniform() - 1) * bound);
      return put(name, rows, columns, values);
    };
    const random = randomOf("prefix.embedding");
    const embedding = Float32Array.from({ length: tokens * width }, () => random.normal());
    const encoder = {
      embedding: put("prefix.embedding", tokens, width, embedding),
      weight: uniform("prefix.encoder.weight", encoderWidth, width, width),
      bias: uniform("prefix.encoder.bias", 1, encoderWidth, width),
    };
    const rowsOf = (name: string): PrefixRows => ({
      weight: uniform(`${name}.weight`, width, encoderWidth, encoderWidth),
      bias: uniform(`${name}.bias`, 1, width, encoderWidth),
    });
    return { encoder, rowsOf };
  });
}

/** Keys and values [P,G·D] of each layer for random tokens, in turns. */
async function activationsOf(model: Decoder, tokens: number, random: Random): Promise<Values[]> {
  const { backend, spec } = model;
  const rows = Int32Array.from({ length: tokens }, (_, row) => row);
  const ids = rows.map(() => random.below(spec.tokenCount));
  const segment = { start: 0, length: tokens, keyStart: 0, position: 0, context: [] };
  const store = createCache(model, tokens);
  const tape = createTape(backend, { record: false });
  try {
    forward(model, tape, { ids, segments: [segment], outputRows: rows.subarray(0, 1), cache: { store, rows } });
    return await Promise.all(store.layers.flatMap(({ k, v }) => [backend.read(k), backend.read(v)]));
  } finally {
    tape.dispose();
    freeCache(model, store);
  }
}

type Put = (name: string, rows: number, columns: number, values: ArrayLike<number>) => Weight;

/** Places the weights of a prefix on the model's backend; when that fails, frees those placed so far. */
function place(
  model: Decoder,
  tokens: number,
  make: (put: Put) => Pick<Prefix, "encoder"> & { rowsOf: (name: string) => PrefixRows },
  trainable = true,
): Prefix {
  const { backend } = model;
  if (model.prefix) throw new Error("The model already has a prefix.");
  // The storage follows the backend's precision, as for other adapters.
  const storage = backend.precision === "bfloat16" ? "bfloat16" : "float32";
  const placed: Weight[] = [];
  try {
    const { encoder, rowsOf } = make((name, rows, columns, values) => {
      const weight = backend.weight({ name, rows, columns, storage, trainable }, values);
      placed.push(weight);
      return weight;
    });
    const layers = model.layers.map((_, i) => ({
      k: rowsOf(`prefix.layers.${i}.key`),
      v: rowsOf(`prefix.layers.${i}.value`),
    }));
    const made = { tokens, encoder, layers };
    model.prefix = made;
    return made;
  } catch (error) {
    for (const weight of placed) backend.freeWeight(weight);
    throw error;
  }
}

/** Removes and frees the prefix. */
export function detachPrefix(model: Decoder): void {
  for (const weight of model.prefix ? prefixWeights(model.prefix) : []) model.backend.freeWeight(weight);
  model.prefix = null;
}

/** The keys and values as they are, [P, 2 · layers · G·D]. */
async function valuesOf(model: Decoder): Promise<Float32Array> {
  const prefix = model.prefix as Prefix;
  const width = widthOf(model.spec);
  const parts = prefix.layers.flatMap(({ k, v }) => [k, v]);
  const tape = createTape(model.backend, { record: false });
  try {
    const encoded = encodedRows(tape, prefix);
    // Without an encoder the rows are the weights, at full precision.
    const read = (rows: PrefixRows) =>
      encoded ? model.backend.read(prefixRows(tape, rows, encoded).tensor) : model.backend.readWeight(rows.weight);
    const values = await Promise.all(parts.map(read));
    const out = new Float32Array(prefix.tokens * parts.length * width);
    for (const [part, own] of values.entries()) {
      for (let row = 0; row < prefix.tokens; row++) {
        out.set(own.subarray(row * width, (row + 1) * width), (row * parts.length + part) * width);
      }
    }
    return out;
  } finally {
    tape.dispose();
  }
}

/** Saves the prefix as a PEFT folder: the keys and values, with an encoder those that it makes. */
export async function savePrefix(model: Decoder, directory: string, baseModel: string | null): Promise<void> {
  const { spec, prefix } = model;
  if (!prefix) throw new Error("The model has no prefix to save.");
  const sizes = { tokens: prefix.tokens, layers: spec.layers, keyValueHeads: spec.keyValueHeads, width: widthOf(spec) };
  const values = await valuesOf(model);
  await savePeftPrefix(directory, { ...sizes, baseModel }, async () => values);
}

/** Puts the prefix of a PEFT folder in front of a model, frozen unless `trainable`. Throws a UserErrors when it does not fit. */
export async function loadPrefix(
  model: Decoder,
  directory: string,
  { trainable = false }: { trainable?: boolean } = {},
): Promise<void> {
  const { config, values } = await readPeftPrefix(directory);
  const { spec } = model;
  const wanted = { layers: spec.layers, keyValueHeads: spec.keyValueHeads, width: widthOf(spec) };
  const names = { layers: "num_layers", keyValueHeads: "num_attention_heads", width: "token_dim" } as const;
  const problems = (Object.keys(names) as (keyof typeof names)[])
    .filter((key) => config[key] !== wanted[key])
    .map((key) => `"${names[key]}" is ${config[key]}, expected ${wanted[key]} as the model has`);
  if (problems.length > 0) {
    throw new UserErrors(`${directory}: the adapter does not fit the model:`, problems, {
      hint: "Was the adapter trained on another base model?",
    });
  }
  const parts = 2 * config.layers;
  let part = 0;
  place(
    model,
    config.tokens,
    (put) => {
      const rowsOf = (name: string): PrefixRows => {
        const own = new Float32Array(config.tokens * config.width);
        for (let row = 0; row < config.tokens; row++) {
          const start = (row * parts + part) * config.width;
          own.set(values.subarray(start, start + config.width), row * config.width);
        }
        part++;
        return { weight: put(name, config.tokens, config.width, own), bias: null };
      };
      return { encoder: null, rowsOf };
    },
    trainable,
  );
}

/** The prefix of a PEFT folder, to train further. Throws a UserError when it is not of these settings. */
async function startPrefix(model: Decoder, settings: PrefixSettings, directory: string): Promise<Prefix> {
  const { virtualTokens, encoderWidth } = settings;
  if (encoderWidth !== undefined) {
    throw new UserError(`adapter.start: ${directory} has the prefix itself, expected no adapter.encoderWidth.`);
  }
  await loadPrefix(model, directory, { trainable: true });
  const made = model.prefix as Prefix;
  if (made.tokens === virtualTokens) return made;
  detachPrefix(model);
  throw new UserError(`adapter.virtualTokens is ${virtualTokens}, but ${directory} has ${made.tokens}.`);
}

/** The values with the columns of all keys in halves, from those trained on interleaved rotary pairs. */
function keysInHalves(values: Float32Array, { keyValueHeads, width }: PeftPrefixConfig): Float32Array {
  const out = values.slice();
  // A row has keys and values in turns.
  for (let start = 0; start < out.length; start += 2 * width) {
    const keys = reorderRotaryRows(out.subarray(start, start + width), keyValueHeads, width / keyValueHeads, "halves");
    out.set(keys, start);
  }
  return out;
}

const NOT_A_WEIGHT = "adds keys and values in front of the text, which no weight of a plain model can hold";

/**
 * The tuning method `prefix`: P-Tuning v2, prefix tuning. Keys and values of virtual tokens are trained in every layer, with or without
 * reparameterisation; the base stays frozen, in any storage.
 */
export const prefix = {
  name: "prefix",
  schema,
  // P-Tuning v2 of ChatGLM-6B (THUDM).
  usualLearningRate: 2e-2,
  storages: ["float32", "bfloat16", "int8", "nf4"],
  startsFrom: "trained model",
  resolve: (settings) => settings,
  problems: () => [],
  virtualTokens: ({ virtualTokens }) => virtualTokens,
  trainsOfBase: () => false,
  addedNumbers({ virtualTokens, encoderWidth }, spec) {
    const width = widthOf(spec);
    const outputs = 2 * spec.layers * width;
    if (encoderWidth === undefined) return virtualTokens * outputs;
    return virtualTokens * width + encoderWidth * (width + 1) + outputs * (encoderWidth + 1);
  },
  async attach(model, settings, seed) {
    const { start } = settings;
    return oneGroup(
      prefixWeights(await (start ? startPrefix(model, settings, start) : attachPrefix(model, settings, seed))),
    );
  },
  saved: {
    kind: "adapter",
    save: (model, _, directory, baseModel) => savePrefix(model, directory, baseModel),
    load: (model, directory) => loadPrefix(model, directory),
    async saveInHalves(directory, output) {
      const { config, values } = await readPeftPrefix(directory);
      await savePeftPrefix(output, config, async () => keysInHalves(values, config));
    },
    merge: { because: NOT_A_WEIGHT },
    ggufAdapter: { because: NOT_A_WEIGHT },
  },
} satisfies TuningMethod<PrefixSettings>;
