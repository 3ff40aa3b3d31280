import { methodOf } from "../adapters/methods.ts";
import { familyNamed } from "../models/families/registry.ts";
import { AUTO_TEMPLATE, chatTemplate, type TokenFinder, templateFor } from "../prompts/chat-template.ts";
import type { Recipe } from "./schema.ts";

/**
 * The recipe with names in the place of "auto", for a model of a family and its tokenizer (null: unknown): the family's chat template (`plain` for
 * a model from nothing) and the names in the adapter's settings. The run folder keeps this recipe. Throws a UserError for a family without a template.
 */
export function resolveNames(recipe: Recipe, modelType: string, tokenizer: TokenFinder | null): Recipe {
  const { model, prompt, adapter } = recipe;
  const auto = () =>
    model.init
      ? chatTemplate("plain").name
      : templateFor(familyNamed(modelType, "prompt.template").chatTemplate, tokenizer);
  const template = prompt.template === AUTO_TEMPLATE ? auto() : prompt.template;
  return { ...recipe, prompt: { ...prompt, template }, adapter: methodOf(adapter).resolve(adapter, modelType) };
}
