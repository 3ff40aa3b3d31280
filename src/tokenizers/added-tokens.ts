import { showValue, UserError } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "./bounded-json.ts";
import { createTokenFinder, type FoundToken } from "./find-tokens.ts";
import type { Tokenizer } from "./tokenizer.ts";

export const ADDED_TOKENS_FILE = "added_tokens.json";
export const SPECIAL_TOKENS_FILE = "special_tokens_map.json";
const MAX_FILE_BYTES = 8 * 2 ** 20;
const MAX_ID = 1 << 21;

/** A token that was added to a vocabulary, in a file next to the tokenizer's own. */
export interface AddedToken extends FoundToken {
  /** Where it is from, for errors. */
  where: string;
}

/**
 * Reads the tokens that transformers adds to a tokenizer: those of added_tokens.json and of `added_tokens_decoder` in tokenizer_config.json
 * (`config`, read from `configFile`). Throws a UserError for an entry that cannot be used.
 */
export async function readAddedTokens(folder: Folder, config: JsonObject, configFile: string): Promise<AddedToken[]> {
  const map = await readValues(folder, SPECIAL_TOKENS_FILE);
  const specials = new Set([map, config].flatMap(namedTokens));
  const tokens = new Map<string, AddedToken>();
  const add = (token: AddedToken) => {
    const other = tokens.get(token.text) ?? [...tokens.values()].find(({ id }) => id === token.id);
    if (other && (other.id !== token.id || other.text !== token.text)) {
      const is = `${showValue(other.text)} with id ${other.id}`;
      throw new UserError(`${token.where}: ${showValue(token.text)} has id ${token.id}, but ${other.where} has ${is}.`);
    }
    tokens.set(token.text, token);
  };
  const added = folder.path(ADDED_TOKENS_FILE);
  for (const [text, id] of Object.entries(await readValues(folder, ADDED_TOKENS_FILE))) {
    add({ ...plainToken(text, id, added), special: specials.has(text) });
  }
  const { added_tokens_decoder: decoder = {} } = config;
  const where = `${configFile}: added_tokens_decoder`;
  if (!isJsonObject(decoder)) throw new UserError(`${where} is ${showValue(decoder)}, expected tokens by id.`);
  for (const [id, entry] of Object.entries(decoder)) {
    const { content, single_word, lstrip, rstrip, special }: JsonObject = isJsonObject(entry) ? entry : {};
    const token = plainToken(content, Number(id), where);
    const strips = { stripsLeft: lstrip === true, stripsRight: rstrip === true };
    add({
      ...token,
      ...strips,
      singleWord: single_word === true,
      special: special === true || specials.has(token.text),
    });
  }
  return [...tokens.values()].sort((a, b) => a.id - b.id);
}

/** The values of a file that a folder may lack. */
const readValues = async (folder: Folder, name: string): Promise<JsonObject> =>
  folder.has(name) ? readJsonObject(folder, name, "a JSON object", MAX_FILE_BYTES) : {};

function plainToken(text: unknown, id: unknown, where: string): AddedToken {
  const isId = typeof id === "number" && Number.isInteger(id) && id >= 0 && id < MAX_ID;
  if (typeof text !== "string" || text === "" || !isId) {
    throw new UserError(`${where}: has ${showValue(text)} with id ${showValue(id)}, expected a text and an id.`);
  }
  return { id, text, special: false, stripsLeft: false, stripsRight: false, singleWord: false, where };
}

/** The texts of the marks (bos_token, additional_special_tokens …) that a file of transformers names. */
function namedTokens(values: JsonObject): string[] {
  const named = Object.entries(values).filter(([key]) => key.endsWith("_token") || key === "additional_special_tokens");
  return named
    .flatMap(([, value]): unknown[] => (Array.isArray(value) ? value : [value]))
    .map((value) => (isJsonObject(value) ? value.content : value))
    .filter((text): text is string => typeof text === "string");
}

/** The special tokens, beyond begin, end and similar marks, that files of transformers name without an id. */
export async function namedSpecials(folder: Folder, config: JsonObject): Promise<string[]> {
  const map = await readValues(folder, SPECIAL_TOKENS_FILE);
  const lists = [map, config].flatMap(({ additional_special_tokens: one, extra_special_tokens: other }) => [
    one,
    other,
  ]);
  return lists
    .flatMap((list): unknown[] => (Array.isArray(list) ? list : isJsonObject(list) ? Object.values(list) : []))
    .map((value) => (isJsonObject(value) ? value.content : value))
    .filter((text): text is string => typeof text === "string");
}

/** The tokens that a tokenizer does not have yet. Throws a UserError for one that it has with another id. */
export function tokensToAdd(base: Tokenizer, tokens: readonly AddedToken[]): AddedToken[] {
  const added = tokens.filter(({ id, text, where }) => {
    const known = base.idOf(text);
    if (known === id) return false;
    if (known === null && id >= base.vocabularySize) return true;
    const is = known === null ? `the id of ${showValue(base.pieceOf(id))}` : `${known} in the tokenizer`;
    throw new UserError(`${where}: gives ${showValue(text)} the id ${id}, which is ${is}.`, {
      hint: "Are the files of the tokenizer from one checkpoint?",
    });
  });
  added.forEach(({ id, text, where }, i) => {
    if (id === base.vocabularySize + i) return;
    throw new UserError(
      `${where}: gives ${showValue(text)} the id ${id}, expected ${base.vocabularySize + i}: ids without a gap after the tokenizer's own.`,
    );
  });
  return added;
}

/**
 * A tokenizer with added tokens after its own. As in transformers, text is cut at them; the text between them is encoded by itself: by `base`
 * at the beginning, by `rest` after a token.
 */
export function withAddedTokens(
  base: Tokenizer,
  tokens: readonly AddedToken[],
  rest: Pick<Tokenizer, "encode" | "decode"> = base,
): Tokenizer {
  const firstId = base.vocabularySize;
  const find = createTokenFinder(tokens);
  const ids = new Map(tokens.map(({ id, text }) => [text, id]));
  const tokenOf = (id: number): AddedToken | undefined => tokens[id - firstId];
  const encode = (text: string, keepsSpecials: boolean): number[] => {
    const out: number[] = [];
    for (const [i, part] of find(text, keepsSpecials).entries()) {
      if (typeof part !== "string") out.push(part.id);
      // Not spread into one call: a text may have more ids than a call can have arguments.
      else for (const id of (i === 0 ? base : rest).encode(part)) out.push(id);
    }
    return out;
  };
  return {
    ...base,
    vocabularySize: firstId + tokens.length,
    encode: (text) => encode(text, false),
    encodePlain: (text) => encode(text, true),
    encodeAll: (texts) => texts.map((text) => encode(text, false)),
    decode(all) {
      let text = "";
      let run: number[] = [];
      let part: Pick<Tokenizer, "decode"> = base;
      for (const id of all) {
        const token = tokenOf(id);
        if (token === undefined) {
          run.push(id);
          continue;
        }
        text += part.decode(run) + (token.special ? "" : token.text);
        run = [];
        part = rest;
      }
      return text + part.decode(run);
    },
    pieceOf: (id) => tokenOf(id)?.text ?? base.pieceOf(id),
    idOf: (piece) => ids.get(piece) ?? base.idOf(piece),
  };
}
