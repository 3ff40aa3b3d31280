import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { copyFileAtomic, writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { openModelTokenizer, openModelTokenizerParts } from "../runs/tokenizer.ts";
import { SPECIAL_TOKENS_FILE } from "../tokenizers/added-tokens.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "../tokenizers/bounded-json.ts";
import { CHAT_TEMPLATE_FILE, tokenizerFiles } from "../tokenizers/open-tokenizer.ts";
import {
  type OpenedTokenizer,
  type PieceTable,
  SENTENCEPIECE_FILE,
  TOKENIZERS_FILE,
} from "../tokenizers/read-tokenizer.ts";
import { TOKENIZER_CONFIG_FILE } from "../tokenizers/tokenizer-config.ts";
import { differentText, tokenizerJsonOf } from "../tokenizers/write-tokenizer-json.ts";
import { isTokenizerFile, namesIn } from "./output-folder.ts";

const MAX_CONFIG_BYTES = 8 * 2 ** 20;
/** The class of transformers that reads tokenizer.json as it is, in version 4 and 5. */
const PLAIN_CLASS = "PreTrainedTokenizerFast";
/** What a tokenizer.json needs of the files next to a table of pieces; the template may be written as code otherwise. */
const NATIVE_FILES: readonly string[] = [TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE, CHAT_TEMPLATE_FILE];
const MARKS = ["bos", "eos", "unk", "pad"] as const;

export interface TokenizerExport {
  /** The `model_type` of the model that the tokenizer belongs to. */
  modelType: string;
  onNotice: (line: string) => void;
  /** Entries of tokenizer_config.json besides those that the tokenizer has. */
  config?: JsonObject;
  /**
   * For a model in transformers' own architecture: only the tokenizer.json, made anew of a table of pieces, by which command pieces are found in
   * a text, as chat templates need them; without the authors' code.
   */
  native?: boolean;
}

/**
 * Writes all files of a tokenizer into a folder that transformers opens without SentencePiece: where there is none, a tokenizer.json is made
 * of the tokenizer's pieces. Files of an older tokenizer are removed. A tokenizer that a tokenizer.json cannot hold is a notice.
 */
export async function exportTokenizer(path: string, directory: string, options: TokenizerExport): Promise<void> {
  const opened = await openModelTokenizerParts(path, { modelType: options.modelType });
  if (options.native && opened.content.kind === "pieces")
    return exportNativeTokenizer(opened, path, directory, options);
  const files = await tokenizerFiles(path);
  const names = files.map(({ name }) => name);
  for (const old of await namesIn(directory)) {
    if (isTokenizerFile(old) && !names.includes(old)) await rm(join(directory, old), { force: true });
  }
  for (const { source, name } of files) await copyFileAtomic(source, join(directory, name));
  if (opened.content.kind !== "pieces" || names.includes(TOKENIZERS_FILE)) {
    if (names[0] === SENTENCEPIECE_FILE) await compare(opened, directory, options);
    if (options.config || !names.includes(TOKENIZER_CONFIG_FILE)) await writeConfig(opened, directory, options, null);
    return;
  }
  try {
    const addsEos = (await configOf(directory)).add_eos_token === true;
    const file = tokenizerJsonOf(opened.content, opened.tokenizer, addsEos);
    await writeFileAtomic(join(directory, TOKENIZERS_FILE), `${JSON.stringify(file)}\n`);
    await writeConfig(opened, directory, options, file);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    if (options.config) await writeConfig(opened, directory, options, null);
    options.onNotice(`${error.message} transformers needs sentencepiece and protobuf to open the tokenizer.`);
  }
}

/** Throws a UserError for a table of pieces that a tokenizer.json cannot hold. */
async function exportNativeTokenizer(
  opened: OpenedTokenizer,
  path: string,
  directory: string,
  options: TokenizerExport,
): Promise<void> {
  for (const old of await namesIn(directory)) {
    if (isTokenizerFile(old)) await rm(join(directory, old), { force: true });
  }
  const files = (await tokenizerFiles(path)).filter(({ name }) => NATIVE_FILES.includes(name));
  for (const { source, name } of files) await copyFileAtomic(source, join(directory, name));
  const addsEos = (await configOf(directory)).add_eos_token === true;
  const file = tokenizerJsonOf(opened.content as PieceTable, opened.tokenizer, addsEos, true);
  await writeFileAtomic(join(directory, TOKENIZERS_FILE), `${JSON.stringify(file)}\n`);
  await writeConfig(opened, directory, options, file);
}

/**
 * As {@link exportTokenizer}, next to one file that holds no tokenizer for transformers (GGUF). The tokenizer of another model that is in the
 * folder is kept, with a notice, unless it may be replaced.
 */
export async function exportTokenizerNextTo(
  path: string,
  directory: string,
  options: TokenizerExport & { overwrite: boolean },
): Promise<void> {
  const [own] = await tokenizerFiles(path);
  const others = (await namesIn(directory)).filter(isTokenizerFile);
  if (others.length > 0 && !options.overwrite && !(await isSameFile(own.source, join(directory, own.name)))) {
    options.onNotice(`${directory}: has the tokenizer of another model (${others[0]}), which is kept.`);
    return;
  }
  await exportTokenizer(path, directory, options);
}

const isSameFile = async (one: string, other: string): Promise<boolean> =>
  existsSync(other) && (await readFile(one)).equals(await readFile(other));

const configOf = async (directory: string): Promise<JsonObject> => readIfThere(directory, TOKENIZER_CONFIG_FILE);

const readIfThere = async (directory: string, name: string): Promise<JsonObject> => {
  const folder = nodeFolder(directory);
  return folder.has(name) ? readJsonObject(folder, name, "a JSON object", MAX_CONFIG_BYTES) : {};
};

/** A tokenizer.json next to a tokenizer.model is what transformers reads; training read the other one. */
async function compare({ tokenizer, content, file }: OpenedTokenizer, directory: string, options: TokenizerExport) {
  const { modelType } = options;
  const other = join(directory, TOKENIZERS_FILE);
  try {
    const text = differentText(content as PieceTable, tokenizer, await openModelTokenizer(other, { modelType }));
    if (text === null) return;
    options.onNotice(
      `${other}: gives ${JSON.stringify(text)} other ids than ${file}, which the model was trained with.`,
    );
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    options.onNotice(`${error.message} It is copied as it is.`);
  }
}

/** Writes tokenizer_config.json; for a tokenizer.json that was made here, `file`, so that transformers reads that file alone. */
async function writeConfig(
  { tokenizer, content }: OpenedTokenizer,
  directory: string,
  { config: more = {} }: TokenizerExport,
  file: JsonObject | null,
): Promise<void> {
  const own = await configOf(directory);
  const named = file ? plainMarks({ ...own, ...(await readIfThere(directory, SPECIAL_TOKENS_FILE)) }) : own;
  const marks = MARKS.flatMap((mark) => {
    const id = tokenizer[`${mark}Id`];
    return id === null || named[`${mark}_token`] !== undefined ? [] : [[`${mark}_token`, tokenizer.pieceOf(id)]];
  });
  const config: Record<string, unknown> = {
    clean_up_tokenization_spaces: false,
    ...(file ? { add_bos_token: tokenizer.bosId !== null, add_eos_token: false } : {}),
    ...own,
    ...named,
    ...Object.fromEntries(marks),
    ...more,
  };
  if (file) {
    const { model, prefixesEveryPart } = content as PieceTable;
    config.tokenizer_class = PLAIN_CLASS;
    config.add_prefix_space = model.normalizer.addDummyPrefix;
    config.legacy = prefixesEveryPart;
    config.added_tokens_decoder = Object.fromEntries(
      (file.added_tokens as JsonObject[]).map(({ id, ...token }) => [String(id), token]),
    );
    config.auto_map = withoutTokenizer(config.auto_map);
  }
  config.tokenizer_class ??= PLAIN_CLASS;
  await writeFileAtomic(join(directory, TOKENIZER_CONFIG_FILE), `${JSON.stringify(config, null, 2)}\n`);
}

/** Special tokens as texts: their flags are those of the tokenizer.json. */
function plainMarks(values: JsonObject): JsonObject {
  const named = Object.entries(values).filter(([key]) => key.endsWith("_token") || key.endsWith("special_tokens"));
  const textOf = (value: unknown): unknown => (isJsonObject(value) && "content" in value ? value.content : value);
  return Object.fromEntries(
    named.map(([key, value]) => [key, Array.isArray(value) ? value.map(textOf) : textOf(value)] as const),
  );
}

/** The authors' Python code would read the SentencePiece file. */
function withoutTokenizer(map: unknown): unknown {
  if (!isJsonObject(map)) return undefined;
  const { AutoTokenizer: _, ...others } = map;
  return Object.keys(others).length > 0 ? others : undefined;
}
