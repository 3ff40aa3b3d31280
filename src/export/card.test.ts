import { describe, expect, it } from "vitest";
import { specFromSizes } from "../models/sizes.ts";
import type { PretrainRecipe } from "../pretrain/recipe.ts";
import { modelCard } from "./card.ts";

const INIT = { family: "llama", width: 8, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 16, maxTokens: 64 };
const SIZES = { ...INIT, tiedHead: true, normEpsilon: 1e-5, rotaryBase: 10_000 };

/** The card of a run of 10 steps of 32 tokens whose recipe has this beginning and this optimizer. */
function cardOf(model: { start?: string; startOrigin?: string }, optimizer: "adamw" | "muon" = "adamw"): string {
  const train = { sequenceTokens: 16, passSequences: 2, accumulation: 1, steps: 10, warmupSteps: 1, decaySteps: 4 };
  const rates = {
    learningRate: 0.01,
    schedule: "trapezoid",
    optimizer,
    beta1: 0.9,
    beta2: 0.95,
    weightDecay: 0.1,
    clipNorm: 1,
  };
  const recipe = {
    model: { init: SIZES, tokenizer: "t", storage: "float32", ...model },
    data: { folder: ".", sources: { own: { path: "own.txt", weight: 1, origin: "written here", licence: "CC0-1.0" } } },
    train: { ...train, ...rates },
    seed: 1,
  } as unknown as PretrainRecipe;
  const part = { tokens: new Uint16Array(160), ends: Uint32Array.of(160), characters: 200 };
  const source = { name: "own", file: "", digest: "", train: part, heldOut: part };
  const log = [0, 10].map((step) => {
    const score = { bitsPerCharacter: 4 - step / 10, characters: 200, tokens: 160 };
    return {
      kind: "validation" as const,
      step,
      bitsPerCharacter: score.bitsPerCharacter,
      sources: { own: score },
      seconds: 1,
    };
  });
  return modelCard({
    name: "own",
    recipe,
    spec: specFromSizes(SIZES, { vocabularySize: 32, bosId: 1, eosId: 2 }, "sizes"),
    data: { sources: [source], marks: { start: 1, end: 2, mask: null } } as never,
    log,
    step: 10,
    decay: null,
    texts: [{ start: "", continuation: "日" }],
    sampling: "Temperature 0.8.",
    elsewhere: null,
  });
}

describe("modelCard", () => {
  it("says what a training began as, and counts the tokens of this training", () => {
    const card = cardOf({ start: "/somewhere/base-zh", startOrigin: "base-zh of cre-llm" });
    expect(card).not.toContain("from nothing");
    expect(card).not.toContain("/somewhere");
    expect(card).toContain("trained on from base-zh of cre-llm by cre-llm on the text below");
    expect(card).toContain("| began as | base-zh of cre-llm |");
    expect(card).toContain("| tokens of this training | 320 in 10 steps of 32 |");
    expect(card).toContain("whether the model that it began as had read them is not known");
    expect(card).toMatch(/\n\| 0 \| 0\.0 M \| 4\.000 \|/);
    expect(card).toContain("cre model pretrain RECIPE --run RUN");
    expect(cardOf({ start: "/somewhere/base-zh" })).toContain("trained on from the model base-zh by");
  });

  it("says that a model from nothing is one, and which optimizer made it", () => {
    const card = cardOf({});
    expect(card).toContain("trained from nothing by cre-llm");
    expect(card).toContain("| training tokens | 320 in 10 steps of 32 |");
    expect(card).toContain("| optimizer | AdamW (betas 0.9 and 0.95");
    expect(card).not.toContain("began as");
    expect(cardOf({}, "muon")).toContain(
      "| optimizer | Muon for the layers' matrices; for the rest, at half the rate, AdamW",
    );
  });
});
