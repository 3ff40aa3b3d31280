import { showValue, UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { JsonObject } from "./bounded-json.ts";
import type { FoundToken } from "./find-tokens.ts";
import { SPACE_MARK } from "./normalizer.ts";
import type { PieceTable } from "./read-tokenizer.ts";
import { CONTROL, NORMAL, type SentencePieceModel, UNKNOWN, UNUSED, USER_DEFINED } from "./sentencepiece-model.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { createTokenizerJson } from "./tokenizer-json.ts";

const REPLACE_SPACES = { type: "Replace", pattern: { String: " " }, content: SPACE_MARK };
const SEED = 7;
const RANDOM_PROBES = 2000;
const MOST_PIECE_PROBES = 4000;
const REPETITIONS = [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 37];

/**
 * Writes a table of pieces as a tokenizer.json, by which Hugging Face's tokenizers give the ids that `tokenizer` gives; `addsEos`: whether
 * they set the end mark, too. Throws a UserError for a table whose rules that file cannot hold, or for which it gives other ids on texts made
 * of its pieces. `findsCommands`: whether command pieces are found in a text, which a chat template needs.
 */
export function tokenizerJsonOf(
  table: PieceTable,
  tokenizer: Tokenizer,
  addsEos: boolean,
  findsCommands = false,
): JsonObject {
  const { model } = table;
  expectPlainRules(model);
  const pieceOf = (id: number | null) => (id === null ? [] : [tokenizer.pieceOf(id)]);
  const begin = table.beginPieces.length > 0 ? table.beginPieces : pieceOf(tokenizer.bosId);
  const isolates = model.normalizer.addDummyPrefix && model.pieces.types.includes(USER_DEFINED);
  const file = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(table, isolates, findsCommands),
    ...spaces(table, isolates),
    post_processor: postProcessor(begin, addsEos ? pieceOf(tokenizer.eosId) : [], tokenizer),
    decoder: decoder(model),
    model: {
      type: "BPE",
      dropout: null,
      unk_token: model.pieces.texts[model.pieces.types.indexOf(UNKNOWN)],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: model.trainer.byteFallback,
      ignore_merges: isolates,
      vocab: vocabulary(table),
      merges: mergesOf(model),
    },
  };
  expectSameIds(file, table, tokenizer);
  return file;
}

const cannotHold = ({ name }: SentencePieceModel, what: string) =>
  new UserError(`${name}: ${what}, which a tokenizer.json cannot hold.`);

function expectPlainRules(model: SentencePieceModel): void {
  const { normalizer, denormalizer, pieces } = model;
  if (normalizer.charsmap.length > 0 || (denormalizer?.charsmap.length ?? 0) > 0) {
    throw cannotHold(model, "has normalisation rules");
  }
  if (normalizer.removeExtraWhitespaces) throw cannotHold(model, "removes extra spaces");
  if (!normalizer.escapeWhitespaces) throw cannotHold(model, "does not mark spaces");
  if (pieces.types.includes(UNUSED)) throw cannotHold(model, "has unused pieces");
}

/** Pieces and command pieces by text. */
function vocabulary({ model, commandPieces }: PieceTable): Record<string, number> {
  // Without a prototype: "__proto__" may be a piece.
  const ids: Record<string, number> = Object.create(null);
  for (const [id, text] of [...model.pieces.texts, ...commandPieces].entries()) {
    if (text in ids) throw cannotHold(model, `has ${showValue(text)} twice`);
    ids[text] = id;
  }
  return ids;
}

/** Every way to make a piece of two others, the best score first, and of one piece the longest left part first. */
function mergesOf(model: SentencePieceModel): [string, string][] {
  const { texts, scores, types } = model.pieces;
  const normal = new Set(texts.filter((_, id) => types[id] === NORMAL));
  const merges: [string, string][] = [];
  const order = texts.map((_, id) => id).sort((a, b) => scores[b] - scores[a] || a - b);
  for (const id of order) {
    const text = texts[id];
    if (types[id] !== NORMAL) continue;
    for (let cut = text.length - 1; cut > 0; cut--) {
      const [left, right] = [text.slice(0, cut), text.slice(cut)];
      if (normal.has(left) && normal.has(right)) merges.push([left, right]);
    }
  }
  return merges;
}

/**
 * Command pieces are left out where no text may give them. Where they are found, those that are letters are found as whole words only: not "sop" in
 * "philosophy".
 */
function addedTokens(
  { model, added, commandPieces }: PieceTable,
  isolates: boolean,
  findsCommands: boolean,
): JsonObject[] {
  const { texts, types } = model.pieces;
  const token = (id: number, content: string, special: boolean, more: Partial<FoundToken> = {}) => ({
    id,
    content,
    single_word: more.singleWord ?? false,
    lstrip: more.stripsLeft ?? false,
    rstrip: more.stripsRight ?? false,
    normalized: false,
    special,
  });
  const isAdded = (type: number) => type === CONTROL || type === UNKNOWN || (type === USER_DEFINED && !isolates);
  return [
    ...texts.flatMap((text, id) => (isAdded(types[id]) ? [token(id, text, types[id] !== USER_DEFINED)] : [])),
    ...(findsCommands ? commandPieces : []).map((text, i) =>
      token(texts.length + i, text, true, { singleWord: /^\w+$/.test(text) }),
    ),
    ...added.map((one) => token(one.id, one.text, one.special, one)),
  ];
}

/**
 * How spaces become marks, and where one is set before a text. The library's Metaspace sets none before a text that begins with a mark, but
 * SentencePiece does; where only the beginning of all text has one, a first Metaspace therefore works with real spaces, after all have
 * become marks.
 */
function spaces({ model, added, prefixesEveryPart }: PieceTable, isolates: boolean): JsonObject {
  const metaspace = (replacement: string, scheme: string) => ({
    type: "Metaspace",
    replacement,
    prepend_scheme: scheme,
    split: false,
  });
  const sequence = (kind: string, steps: object[]) =>
    steps.length > 1 ? { type: "Sequence", [kind]: steps } : (steps[0] ?? null);
  const { addDummyPrefix } = model.normalizer;
  const atStart = addDummyPrefix && added.length > 0 && !prefixesEveryPart;
  const prepend = addDummyPrefix && !atStart ? [{ type: "Prepend", prepend: SPACE_MARK }] : [];
  const cut = isolates
    ? [{ type: "Split", pattern: { Regex: symbols(model) }, behavior: "Isolated", invert: false }]
    : [];
  const mark = atStart ? [metaspace(" ", "first"), metaspace(SPACE_MARK, "never")] : [];
  return {
    normalizer: sequence("normalizers", [...prepend, REPLACE_SPACES]),
    pre_tokenizer: sequence("pretokenizers", [...mark, ...cut]),
  };
}

/** An expression of the user-defined symbols, the longest first, as SentencePiece finds them. */
function symbols({ pieces: { texts, types } }: SentencePieceModel): string {
  const own = texts.filter((_, id) => types[id] === USER_DEFINED).sort((a, b) => b.length - a.length);
  return own.map((text) => text.replaceAll(" ", SPACE_MARK).replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("|");
}

/** The marks that are set around a text. */
function postProcessor(begin: readonly string[], end: readonly string[], tokenizer: Tokenizer): JsonObject | null {
  const marks = [...begin, ...end];
  if (marks.length === 0) return null;
  const around = (sequence: "A" | "B", type: number) => [
    ...begin.map((id) => ({ SpecialToken: { id, type_id: type } })),
    { Sequence: { id: sequence, type_id: type } },
    ...end.map((id) => ({ SpecialToken: { id, type_id: type } })),
  ];
  const entries = marks.map((text) => [text, { id: text, ids: [tokenizer.idOf(text)], tokens: [text] }]);
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: Object.fromEntries(entries),
  };
}

function decoder({ trainer, normalizer }: SentencePieceModel): JsonObject {
  const steps: object[] = [{ type: "Replace", pattern: { String: SPACE_MARK }, content: " " }];
  if (trainer.byteFallback) steps.push({ type: "ByteFallback" });
  steps.push({ type: "Fuse" });
  if (normalizer.addDummyPrefix) steps.push({ type: "Strip", content: " ", start: 1, stop: 0 });
  return { type: "Sequence", decoders: steps };
}

/**
 * Merges have an order where scores may be equal, and SentencePiece takes the leftmost of equals. Whether that matters for a vocabulary is tried:
 * on its pieces, on repetitions of what repeats in them, on neighbours of equal score, and on random texts.
 */
function expectSameIds(file: JsonObject, table: PieceTable, tokenizer: Tokenizer): void {
  const { model } = table;
  const settings = { directory: model.name, bos: null, eos: null, pad: null, addsBos: false };
  const text = differentText(table, tokenizer, createTokenizerJson(file, settings, model.name), true);
  if (text !== null) throw cannotHold(model, `gives ${showValue(text)} other ids by an order of equal scores`);
}

/**
 * A text made of a table's pieces for which two tokenizers give other ids; null where none was found. `leading`: whether also texts are
 * tried that begin with a space, which transformers 5 reads otherwise than SentencePiece.
 */
export function differentText(
  { model }: PieceTable,
  tokenizer: Tokenizer,
  other: Tokenizer,
  leading = false,
): string | null {
  for (const text of probes(model)) {
    if (!leading && /^[ \u2581]/.test(text)) continue;
    if (other.encode(text).join() !== tokenizer.encode(text).join()) return text;
  }
  return null;
}

function* probes({ pieces: { texts, scores, types } }: SentencePieceModel): Generator<string> {
  yield* ["", " ", "  ", " a", "a ", SPACE_MARK, "龘𠮷\n\t<", "1998年，Zhang San 与 李四\n合作。"];
  const normal = texts.flatMap((_, id) => (types[id] === NORMAL ? [id] : []));
  const textOf = (id: number) => texts[id].replaceAll(SPACE_MARK, " ");
  const step = Math.max(1, Math.floor(normal.length / MOST_PIECE_PROBES));
  for (let i = 0; i < normal.length; i += step) yield textOf(normal[i]);
  const units = new Set(normal.map((id) => repeatedUnit(textOf(id))));
  units.delete("");
  for (const unit of units) for (const n of REPETITIONS) yield unit.repeat(n);
  const byScore = new Map<number, number[]>();
  for (const id of normal) if (texts[id].length > 1) byScore.set(scores[id], [...(byScore.get(scores[id]) ?? []), id]);
  const random = createRandom(SEED);
  const any = () => textOf(normal[random.below(normal.length)]);
  for (const equal of byScore.values()) {
    if (equal.length === 1) continue;
    const parts = equal.slice(0, 16).map(textOf);
    for (const a of parts)
      for (const b of parts) yield* [a + b, any() + a + b + any(), a.slice(1) + b, a + b.slice(0, -1)];
  }
  for (let i = 0; i < RANDOM_PROBES; i++) {
    let text = "";
    for (let n = 1 + random.below(8); n > 0; n--) text += any();
    yield text;
  }
}

/** The shortest text that a text of more than one character repeats, or "". */
function repeatedUnit(text: string): string {
  for (let length = 1; length <= text.length / 2; length++) {
    if (text.length % length === 0 && text.slice(0, length).repeat(text.length / length) === text) {
      return text.slice(0, length);
    }
  }
  return "";
}
