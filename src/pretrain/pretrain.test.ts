import { describe, expect, it } from "vitest";
import { openReference } from "../compute/reference/backend.ts";
import { decoderWeights } from "../models/decoder.ts";
import { initDecoder } from "../models/init.ts";
import { specFromSizes } from "../models/sizes.ts";
import { muonWeights } from "./pretrain.ts";

describe("muonWeights", () => {
  it("has the layers' matrices, and neither embedding, output layer, norms nor biases", async () => {
    const sizes = { width: 8, layers: 2, heads: 2, keyValueHeads: 1, feedForward: 12, maxTokens: 16 };
    const more = { family: "qwen2", tiedHead: false, normEpsilon: 1e-5, rotaryBase: 10_000 };
    const spec = specFromSizes({ ...sizes, ...more }, { vocabularySize: 20, bosId: 1, eosId: 2 }, "sizes");
    const backend = openReference();
    const model = await initDecoder(backend, spec, 1, { storage: "float32", trainable: true });
    const weights = decoderWeights(model);
    const { matrices, rest } = muonWeights(model, weights);
    expect(matrices).toHaveLength(2 * 7);
    expect(matrices.every(({ name }) => name.includes("layers"))).toBe(true);
    expect(matrices.length + rest.length).toBe(weights.length);
    expect(rest.filter(({ name }) => name.includes("layers")).every(({ rows }) => rows === 1)).toBe(true);
    await backend.close();
  });
});
