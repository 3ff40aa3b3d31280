import type { Example } from "../data/example.ts";

/** The label that an answer gives, or why none can be read from it. */
export type AnswerReading = { label: string; problem: null } | { label: null; problem: AnswerProblem };

export type AnswerProblem = "empty" | "cut off" | "no label" | "several labels";

/** Quotes, brackets, marks of Markdown and punctuation around a label. */
const AROUND = "\\s\"'`*_#>•·“”‘’「」『』《》〈〉【】〔〕\\[\\](){}<>。.,、;:!?~|\\-";
const STRIP = new RegExp(`^[${AROUND}]+|[${AROUND}]+$`, "gu");
/** "答案：", "关系类型为：", "label:", also with quotes around the name, as in JSON. */
const NAMED =
  /^["'“*]*(?:最终|正确)?(?:答案|回答|答|输出|关系(?:类型|类别|名称|名)?|标签|类别|label|relation|answer|output)["'”*]*\s*(?:是|为)?\s*[:=]\s*/iu;
/** What a conclusion begins with. */
const CONCLUSION = /因此|所以|综上|故而|最终|答案|结论|therefore|answer/giu;
/** Before a label that is given as the answer. */
const GIVES = new RegExp(`(?:是|为|属于|选择|选|[:=→])[${AROUND}]*$`, "u");
const DENIES = /(?:不|没|未|非|无|not|no)[^。;,\n]{0,4}$/iu;
/** Other characters in a short answer around its label. */
const MOST_OTHER_CHARS = 8;

/**
 * Reads an annotator's answer: the label alone, or with quotes, punctuation of either width, a name before it ("关系："), JSON, a fenced block,
 * thinking before it, or an explanation around it. An answer from which more than one label could be read has none.
 */
export function answerReader(labels: readonly string[]): (text: string, example: Example) => AnswerReading {
  const fold = foldingFor(labels);
  const labelOf = new Map(labels.map((label) => [fold(label), label]));
  const names = [...labelOf.keys()].sort((a, b) => b.length - a.length);
  const found = (label: string): AnswerReading => ({ label, problem: null });
  const none = (problem: AnswerProblem): AnswerReading => ({ label: null, problem });
  const oneOf = (given: ReadonlySet<string>): AnswerReading | null => {
    const [first] = given;
    return given.size === 0 ? null : given.size === 1 ? found(first) : none("several labels");
  };

  const whole = (piece: string): string | undefined => {
    const plain = fold(piece.trim());
    const stripped = plain.replace(STRIP, "");
    const named = plain.replace(NAMED, "");
    return [plain, stripped, named, named.replace(STRIP, ""), stripped.replace(NAMED, "").replace(STRIP, "")]
      .map((one) => labelOf.get(one))
      .find((label) => label !== undefined);
  };
  const mentions = (text: string) => mentionsOfNames(text, names).map(({ name, at }) => ({ name, at }));

  return (given, example) => {
    const text = withoutThinking(given);
    if (text === null) return none("cut off");
    if (text.trim() === "") return none("empty");
    const only = whole(text) ?? fromJson(text, whole);
    if (only !== undefined) return typeof only === "string" ? found(only) : none("several labels");
    const lines = text.split(/[\r\n]+/).filter((line) => line.trim() !== "");
    const ofLines = oneOf(new Set(lines.flatMap((line) => whole(line) ?? [])));
    if (ofLines) return ofLines;
    const folded = fold(text);
    const all = mentions(folded);
    if (all.length === 0) return none("no label");
    const concluded = [...folded.matchAll(CONCLUSION)].at(-1)?.index ?? 0;
    for (const from of concluded > 0 ? [concluded, 0] : [0]) {
      const told = all.filter(({ at }) => at >= from && GIVES.test(folded.slice(Math.max(0, at - 20), at)));
      const sure = told.filter(({ at }) => !DENIES.test(folded.slice(Math.max(0, at - 10), at)));
      const one = oneOf(new Set(sure.map(({ name }) => labelOf.get(name) as string)));
      if (one) return one;
    }
    const distinct = new Set(all.map(({ name }) => name));
    if (distinct.size > 1) return none("several labels");
    return isShort(folded, all[0], fold(example.head), fold(example.tail))
      ? found(labelOf.get(all[0].name) as string)
      : none("no label");
  };
}

/** The strongest folding that keeps the labels apart: width and case, width, none. */
function foldingFor(labels: readonly string[]): (text: string) => string {
  const foldings = [(text: string) => text.normalize("NFKC").toLowerCase(), (text: string) => text.normalize("NFKC")];
  const isKept = (fold: (text: string) => string) => new Set(labels.map(fold)).size === labels.length;
  return foldings.find(isKept) ?? ((text) => text);
}

/** What follows a model's thinking; null when the answer ends within it. */
function withoutThinking(text: string): string | null {
  const end = text.lastIndexOf("</think>");
  if (end >= 0) return text.slice(end + "</think>".length);
  return text.trimStart().startsWith("<think>") ? null : text;
}

/** The label in an answer that is JSON; an empty list for several, undefined for none. */
function fromJson(text: string, whole: (piece: string) => string | undefined): string | [] | undefined {
  const body = /```(?:json)?\s*([\s\S]*?)```/.exec(text)?.[1] ?? text;
  const json = /[[{][\s\S]*[\]}]/.exec(body)?.[0];
  if (json === undefined || json.length > 10_000) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  const texts = Object.values(value as object)
    .flat()
    .filter((one): one is string => typeof one === "string");
  const labels = new Set(texts.flatMap((one) => whole(one) ?? []));
  const [first] = labels;
  return labels.size > 1 ? [] : first;
}

/** Places of names in a text, the longest first, without overlaps; names of letters are whole words. */
function mentionsOfNames(text: string, names: readonly string[]): { name: string; at: number }[] {
  const found: { name: string; at: number }[] = [];
  const isWord = (character: string | undefined) => character !== undefined && /[a-z0-9]/i.test(character);
  for (let at = 0; at < text.length; at++) {
    const name = names.find((one) => text.startsWith(one, at));
    if (name === undefined) continue;
    const cutsWord =
      (isWord(name[0]) && isWord(text[at - 1])) || (isWord(name.at(-1)) && isWord(text[at + name.length]));
    if (cutsWord) continue;
    found.push({ name, at });
    at += name.length - 1;
  }
  return found;
}

/**
 * Whether an answer is little more than its label: "合作关系。". With the entities around it, as in a triple, the head has to be before the
 * label and the tail behind it: else it may be meant in the other direction.
 */
function isShort(text: string, { name, at }: { name: string; at: number }, head: string, tail: string): boolean {
  const [before, after] = [text.slice(0, at), text.slice(at + name.length)];
  if (DENIES.test(before) || /不成立|不存在/.test(after)) return false;
  const isTriple = before.includes(head) && after.includes(tail);
  if (!isTriple && (text.includes(head) || text.includes(tail))) return false;
  const other = isTriple ? before.replaceAll(head, "") + after.replaceAll(tail, "") : before + after;
  return other.replace(new RegExp(`[${AROUND}]`, "gu"), "").length <= (isTriple ? 0 : MOST_OTHER_CHARS);
}
