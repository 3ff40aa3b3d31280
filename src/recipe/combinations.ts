import { type AdapterSettings, METHODS, methodOf } from "../adapters/methods.ts";

type Storage = ReturnType<typeof methodOf>["storages"][number];

/** The parts of a recipe that limit each other; those that could not be read are missing. */
export interface CombinedParts {
  model: { path?: unknown; init?: unknown; tokenizer?: unknown; storage?: Storage };
  adapter: AdapterSettings | null;
  prompt?: { attention?: unknown };
  train?: { promptLoss?: unknown; patience?: number; validateEvery?: number };
}

/** A mistake in how parts of a recipe go together. */
export interface CombinationProblem {
  /** Key of the recipe that has to change. */
  path: string[];
  message: string;
}

/** Which parts of a recipe exclude or need each other. */
export function combinationProblems({ model, adapter, prompt, train = {} }: CombinedParts): CombinationProblem[] {
  const problems: CombinationProblem[] = [];
  const report = (path: string[], message: string) => problems.push({ path, message });
  const { path, init, tokenizer, storage } = model;
  if (!path && !init) report(["model"], "give model.path (a folder) or model.init (sizes)");
  if (init && !path && !tokenizer) report(["model", "tokenizer"], "model.init needs a tokenizer");
  if (init && path) report(["model"], "give model.path or model.init, not both");
  const { promptLoss, patience = 0, validateEvery } = train;
  if (prompt?.attention === "both" && typeof promptLoss === "number" && promptLoss > 0) {
    const why = "a prompt's token already sees the next one, so there is no loss to learn from";
    report(["train", "promptLoss"], `is ${promptLoss}, expected 0 with prompt.attention "both": ${why}`);
  }
  if (patience > 0 && validateEvery === 0) {
    report(["train", "patience"], `${patience} needs validations: expected train.validateEvery above 0`);
  }
  if (!adapter) return problems;
  const { name, storages, startsFrom } = methodOf(adapter);
  if (storage && !storages.includes(storage)) {
    const others = METHODS.filter((method) => (method.storages as readonly string[]).includes(storage));
    const own = storages.map((one) => `"${one}"`).join(" or ");
    const instead =
      others.length > 0 ? `, or adapter.method ${others.map((method) => `"${method.name}"`).join(" or ")}` : "";
    report(
      ["model", "storage"],
      `${storage} cannot be trained: expected ${own} with adapter.method "${name}"${instead}`,
    );
  }
  if (init && !path && startsFrom === "trained model") {
    const whole = METHODS.filter((method) => method.startsFrom === "any").map((method) => `"${method.name}"`);
    report(["adapter", "method"], `a model from nothing is trained whole: expected ${whole.join(" or ")}`);
  }
  return problems;
}
