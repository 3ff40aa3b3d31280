import type { DecoderSpec, RotaryPositions, RotaryScaling } from "./spec.ts";

/** Angle per position of each rotated pair, in radians. */
export function rotaryFrequencies(positions: RotaryPositions): Float32Array {
  const divisors = rotaryDivisors(positions);
  return Float32Array.from(plainFrequencies(positions), (frequency, i) => frequency / divisors[i]);
}

function plainFrequencies({ base, rotatedWidth }: Pick<RotaryPositions, "base" | "rotatedWidth">): number[] {
  return Array.from({ length: rotatedWidth / 2 }, (_, i) => base ** ((-2 * i) / rotatedWidth));
}

/** What the scaling divides the angle of each pair by; ones without scaling. As transformers' modeling_rope_utils.py computes it. */
export function rotaryDivisors(positions: RotaryPositions): number[] {
  const { scaling } = positions;
  const plain = plainFrequencies(positions);
  if (!scaling) return plain.map(() => 1);
  const { factor } = scaling;
  if (scaling.kind === "linear") return plain.map(() => factor);
  if (scaling.kind === "yarn") return yarnDivisors(positions, scaling);
  const { originalTokens, lowTurns, highTurns } = scaling;
  return plain.map((frequency) => {
    const turns = (originalTokens * frequency) / (2 * Math.PI);
    const share = Math.min(1, Math.max(0, (turns - lowTurns) / (highTurns - lowTurns)));
    return 1 / ((1 - share) / factor + share);
  });
}

type Yarn = Extract<RotaryScaling, { kind: "yarn" }>;

function yarnDivisors({ base, rotatedWidth }: RotaryPositions, scaling: Yarn): number[] {
  const { factor, originalTokens, fastTurns, slowTurns, isWhole } = scaling;
  /** The pair, a fraction, that turns this often in the original length. */
  const pairOf = (turns: number) =>
    (rotatedWidth * Math.log(originalTokens / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const [first, last] = [pairOf(fastTurns), pairOf(slowTurns)];
  const from = Math.max(isWhole ? Math.floor(first) : first, 0);
  const to = Math.min(isWhole ? Math.ceil(last) : last, rotatedWidth - 1);
  const width = to === from ? 0.001 : to - from;
  return Array.from({ length: rotatedWidth / 2 }, (_, i) => {
    const ramp = Math.min(1, Math.max(0, (i - from) / width));
    return 1 / (ramp / factor + (1 - ramp));
  });
}

/** How often rotated queries and keys count: YaRN multiplies both. */
export function rotaryMagnitude(positions: DecoderSpec["positions"]): number {
  const scaling = positions.kind === "rotary" ? positions.scaling : undefined;
  return scaling?.kind === "yarn" ? scaling.magnitude : 1;
}

/** YaRN's usual magnitude. */
export const yarnMagnitude = (factor: number): number => (factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1);
