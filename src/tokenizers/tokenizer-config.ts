import { showValue, UserError } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { type AddedToken, namedSpecials, readAddedTokens } from "./added-tokens.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "./bounded-json.ts";

export const TOKENIZER_CONFIG_FILE = "tokenizer_config.json";
export const GENERATION_CONFIG_FILE = "generation_config.json";
const MODEL_CONFIG_FILE = "config.json";
const MAX_CONFIG_BYTES = 8 * 2 ** 20;

/** A mark as a folder's files name it, by its piece or by its id; null where no file names it. */
export type Mark = { piece: string } | { id: number } | null;

/** The settings of a tokenizer in the files next to it. */
export interface TokenizerSettings {
  /** The folder, for errors. */
  directory: string;
  bos: Mark;
  eos: Mark;
  pad: Mark;
  unk: Mark;
  /** False where the tokenizer sets no begin mark before a text although its vocabulary has one (Baichuan2); null where no file says it. */
  addsBos: boolean | null;
  /** The tokens that transformers adds to the tokenizer's own file. */
  added: readonly AddedToken[];
  /** Special tokens that the files name, most of them without an id. */
  specials: readonly string[];
  /** `add_prefix_space`: whether a space is set before a text; null where no file says it. */
  addPrefixSpace: boolean | null;
  /** `legacy`: whether a space is also set before the text after an added token; null where no file says it. */
  legacy: boolean | null;
  /** The `tokenizer_class` and `model_type` that the files name; null where they name none. */
  tokenizerClass: string | null;
  modelType: string | null;
}

/**
 * Reads tokenizer_config.json, generation_config.json and the model_type of config.json, those that exist. Throws a UserError when one of
 * them is broken.
 */
export async function readTokenizerSettings(folder: Folder): Promise<TokenizerSettings> {
  const read = async (name: string): Promise<{ file: string; values: JsonObject }> => ({
    file: folder.path(name),
    values: folder.has(name) ? await readJsonObject(folder, name, "a JSON object", MAX_CONFIG_BYTES) : {},
  });
  const tokenizer = await read(TOKENIZER_CONFIG_FILE);
  const generation = await read(GENERATION_CONFIG_FILE);
  const model = await read(MODEL_CONFIG_FILE);
  // The tokenizer's own file decides: Qwen's generation_config.json names a begin mark, its tokenizer_config.json says that there is none.
  const mark = (name: string): Mark =>
    Object.hasOwn(tokenizer.values, `${name}_token`)
      ? markPiece(tokenizer.values[`${name}_token`], `${tokenizer.file}: ${name}_token`)
      : markId(generation.values[`${name}_token_id`], `${generation.file}: ${name}_token_id`);
  const flag = (name: string) => flagOrNull(tokenizer.values[name], `${tokenizer.file}: ${name}`);
  return {
    directory: folder.directory,
    bos: mark("bos"),
    eos: mark("eos"),
    pad: mark("pad"),
    unk: mark("unk"),
    added: await readAddedTokens(folder, tokenizer.values, tokenizer.file),
    specials: await namedSpecials(folder, tokenizer.values),
    addPrefixSpace: flag("add_prefix_space"),
    legacy: flag("legacy"),
    addsBos: flag("add_bos_token"),
    tokenizerClass: textOrNull(tokenizer.values.tokenizer_class),
    modelType: textOrNull(model.values.model_type),
  };
}

function flagOrNull(value: unknown, where: string): boolean | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean") return value;
  throw new UserError(`${where} is ${showValue(value)}, expected true or false.`);
}

const textOrNull = (value: unknown) => (typeof value === "string" ? value : null);

/** transformers writes a special token as its text or as an object with `content`. */
function markPiece(value: unknown, where: string): Mark {
  if (value === null) return null;
  const piece = isJsonObject(value) ? value.content : value;
  if (typeof piece === "string" && piece !== "") return { piece };
  throw new UserError(`${where} is ${showValue(value)}, expected a piece.`);
}

/** The first of several end marks is the one that ends a chat's turn. */
function markId(value: unknown, where: string): Mark {
  if (value === undefined || value === null) return null;
  const id: unknown = Array.isArray(value) ? value[0] : value;
  if (typeof id === "number" && Number.isInteger(id) && id >= 0) return { id };
  throw new UserError(`${where} is ${showValue(value)}, expected an id.`);
}
