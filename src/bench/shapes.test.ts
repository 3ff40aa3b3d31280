import { describe, expect, it } from "vitest";
import { parameterCount } from "../models/layer.ts";
import { loraStepFlops, SHAPES, type ShapeName, shapeSpec } from "./shapes.ts";

describe("shapes", () => {
  // Published sizes without the biases of Qwen2's q, k and v (27,648), which the Llama decoder does not have.
  it.each<[ShapeName, number]>([
    ["qwen2-0.5b", 494_032_768 - 27_648],
    ["llama2-7b", 6_738_415_616],
  ])("%s has the published number of parameters", (name, parameters) => {
    expect(parameterCount(shapeSpec(name))).toBe(parameters);
  });

  it("only qwen2-0.5b ties its head to the embedding", () => {
    const tied = (Object.keys(SHAPES) as ShapeName[]).filter((name) => shapeSpec(name).tiedHead);
    expect(tied).toEqual(["qwen2-0.5b"]);
  });

  // The prototype's figures for 16 sequences of 96 tokens; they are rounded and lie up to 0.25 % higher.
  it.each<[ShapeName, number, number]>([
    ["110m", 96, 0.684],
    ["110m", 16, 0.558],
    ["0.4b", 96, 2.126],
    ["0.4b", 16, 1.958],
    ["qwen2-0.5b", 96, 3.061],
    ["qwen2-0.5b", 16, 2.364],
  ])("a step of %s with loss on %d of 96 tokens is %d TFLOP", (name, answer, teraFlops) => {
    const flops = loraStepFlops(shapeSpec(name), 16, 96, 16 * answer);
    expect(Math.abs(flops / (teraFlops * 1e12) - 1)).toBeLessThan(0.003);
  });

  it("counts products and the causal half of attention", () => {
    // 1 layer of C 4096, H = G 32, F 11,008, V 32,000: 4·32·(4·4096² + 3·4096·11,008) + 4·8·32,000·4096 + 2·32·4·16²·128·3.5/2
    expect(loraStepFlops(shapeSpec("llama2-7b", 1), 2, 16, 8)).toBe(30_113_005_568);
  });

  it("takes another number of layers", () => {
    expect(shapeSpec("llama2-7b", 2).layers).toBe(2);
  });
});
