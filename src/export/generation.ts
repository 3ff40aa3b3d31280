import { existsSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { ChatTemplate } from "../prompts/chat-template.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { GENERATION_CONFIG_FILE } from "../tokenizers/tokenizer-config.ts";

/** The marks of a model, by its tokenizer or else by its configuration. */
export type Marks = Pick<Tokenizer, "bosId" | "eosId" | "padId">;

/** The id of the token that ends an answer where it is not the tokenizer's own end token; null where it is that one. */
export function answerEndId(
  template: ChatTemplate | null,
  tokenizer: Pick<Tokenizer, "idOf" | "eosId">,
): number | null {
  const id = template?.end ? tokenizer.idOf(template.end) : null;
  return id === tokenizer.eosId ? null : id;
}

/**
 * Writes generation_config.json of a model, by which transformers and vLLM know where an answer ends: that of the base with the end of the template
 * in addition, or a new one.
 */
export async function writeGenerationConfig(directory: string, marks: Marks, endId: number | null): Promise<void> {
  const file = join(directory, GENERATION_CONFIG_FILE);
  const { bosId, eosId, padId } = marks;
  const own = existsSync(file)
    ? await readJsonObject(file, "how a model generates")
    : { bos_token_id: bosId, eos_token_id: eosId, pad_token_id: padId ?? eosId, do_sample: false };
  const ends = [own.eos_token_id ?? eosId, endId].flat().filter((id) => id !== null);
  const distinct = [...new Set(ends)];
  const value = { ...own, eos_token_id: distinct.length === 1 ? distinct[0] : distinct };
  await writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`);
}
