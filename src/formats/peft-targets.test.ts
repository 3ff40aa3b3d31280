import { describe, expect, it } from "vitest";
import { matchAll } from "./match-patterns.ts";
import type { PeftLora } from "./peft-config.ts";
import { isSavedModule, targetSettings } from "./peft-targets.ts";

const MODULES = [0, 1].flatMap((layer) =>
  ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"].map((name) => `model.layers.${layer}.${name}`),
);
const CONFIG: PeftLora = {
  rank: 4,
  alpha: 8,
  dropout: 0,
  scaling: "lora",
  hasMagnitudes: false,
  targetModules: ["q_proj", "v_proj"],
  baseModel: null,
  rankPattern: {},
  alphaPattern: {},
  excludeModules: [],
  layers: null,
  layersPattern: [],
  savedModules: [],
  hasBiases: false,
  hasLoraBias: false,
  tokenIds: null,
};
const read = (config: PeftLora) => ({ config, file: "x", match: matchAll });
const chosen = (changes: Partial<PeftLora>) =>
  [...targetSettings(read({ ...CONFIG, ...changes }), MODULES).keys()].map((name) =>
    name.slice("model.layers.".length),
  );

// The same configurations in PEFT: test/golden/peft-elsewhere.
describe("targetSettings", () => {
  it.each([
    [{}, "0.self_attn.q_proj 0.self_attn.v_proj 1.self_attn.q_proj 1.self_attn.v_proj"],
    [{ targetModules: ["proj"] }, ""],
    [{ targetModules: ["model.layers.1.mlp.up_proj", "0.self_attn.q_proj"] }, "0.self_attn.q_proj 1.mlp.up_proj"],
    [{ targetModules: String.raw`.*\.1\..*_proj` }, "1.self_attn.q_proj 1.self_attn.v_proj 1.mlp.up_proj"],
    [{ targetModules: "q_proj" }, ""],
    [{ targetModules: "all-linear", excludeModules: String.raw`.*\.[qv]_proj` }, "0.mlp.up_proj 1.mlp.up_proj"],
    [{ excludeModules: ["v_proj"], layers: [1] }, "1.self_attn.q_proj"],
    [{ layers: [0], layersPattern: ["h", "layers"] }, "0.self_attn.q_proj 0.self_attn.v_proj"],
    [{ layers: [0], layersPattern: ["h"] }, ""],
    [{ layers: [5] }, ""],
    [{ savedModules: ["q_proj"] }, "0.self_attn.v_proj 1.self_attn.v_proj"],
    [{ savedModules: ["self_attn"] }, ""],
  ])("%j", (changes, names) => {
    expect(chosen(changes).join(" ")).toBe(names);
  });

  it("takes rank and alpha from the first pattern that matches the end of a name", () => {
    const settings = targetSettings(
      read({
        ...CONFIG,
        scaling: "rslora",
        rankPattern: { "1.self_attn.q_proj": 9, q_proj: 16, "^model.layers.0.*v_proj": 2 },
        alphaPattern: { ".*": 6 },
      }),
      MODULES,
    );
    expect([...settings.values()]).toEqual([
      { rank: 16, alpha: 6, scale: 1.5 },
      { rank: 2, alpha: 6, scale: 6 / Math.sqrt(2) },
      { rank: 9, alpha: 6, scale: 2 },
      { rank: 4, alpha: 6, scale: 3 },
    ]);
  });
});

it("isSavedModule finds a module by any part of its name", () => {
  expect(isSavedModule("lm_head", ["lm_head"])).toBe(true);
  expect(isSavedModule("model.layers.0.self_attn.q_proj", ["self_attn"])).toBe(true);
  expect(isSavedModule("model.layers.0.self_attn.q_proj", ["q_pro", "head"])).toBe(false);
});
