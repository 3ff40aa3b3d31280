import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { gridAxis, gridPoints, parseGridAxis } from "./grid.ts";

const failure = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return "no error";
};

describe("a grid's axis", () => {
  it("is a key and the items of a YAML list, with their text", () => {
    expect(parseGridAxis("train.learningRate=1e-4, 3e-4")).toEqual({
      key: "train.learningRate",
      values: [
        { value: 0.0001, text: "1e-4" },
        { value: 0.0003, text: "3e-4" },
      ],
    });
    const { values } = parseGridAxis("adapter.targets=[q_proj],[q_proj, v_proj],all");
    expect(values.map(({ value }) => value)).toEqual([["q_proj"], ["q_proj", "v_proj"], "all"]);
    expect(values[1].text).toBe("[q_proj, v_proj]");
    expect(parseGridAxis("decode.bothDirections=true,false").values.map(({ value }) => value)).toEqual([true, false]);
  });

  it.each([
    ["train.epochs", "expected KEY=VALUE,VALUE,…"],
    ["=1", "expected KEY=VALUE,VALUE,…"],
    ["train.epochs=", "has no values"],
    ["train.epochs=1,,2", "the values are not YAML"],
    ["train.epochs=[", "the values are not YAML"],
    ["train.epochs=1] , [2", "the values are not YAML"],
    ["train.epochs={a: 1, a: 2}", "the values are not YAML"],
    ["train.epochs=*x", "the values are not YAML"],
    ["train.epochs=1,~", "has an empty value"],
    ["train.epochs=2,2", "has 2 twice"],
    ["train.epochs=2,2.0", "has 2 and 2.0, which are equal"],
    ["data.path=x", "cannot be tuned: the rows are divided"],
    ["seed=1,2", "cannot be tuned: --seeds"],
  ])("is refused as %s", (text, message) => {
    const found = failure(() => parseGridAxis(text));
    expect(found).toContain(message);
    expect(found).toMatch(/^--grid [^\n]+$/);
  });

  it("of a program is checked alike", () => {
    expect(failure(() => gridAxis("train.epochs", []))).toContain("has no values");
    expect(failure(() => gridAxis("data", [{ value: {}, text: "{}" }]))).toContain("cannot be tuned");
  });
});

describe("the points of a grid", () => {
  it("are all combinations, as overrides with JSON values", () => {
    const axes = ["train.learningRate=1e-4,3e-4", "adapter.targets=[q_proj],all"].map(parseGridAxis);
    expect(gridPoints(axes)).toEqual([
      {
        name: "train.learningRate=1e-4 adapter.targets=[q_proj]",
        overrides: ["train.learningRate=0.0001", 'adapter.targets=["q_proj"]'],
      },
      {
        name: "train.learningRate=1e-4 adapter.targets=all",
        overrides: ["train.learningRate=0.0001", 'adapter.targets="all"'],
      },
      {
        name: "train.learningRate=3e-4 adapter.targets=[q_proj]",
        overrides: ["train.learningRate=0.0003", 'adapter.targets=["q_proj"]'],
      },
      {
        name: "train.learningRate=3e-4 adapter.targets=all",
        overrides: ["train.learningRate=0.0003", 'adapter.targets="all"'],
      },
    ]);
  });

  it("are refused for a key given twice, a part of another, and too large a number", () => {
    const points = (...texts: string[]) => failure(() => gridPoints(texts.map(parseGridAxis)));
    expect(points("train.epochs=1", "train.epochs=2")).toContain("train.epochs: is given twice");
    expect(points("adapter={method: full}", "adapter.rank=2")).toContain("one is a part of the other");
    const many = Array.from({ length: 40 }, (_, i) => i).join(",");
    expect(points(`train.epochs=${many}`, `train.warmup=${many}`)).toContain(
      "1600 combinations, expected at most 1000",
    );
  });
});
