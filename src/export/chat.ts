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

/** Writes chat_template.jinja; `tokenizer` is the one that was written into the folder. */
export async function writeChatTemplate(
  directory: string,
  template: ChatTemplate,
  tokenizer: Tokenizer,
  onNotice: (line: string) => void,
): Promise<boolean> {
  const text = chatTemplateText(template, tokenizer, directory, onNotice);
  if (text === null) return false;
  await writeFileAtomic(join(directory, CHAT_TEMPLATE_FILE), text);
  return true;
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

/** A tokenizer that finds these special tokens in a text, as llama.cpp does. */
export function findingTokens(tokenizer: Tokenizer, pieces: readonly string[]): Tokenizer {
  const tokens = pieces.flatMap((text) => {
    const id = tokenizer.idOf(text);
    return id === null ? [] : [{ id, text, special: true, stripsLeft: false, stripsRight: false, singleWord: false }];
  });
  const find = createTokenFinder(tokens);
  const encode = (text: string) =>
    find(text, false).flatMap((part) => (typeof part === "string" ? tokenizer.encode(part) : [part.id]));
  return { ...tokenizer, encode, encodePlain: (text) => encodePlain(tokenizer, text) };
}
