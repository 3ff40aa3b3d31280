import { showValue } from "../../base/errors.ts";
import type { GgufValue } from "../../formats/gguf-header.ts";
import type { GgufField } from "../../formats/gguf-write.ts";
import type { FamilyGguf } from "../family.ts";
import { rotaryDivisors, yarnMagnitude } from "../rotary.ts";
import type { DecoderSpec, RotaryPositions, RotaryScaling } from "../spec.ts";

// Scaled rotary positions as llama.cpp's converter writes them: linear and yarn in the metadata, llama3 as a tensor of divisors.

export const ROPE_DIVISORS = "rope_freqs.weight";
/** The divisors of a file are float32. */
const TOLERANCE = 1e-4;
/** What Llama 3.1 to 3.3 have besides a factor; a file holds the divisors only. */
const LLAMA3 = { originalTokens: 8192, lowTurns: 1, highTurns: 4 } as const;
const FAST_TURNS = 32;
const SLOW_TURNS = 1;

/** The scaling of a file; null for none, a text for one that is not computed here. */
export function readGgufScaling(
  metadata: ReadonlyMap<string, GgufValue>,
  architecture: string,
  maxTokens: number,
  tensor: { divisors: Float32Array; positions: RotaryPositions } | null,
): RotaryScaling | null | string {
  const kind = metadata.get(`${architecture}.rope.scaling.type`);
  const isScaled = kind === "linear" || kind === "yarn";
  if (tensor) {
    if (isScaled) return `"${ROPE_DIVISORS}" and "${architecture}.rope.scaling.type" are both there, expected one`;
    return ofDivisors(tensor.divisors, tensor.positions);
  }
  if (!isScaled) return null;
  const number = (name: string, fallback: number) => {
    const value = metadata.get(`${architecture}.rope.scaling.${name}`) ?? fallback;
    return typeof value === "number" ? value : Number.NaN;
  };
  const factor = number("factor", Number.NaN);
  if (!(factor > 0)) {
    const key = `${architecture}.rope.scaling.factor`;
    return `"${key}" is ${showValue(metadata.get(key))}, expected a positive number`;
  }
  if (kind === "linear") return { kind, factor };
  return {
    kind,
    factor,
    originalTokens: number("original_context_length", maxTokens),
    fastTurns: number("yarn_beta_fast", FAST_TURNS),
    slowTurns: number("yarn_beta_slow", SLOW_TURNS),
    magnitude: yarnMagnitude(factor) * (number("attn_factor", 0) || 1),
    isWhole: true,
  };
}

function ofDivisors(divisors: Float32Array, positions: RotaryPositions): RotaryScaling | string {
  const scaling = { kind: "llama3", factor: Math.max(...divisors), ...LLAMA3 } as const;
  const wanted = rotaryDivisors({ ...positions, scaling });
  const isSame =
    divisors.length === wanted.length && wanted.every((one, i) => Math.abs(divisors[i] / one - 1) < TOLERANCE);
  if (isSame) return scaling;
  return `"${ROPE_DIVISORS}" holds ${divisors.length} divisors of angles, expected those of Llama 3.1`;
}

/** The metadata of a scaling. */
export function scalingFields(scaling: RotaryScaling, architecture: string): GgufField[] {
  if (scaling.kind === "llama3") return [];
  const key = (name: string) => `${architecture}.rope.scaling.${name}`;
  const float = (name: string, value: number): GgufField => ({ key: key(name), type: "float32", value });
  const fields: GgufField[] = [
    { key: key("type"), type: "string", value: scaling.kind },
    float("factor", scaling.factor),
  ];
  if (scaling.kind === "linear") return fields;
  const { factor, originalTokens, fastTurns, slowTurns, magnitude } = scaling;
  const own = magnitude / yarnMagnitude(factor);
  return [
    ...fields,
    { key: key("original_context_length"), type: "uint32", value: originalTokens },
    ...(fastTurns === FAST_TURNS ? [] : [float("yarn_beta_fast", fastTurns)]),
    ...(slowTurns === SLOW_TURNS ? [] : [float("yarn_beta_slow", slowTurns)]),
    ...(own === 1 ? [] : [float("attn_factor", own)]),
  ];
}

/** The divisors that a file holds as a tensor; null for other positions. */
export function divisorsToWrite({ positions }: DecoderSpec): Float32Array | null {
  if (positions.kind !== "rotary" || positions.scaling?.kind !== "llama3") return null;
  return Float32Array.from(rotaryDivisors(positions));
}

/** Why llama.cpp cannot compute a scaling in a file of a family; null when it can. */
export function scalingProblem(scaling: RotaryScaling, { architecture, dividesAngles }: FamilyGguf): string | null {
  if (scaling.kind === "llama3" && !dividesAngles) {
    return `llama.cpp does not read the rotary scaling llama3 for the architecture ${architecture}`;
  }
  if (scaling.kind === "yarn" && !scaling.isWhole) return 'llama.cpp computes yarn only with "truncate" true';
  return null;
}
