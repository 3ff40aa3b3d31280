import { showValue, UserErrors } from "../../base/errors.ts";
import type { GgufFile } from "../../formats/gguf.ts";
import type { GgufValue } from "../../formats/gguf-header.ts";
import { FAMILIES } from "../families/registry.ts";
import type { Family } from "../family.ts";
import { specOfFamily } from "../sizes.ts";
import type { DecoderSpec } from "../spec.ts";
import { expectKnownKeys } from "./keys.ts";
import { ggufParts } from "./names.ts";
import { readGgufScaling } from "./scaling.ts";

/** llama.cpp's base of rotary positions where a file names none. */
const DEFAULT_ROTARY_BASE = 10_000;

/** A model as a GGUF file's metadata describe it. */
export interface GgufConfig {
  family: Family;
  spec: DecoderSpec;
  /** The config.json of the same model. */
  config: Record<string, unknown>;
}

/**
 * Reads a GGUF file's metadata; `divisors` are the values of its rope_freqs.weight, where it has that tensor. Throws a UserErrors for an
 * architecture, an option or an unknown entry that this program cannot compute.
 */
export function readGgufConfig(gguf: GgufFile, file: string, divisors: Float32Array | null = null): GgufConfig {
  const { metadata, tensors } = gguf;
  const problems: string[] = [];
  const finish = () => {
    if (problems.length > 0) throw new UserErrors(`${file}: the model cannot be used:`, problems);
  };
  const expect = (key: string, expected: string, fits: (value: GgufValue | undefined) => boolean) => {
    if (!fits(metadata.get(key))) problems.push(`"${key}" is ${showValue(metadata.get(key))}, expected ${expected}`);
  };
  const architectures = [...new Set(FAMILIES.map((one) => one.gguf.architecture))].join(", ");
  const named = metadata.get("general.architecture");
  const candidates = FAMILIES.filter((one) => one.gguf.architecture === named);
  // Two families may share an architecture: the one whose queries the file has.
  const family = (candidates.find((one) => hasQueries(gguf, one)) ?? candidates[0]) as Family;
  expect("general.architecture", `one of ${architectures}`, () => family !== undefined);
  finish();
  const { architecture, layersByPositions } = family.gguf;
  expect("general.type", '"model"', (value) => (value ?? "model") === "model");
  expect("split.count", "one file (llama.cpp's llama-gguf-split --merge makes one)", (value) => !value || value === 1);
  expectKnownKeys(metadata, architecture, problems);
  finish();
  const number = (key: string, fallback?: number): number => {
    const value = metadata.get(`${architecture}.${key}`) ?? fallback;
    if (typeof value === "number") return value;
    problems.push(`"${architecture}.${key}" is ${showValue(value)}, expected a number`);
    return Number.NaN;
  };
  const heads = number("attention.head_count");
  const width = number("embedding_length");
  const layers = number("block_count");
  const headWidth = number("attention.key_length", width / heads);
  const vocabularySize = number("vocab_size", tensors.get("token_embd.weight")?.shape[0]);
  const base = number("rope.freq_base", DEFAULT_ROTARY_BASE);
  const maxTokens = number("context_length");
  const plain = { kind: "rotary", base, layout: family.rotaryLayout, rotatedWidth: headWidth } as const;
  const scaling = readGgufScaling(metadata, architecture, maxTokens, divisors ? { divisors, positions: plain } : null);
  if (typeof scaling === "string") problems.push(scaling);
  const rotary = typeof scaling === "object" && scaling ? { ...plain, scaling } : plain;
  const wanted: DecoderSpec = {
    family: family.modelType,
    vocabularySize,
    tokenCount: vocabularySize,
    width,
    layers,
    heads,
    keyValueHeads: number("attention.head_count_kv", heads),
    headWidth,
    feedForward: number("feed_forward_length"),
    normEpsilon: number("attention.layer_norm_rms_epsilon"),
    positions: layers === layersByPositions?.alibi ? { kind: "alibi" } : rotary,
    queryKeyValueBias: hasQueryBias(gguf, family),
    promptAttention: "causal",
    queryKeyNorm: false,
    tiedHead: !tensors.has("output.weight"),
    normalizedHead: false,
    maxTokens,
    bosId: null,
    eosId: null,
  };
  if (layersByPositions && layers !== layersByPositions.rotary && layers !== layersByPositions.alibi) {
    const expected = `${layersByPositions.rotary} (rotary positions) or ${layersByPositions.alibi} (ALiBi)`;
    problems.push(`"${architecture}.block_count" is ${layers}, expected ${expected}`);
  }
  finish();
  const { spec, problems: misfits } = specOfFamily(family, wanted, file);
  problems.push(...misfits);
  const valueLength = number("attention.value_length", headWidth);
  if (valueLength !== headWidth) {
    problems.push(`"${architecture}.attention.value_length" is ${valueLength}, expected ${headWidth}, as for keys`);
  }
  const { positions } = spec;
  const rotatedWidth = positions.kind === "rotary" ? positions.rotatedWidth : headWidth;
  const stated = number("rope.dimension_count", rotatedWidth);
  if (stated !== rotatedWidth) {
    problems.push(`"${architecture}.rope.dimension_count" is ${stated}, expected ${rotatedWidth}`);
  }
  finish();
  const token = (name: string) => metadata.get(`tokenizer.ggml.${name}_token_id`) ?? null;
  const marks = { bos_token_id: token("bos"), eos_token_id: token("eos") };
  return { family, spec, config: { ...family.writeConfig(spec), ...marks } };
}

const hasQueryBias = ({ tensors }: GgufFile, family: Family): boolean =>
  queryParts(family).some((name) => tensors.has(`${name}.bias`));

const hasQueries = ({ tensors }: GgufFile, family: Family): boolean =>
  queryParts(family).every((name) => tensors.has(`${name}.weight`));

/** The tensors of a file that hold the queries of the first layer. */
function queryParts(family: Family): string[] {
  const module = family.modules.find(({ slots }) => slots.some((slot) => slot === "q"));
  return (ggufParts(family, `${family.names.layers}0.${module?.name}`) ?? []).map(({ name }) => name);
}
