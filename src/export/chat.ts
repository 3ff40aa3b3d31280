import { rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import type { ChatTemplate } from "../prompts/chat-template.ts";
import { jinjaOf, type TemplateForm } from "../prompts/template-text.ts";
import { createTokenFinder } from "../tokenizers/find-tokens.ts";
import { CHAT_TEMPLATE_FILE } from "../tokenizers/open-tokenizer.ts";
import { encodePlain, type Tokenizer } from "../tokenizers/tokenizer.ts";

// The chat template of a recipe for programs that encode a whole prompt at once, where training encodes its pieces one by one.

/** A query as relation extraction has them. */
const PROBE = "请根据给定句子抽取关系。\n甲公司收购乙公司。";

/**
 * How a template is written for a tokenizer as other programs use it, so that a whole prompt has the ids that training gives it; null where one
 * of its special tokens cannot be written as text. `isExact`: whether the ids of a query are the same.
 */
export function templateForm(
  template: ChatTemplate,
  tokenizer: Tokenizer,
): { form: TemplateForm; isExact: boolean } | null {
  const ids = (text: string) => tokenizer.encode(text).join();
  for (const piece of template.pieces) {
    if (piece.kind === "token" && ids(piece.piece) !== String(tokenizer.idOf(piece.piece))) return null;
  }
  const endPiece = template.end ?? pieceOf(tokenizer, tokenizer.eosId);
  const begin = template.begin === "bos" ? pieceOf(tokenizer, tokenizer.bosId) : "";
  const wanted = template.pieces.flatMap((piece) => {
    if (piece.kind === "token") return [tokenizer.idOf(piece.piece) as number];
    return encodePlain(tokenizer, piece.kind === "text" ? piece.text : piece.before + PROBE + piece.after);
  });
  const whole = (joins: readonly string[]) =>
    template.pieces
      .map((piece, i) => {
        if (piece.kind === "token") return joins[i] + piece.piece;
        return joins[i] + (piece.kind === "text" ? piece.text : piece.before + PROBE + piece.after);
      })
      .join("");
  const spaces = (isSpaced: (i: number) => boolean) => template.pieces.map((_, i) => (i > 0 && isSpaced(i) ? " " : ""));
  const isText = (i: number) => template.pieces[i].kind !== "token";
  const choices = [spaces(() => false), spaces((i) => isText(i) && isText(i - 1)), spaces((i) => isText(i))];
  const exact = choices.find((joins) => ids(whole(joins)) === wanted.join());
  return { form: { begin, end: endPiece, joins: exact ?? choices[0] }, isExact: exact !== undefined };
}

const pieceOf = (tokenizer: Tokenizer, id: number | null) => (id === null ? "" : tokenizer.pieceOf(id));

/** The template of a run's prompts next to a base's own chat template, which is another one. */
export const TRAINED_TEMPLATE_FILE = "trained_chat_template.jinja";

/**
 * Writes the chat template of the prompts and returns the name of its file: chat_template.jinja where the base has none (`own` is null), else
 * a file next to it. Null where the base's is the same, or where the tokenizer cannot hold it. `tokenizer` is the one that programs use which
 * read the file.
 */
export async function writeChatTemplate(
  directory: string,
  template: ChatTemplate | null,
  { own, tokenizer }: { own: string | null; tokenizer: Tokenizer },
  onNotice: (line: string) => void,
): Promise<string | null> {
  await rm(join(directory, TRAINED_TEMPLATE_FILE), { force: true });
  const text = template && chatTemplateText(template, tokenizer, directory, onNotice);
  if (text === null || text === own) return null;
  const name = own === null ? CHAT_TEMPLATE_FILE : TRAINED_TEMPLATE_FILE;
  await writeFileAtomic(join(directory, name), text);
  return name;
}

/** The template in Jinja; null, with a notice, where the tokenizer cannot hold it. */
export function chatTemplateText(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  where: string,
  onNotice: (line: string) => void,
): string | null {
  const made = templateForm(template, tokenizer);
  if (!made) {
    onNotice(
      `${where}: has no chat template: the special tokens of "${template.name}" cannot be written as text with its tokenizer.`,
    );
    return null;
  }
  if (!made.isExact) {
    onNotice(
      `${where}: a prompt by the chat template "${template.name}" has other ids here than in training, where its parts are encoded one by one.`,
    );
  }
  return jinjaOf(template, made.form);
}

/** A tokenizer that finds the special tokens of a template in a text, as llama.cpp does, which sets the space before each part itself. */
export function findingTokens(tokenizer: Tokenizer, template: ChatTemplate): Tokenizer {
  const pieces = template.pieces.flatMap((piece) => (piece.kind === "token" ? [piece.piece] : []));
  const tokens = pieces.flatMap((text) => {
    const id = tokenizer.idOf(text);
    return id === null ? [] : [{ id, text, special: true, stripsLeft: false, stripsRight: false, singleWord: false }];
  });
  const find = createTokenFinder(tokens);
  const encode = (text: string) =>
    find(text, false).flatMap((part) => (typeof part === "string" ? tokenizer.encode(part) : [part.id]));
  return { ...tokenizer, encode, encodePlain: (text) => encodePlain(tokenizer, text) };
}
