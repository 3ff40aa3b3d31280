import type { Example, LabelSet } from "../data/example.ts";
import { type ParsedAnswer, type PromptStyle, promptStyle } from "../prompts/relation-prompt.ts";

/** Rows with their answers, shown before a question. */
export type Shots = readonly Example[];

const TASK = "判断句子中头实体与尾实体之间的关系。只回答一个关系的名称，不要解释。";
const NO_RELATION = "不属于以上任何一种";

/** The label list of an instruction: each label with its definition, where the schema has one. */
function labelLines({ labels, noRelation, definitions }: LabelSet): string[] {
  const others = labels.filter((label) => label !== noRelation);
  const lineOf = (label: string, usual?: string) => {
    const meaning = definitions?.get(label)?.definition ?? usual;
    return `- ${label}${meaning === undefined ? "" : `：${meaning.replace(/\s+/g, " ").trim()}`}`;
  };
  return [...others.map((label) => lineOf(label)), ...(noRelation === null ? [] : [lineOf(noRelation, NO_RELATION)])];
}

/** Rows of the schema itself: the examples of its definitions. */
function shotsOfSchema({ labels, definitions }: LabelSet): Example[] {
  return labels.flatMap((label) =>
    (definitions?.get(label)?.examples ?? []).map((example) => ({ ...example, relations: [label] })),
  );
}

const askedOf = ({ sentence, head, tail }: Example) => `句子：${sentence}\n头实体：${head}\n尾实体：${tail}\n关系：`;

/**
 * The prompt for models that were not fine-tuned: an instruction with the labels and what they mean, rows with their answers, the question; the
 * answer is the bare label. What all questions share comes first, so that a server computes it once. It is a style like those of recipes, so
 * the one renderer makes its ids.
 */
export function instructedStyle(labels: LabelSet, shots: Shots = []): PromptStyle {
  const instruction = [TASK, "可选的关系：", ...labelLines(labels)].join("\n");
  const renderAnswer = (_example: Example, relations: readonly string[]) => [...new Set(relations)].join(",");
  const shown = [...shotsOfSchema(labels), ...shots].map(
    (example) => `${askedOf(example)}${renderAnswer(example, example.relations ?? [])}`,
  );
  const renderInput = (example: Example) => [...shown, askedOf(example)].join("\n\n");
  return {
    name: "instructed",
    instruction,
    answersNameEntities: false,
    renderInput,
    renderQuery: (example) => `${instruction}\n\n${renderInput(example)}`,
    renderMentionQuery: (sentence) => `找出句子中的一个实体。只回答实体。\n句子：${sentence}\n实体：`,
    renderAnswer,
    answerFor: (_example, relation) => relation,
    parseAnswer: promptStyle("marked").parseAnswer,
  };
}

/** The end of thoughts that a model writes before its answer. */
const AFTER_THOUGHTS = /^[\s\S]*<\/think(?:ing)?>/i;
const UNFINISHED_THOUGHTS = /^\s*<think(?:ing)?>/i;
/** What models put around an answer. */
const AROUND = /^[\s"'“”‘’「」『』《》【】[\]()（）*`]+|[\s"'“”‘’「」『』《》【】[\]()（）*`。．.!！]+$/g;
const LEAD = /^(?:答案|答|关系类型|关系|relation|answer)\s*(?:是|为)?\s*[:：]\s*/i;

/**
 * Reads what a model wrote freely: first as the style's own answers, then without quotes, thoughts and introductions, then by the labels that
 * occur in it. With several labels in a text that is no list of labels, the first counts, and the text is reported as not fully readable.
 */
export function readAnswer(text: string, example: Example, labels: LabelSet, style: PromptStyle): ParsedAnswer {
  const exact = style.parseAnswer(text, example, labels);
  if (exact.relations.length > 0 && exact.unknownLabels.length === 0) return exact;
  const afterThoughts = text.replace(AFTER_THOUGHTS, "");
  const nothing = { relations: [], unknownLabels: [], unparsed: text, otherEntities: 0 };
  if (UNFINISHED_THOUGHTS.test(afterThoughts)) return nothing;
  const lines = afterThoughts.split("\n").map((line) => line.replace(AROUND, "").replace(LEAD, "").replace(AROUND, ""));
  const [first = ""] = lines.filter((line) => line !== "");
  const names = first.split(/[,，、;；]/).map((name) => name.replace(AROUND, ""));
  if (names.every((name) => labels.labels.includes(name))) return { ...nothing, relations: names, unparsed: null };
  for (const part of [first, afterThoughts]) {
    const found = labelsIn(part, labels.labels);
    if (found.length === 1) return { ...nothing, relations: found, unparsed: null };
    if (found.length > 1) return { ...nothing, relations: [found[0]] };
  }
  return exact.unknownLabels.length > 0 && exact.unparsed === null ? exact : nothing;
}

/** The labels in a text by their first places; of labels inside of each other the longest. */
function labelsIn(text: string, labels: readonly string[]): string[] {
  const longestFirst = [...labels].sort((a, b) => b.length - a.length);
  const found = new Set<string>();
  for (let at = 0; at < text.length; ) {
    const label = longestFirst.find((one) => text.startsWith(one, at));
    if (label !== undefined) found.add(label);
    at += label?.length ?? 1;
  }
  return [...found];
}
