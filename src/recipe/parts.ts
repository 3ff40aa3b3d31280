import type { z } from "zod";
import { type AdapterSettings, adapterSchema } from "../adapters/methods.ts";
import { type Recipe, recipeSchema } from "./schema.ts";

/** The parts of a recipe that its content is checked by; values that are missing or wrong are left out. */
export interface RecipeParts {
  model: Partial<Recipe["model"]>;
  data: Partial<Recipe["data"]>;
  prompt: Partial<Recipe["prompt"]>;
  /** Null when the method is unknown. */
  adapter: AdapterSettings | null;
  train: Partial<Recipe["train"]>;
}

/** The right parts of a recipe that has problems, so that one mistake does not hide another. */
export function rightParts(value: Readonly<Record<string, unknown>>): RecipeParts {
  const { model, data, prompt, train } = recipeSchema.shape;
  return {
    model: rightFields(model, value.model),
    data: rightFields(data, value.data),
    prompt: rightFields(prompt, value.prompt),
    adapter: rightAdapter(value.adapter),
    train: rightFields(train, value.train),
  };
}

/** The fields of a block that are right, with the defaults of those that are not given. */
function rightFields<T extends z.ZodObject>(schema: T, block: unknown): Partial<z.output<T>> {
  if (typeof block !== "object" || block === null || Array.isArray(block)) return {};
  const fields: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(schema.shape)) {
    const given = Object.hasOwn(block, key) ? (block as Record<string, unknown>)[key] : undefined;
    const { success, data } = (field as z.ZodType).safeParse(given);
    if (success && data !== undefined) fields[key] = data;
  }
  return fields as Partial<z.output<T>>;
}

/** The settings of a tuning method, with defaults in the place of wrong values. */
function rightAdapter(block: unknown): AdapterSettings | null {
  for (const option of adapterSchema.options) {
    const { success, data } = adapterSchema.safeParse(rightFields<z.ZodObject>(option, block));
    if (success) return data;
  }
  return null;
}
