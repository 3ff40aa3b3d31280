import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodeGgufElements, GGUF_TYPES } from "./gguf-blocks.ts";

/** Made by test/golden/make/k_quants.py with llama.cpp's own library. */
const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden", "formats", "k-quants.json");
const { cases } = JSON.parse(readFileSync(GOLDEN, "utf8")) as { cases: Record<string, string>[] };

const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, "base64"));

describe.each(["Q4_K", "Q6_K"] as const)("%s as ggml's reference writes it", (type) => {
  const { decode } = GGUF_TYPES.find(({ dtype }) => dtype === type) as (typeof GGUF_TYPES)[number];
  it.each(cases.map((one) => [one.name, one] as const))("%s", (_, one) => {
    const values = new Float32Array(bytesOf(one.values).buffer);
    const [ours, theirs] = [encodeGgufElements(values, type), bytesOf(one[type])];
    expect(ours).toHaveLength(theirs.length);
    const errorOf = (bytes: Uint8Array) => Math.hypot(...decode(bytes).map((value, i) => value - values[i]));
    expect(errorOf(ours)).toBeLessThanOrEqual(1.001 * errorOf(theirs) + 1e-9);
    // Sums in float64 may choose another of two scales that are equally near.
    const equal = ours.filter((byte, i) => byte === theirs[i]).length / ours.length;
    expect(equal).toBeGreaterThan(0.97);
  });
});
