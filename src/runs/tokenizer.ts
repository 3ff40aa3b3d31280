import { TOKENIZER_RULES } from "../models/families/registry.ts";
import { openTokenizer, openTokenizerParts } from "../tokenizers/open-tokenizer.ts";
import type { OpenedTokenizer } from "../tokenizers/read-tokenizer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

/**
 * Opens the tokenizer of a model folder, or a tokenizer file, as the model's family uses it. `modelType` names the family of a model that is
 * elsewhere. Throws a UserError for a tokenizer that is missing, broken or not supported.
 */
export async function openModelTokenizer(path: string, options: { modelType?: string } = {}): Promise<Tokenizer> {
  return openTokenizer(path, { ...options, rules: TOKENIZER_RULES });
}

/** As {@link openModelTokenizer}, for writing the tokenizer in another form. */
export async function openModelTokenizerParts(
  path: string,
  options: { modelType?: string } = {},
): Promise<OpenedTokenizer> {
  return openTokenizerParts(path, { ...options, rules: TOKENIZER_RULES });
}
