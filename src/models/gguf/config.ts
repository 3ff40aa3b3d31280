import { showValue, UserErrors } from "../../base/errors.ts";
import type { GgufFile } from "../../formats/gguf.ts";
import type { GgufValue } from "../../formats/gguf-header.ts";
import { FAMILIES } from "../families/registry.ts";
import type { Family } from "../family.ts";
import { specOfFamily } from "../sizes.ts";
import type { DecoderSpec } from "../spec.ts";
import { expectKnownKeys } from "./keys.ts";
import { ggufParts } from "./names.ts";

/** llama.cpp's base of rotary positions where a file names none. */
const DEFAULT_ROTARY_BASE = 10_000;

/** A model as a GGUF file's metadata describe it. */
export interface GgufConfig {
  family: Family;
  spec: DecoderSpec;
  /** The config.json of the same model. */
  config: Record<string, unknown>;
}

/** Reads a GGUF file's metadata. Throws a UserErrors for an architecture, an option or an unknown entry that this program cannot compute. */
export function readGgufConfig(gguf: GgufFile, file: string): GgufConfig {
  const { metadata, tensors } = gguf;
  const problems: string[] = [];
  const finish = () => {
    if (problems.length > 0) throw new UserErrors(`${file}: the model cannot be used:`, problems);
  };
  const expect = (key: string, expected: string, fits: (value: GgufValue | undefined) => boolean) => {
    if (!fits(metadata.get(key))) problems.push(`"${key}" is ${showValue(metadata.get(key))}, expected ${expected}`);
  };
  const architectures = FAMILIES.map((one) => one.gguf.architecture).join(", ");
  const named = metadata.get("general.architecture");
  const family = FAMILIES.find((one) => one.gguf.architecture === named) as Family;
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
  const rotary = { kind: "rotary", base, layout: family.rotaryLayout, rotatedWidth: headWidth } as const;
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
    maxTokens: number("context_length"),
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

function hasQueryBias({ tensors }: GgufFile, family: Family): boolean {
  const module = family.modules.find(({ slots }) => slots.some((slot) => slot === "q"));
  const parts = ggufParts(family, `${family.names.layers}0.${module?.name}`) ?? [];
  return parts.some(({ name }) => tensors.has(`${name}.bias`));
}
