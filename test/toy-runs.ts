import { openReference } from "../src/compute/reference/backend.ts";
import { saveDecoder } from "../src/models/save.ts";
import { copyTokenizer, openTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { TOKENIZER, toyRecipe, writeRecipe } from "./e2e/support.ts";
import { tinyDecoder } from "./tiny-model.ts";

/** Writes a tiny base model with a tokenizer into a folder. */
export async function writeToyBase(directory: string): Promise<string> {
  const backend = openReference();
  const { vocabularySize } = await openTokenizer(TOKENIZER);
  const spec = { vocabularySize, maxTokens: 256 };
  await saveDecoder(await tinyDecoder(backend, { seed: 1, spec, deviation: 0.15 }), directory, { dtype: "F32" });
  await copyTokenizer(TOKENIZER, directory);
  await backend.close();
  return directory;
}

/** Writes a recipe of LoRA on that base for the toy set to a file. */
export function writeToyLora(file: string, data: string, base: string, changes: Record<string, unknown> = {}): string {
  const recipe = toyRecipe(data);
  return writeRecipe(file, {
    ...recipe,
    model: { path: base, storage: "float32" },
    adapter: { method: "lora", rank: 4, alpha: 8, targets: "all" },
    train: { ...recipe.train, learningRate: 0.03 },
    ...changes,
  });
}
