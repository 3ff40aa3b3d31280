import { describe, expect, it } from "vitest";
import { z } from "zod";
import { UserErrors } from "./errors.ts";
import { checkSchema } from "./schema.ts";

const schema = z
  .strictObject({
    seed: z.int().min(0).default(1),
    train: z.strictObject({ learningRate: z.number().positive(), epochs: z.int().min(1).default(3) }),
    adapter: z
      .discriminatedUnion("method", [
        z.strictObject({ method: z.literal("full") }),
        z.strictObject({
          method: z.literal("lora"),
          rank: z.int().min(1).default(8),
          targets: z.union([z.literal("all"), z.array(z.string()).min(1)]).default("all"),
        }),
      ])
      .default({ method: "full" }),
    files: z.array(z.strictObject({ path: z.string(), weight: z.number().optional() })).optional(),
    named: z.record(z.string(), z.strictObject({ path: z.string() })).optional(),
    source: z.union([z.string(), z.strictObject({ folder: z.string(), pattern: z.string() })]).optional(),
  })
  .superRefine((recipe, context) => {
    if (recipe.train.epochs > 100) {
      context.addIssue({ code: "custom", path: ["train", "epochs"], message: "more than 100 need --force" });
    }
    if (recipe.seed === 13) context.addIssue({ code: "custom", message: "this seed is unlucky" });
  });

function problemsOf(value: unknown): readonly string[] {
  try {
    checkSchema(schema, value, "recipe.yaml");
  } catch (error) {
    if (error instanceof UserErrors) return error.problems;
    throw error;
  }
  return [];
}

const train = { learningRate: 0.1 };

describe("checkSchema", () => {
  it("returns the value with its defaults", () => {
    expect(checkSchema(schema, { train }, "recipe.yaml")).toEqual({
      seed: 1,
      train: { learningRate: 0.1, epochs: 3 },
      adapter: { method: "full" },
    });
  });

  it("lists all problems at once under the place they are in", () => {
    const value = { train: { learningRat: 0.1, learningRate: -1 }, adapter: { method: "lora", rank: 0.5 }, sead: 2 };
    let error: unknown;
    try {
      checkSchema(schema, value, "recipe.yaml");
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(UserErrors);
    expect((error as UserErrors).message).toBe(
      [
        "recipe.yaml: 4 problems:",
        "  - train.learningRate is -1: Too small: expected number to be >0",
        '  - train.learningRat — unknown key, did you mean "learningRate"?',
        "  - adapter.rank is 0.5: Invalid input: expected int, received number",
        '  - sead — unknown key, did you mean "seed"?',
      ].join("\n"),
    );
  });

  it("says what is missing", () => {
    expect(problemsOf({})).toEqual(["train is missing: Invalid input: expected object, received undefined"]);
    expect(problemsOf(null)).toEqual(["the top level is null: Invalid input: expected object, received null"]);
  });

  it("lists the known keys where none is near", () => {
    expect(problemsOf({ train: { ...train, zzzzzzzzzz: 1 } })).toEqual([
      "train.zzzzzzzzzz — unknown key, known keys: learningRate, epochs",
    ]);
  });

  it("finds the known keys inside lists, records, defaults and unions", () => {
    expect(problemsOf({ train, files: [{ path: "a" }, { path: "b", wieght: 1 }] })).toEqual([
      'files.1.wieght — unknown key, did you mean "weight"?',
    ]);
    expect(problemsOf({ train, named: { a: { path: "a", pathe: 1 } } })).toEqual([
      'named.a.pathe — unknown key, did you mean "path"?',
    ]);
    expect(problemsOf({ train, source: { folder: "a", pattern: "b", patern: "c" } })).toEqual([
      'source.patern — unknown key, did you mean "pattern"?',
    ]);
  });

  it("checks the option of a union that the value claims to be", () => {
    expect(problemsOf({ train, adapter: { method: "lora", rnk: 4 } })).toEqual([
      'adapter.rnk — unknown key, did you mean "rank"?',
    ]);
    expect(problemsOf({ train, adapter: { method: "full", rank: 4 } })).toEqual([
      "adapter.rank — unknown key, known keys: method",
    ]);
    expect(problemsOf({ train, adapter: { method: "lorra" } })).toEqual([
      "adapter.method is \"lorra\": Invalid discriminator value. Expected 'full' | 'lora'",
    ]);
  });

  it("lists all that a union accepts, or the mistake inside the option that was meant", () => {
    const targets = (value: unknown) => problemsOf({ train, adapter: { method: "lora", targets: value } });
    expect(targets(3)).toEqual(['adapter.targets is 3: expected "all", or expected array, received number']);
    expect(targets("most")).toEqual(['adapter.targets is "most": expected "all", or expected array, received string']);
    expect(targets(["q_proj", 7])).toEqual(["adapter.targets.1 is 7: Invalid input: expected string, received number"]);
    expect(targets([])).toEqual(["adapter.targets is []: Too small: expected array to have >=1 items"]);
  });

  it("reports refinements next to unknown keys", () => {
    expect(problemsOf({ seed: 13, train: { ...train, epochs: 200, epoch: 1 } })).toEqual([
      'train.epoch — unknown key, did you mean "epochs"?',
      "train.epochs: more than 100 need --force",
      "the top level: this seed is unlucky",
    ]);
  });

  it("shows any value without failing", () => {
    const circular: unknown[] = [];
    circular.push(circular);
    expect(problemsOf({ train, seed: circular })[0]).toMatch(/^seed is a value of type object: /);
    expect(problemsOf({ train, seed: Number.NaN })[0]).toMatch(/^seed is NaN: /);
    expect(problemsOf({ train, seed: "x".repeat(1_000_000) })[0].length).toBeLessThan(200);
    expect(problemsOf(JSON.parse('{"train": {"learningRate": 1}, "__proto__": {"seed": 2}}'))).toEqual([
      "__proto__ — unknown key, known keys: seed, train, adapter, files, named, source",
    ]);
  });
});
