import { nearestName, UserError } from "../base/errors.ts";
import { jsonOf } from "../base/json-text.ts";
import type { AlpacaRow } from "../data/convert.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { textBetween, wrapEveryOccurrence, wrapMentions } from "./mark-entities.ts";
import { parseTriples } from "./parse-triples.ts";

/** The content of an answer text. Nothing is dropped: everything that is not a relation of the label set is in one of the other fields. */
export interface ParsedAnswer {
  /** Labels of the label set in the order of the answer, repeats kept. */
  relations: string[];
  /** Names in the place of a label that are not in the label set. */
  unknownLabels: string[];
  /** The text outside of the answer, null when there is none; an empty answer gives "". */
  unparsed: string | null;
  /** Number of relations that the answer gives for other entities than those in the question. */
  otherEntities: number;
}

/** How a question about two entities is put and how the answer is written. A style is one object. */
export interface PromptStyle {
  readonly name: string;
  /** The instruction to the model; "" for none. */
  readonly instruction: string;
  renderInput(example: Example): string;
  /** Whether an answer names the entities, so that every example has answers of its own. */
  readonly answersNameEntities: boolean;
  /** The user turn: instruction, line break, input. */
  renderQuery(example: Example): string;
  /** The user turn that asks for the mentions of a sentence; the answer is one of them. */
  renderMentionQuery(sentence: string): string;
  renderAnswer(example: Example, relations: readonly string[]): string;
  /** The whole answer for a single relation. */
  answerFor(example: Example, relation: string): string;
  /** Reads any text that a model may generate; never throws. */
  parseAnswer(text: string, example: Example, labels: LabelSet): ParsedAnswer;
}

/** The prompt of CRE-LLM (docs/method.md), byte for byte: every occurrence in brackets, the answer as triples. */
function paperStyle(): PromptStyle {
  const instruction = "请根据给定句子和实体抽取其关系";
  const renderInput = ({ sentence, head, tail }: Example) =>
    `${wrapEveryOccurrence(wrapEveryOccurrence(sentence, head), tail)} ([${head}],?,[${tail}])`;
  const answerFor = ({ head, tail }: Example, relation: string) => `([${head}],${relation},[${tail}])`;
  return {
    name: "paper",
    instruction,
    answersNameEntities: true,
    renderInput,
    renderQuery: (example) => `${instruction}\n${renderInput(example)}`,
    renderMentionQuery: (sentence) => `请根据给定句子抽取其中的实体\n${sentence}`,
    renderAnswer: (example, relations) => relations.map((relation) => answerFor(example, relation)).join(","),
    answerFor,
    parseAnswer(text, example, labels) {
      const { triples, rest } = parseTriples(text, example);
      const isOther = ({ head, tail }: { head: string; tail: string }) =>
        head !== example.head || tail !== example.tail;
      const names = triples.map(({ relation }) => relation);
      return {
        ...sortedByLabelSet(names, labels),
        unparsed: rest,
        otherEntities: triples.filter((triple) => labels.labels.includes(triple.relation) && isOther(triple)).length,
      };
    },
  };
}

/** A short prompt for small models: each mention marked in the sentence, the question in the next line, the answer the bare labels. */
function markedStyle(): PromptStyle {
  return bareLabelStyle("marked", (example) => `${wrapMentions(example)}\n[${example.head}]{${example.tail}}`);
}

/** Like `marked`, with the question before the sentence too: a model reads from left to right, so it then knows what to look for. */
function askedStyle(): PromptStyle {
  return bareLabelStyle("asked", (example) => {
    const question = `[${example.head}]{${example.tail}}`;
    return `${question}\n${wrapMentions(example)}\n${question}`;
  });
}

/**
 * Like `marked`, with the sentence twice: a model that reads from left to right sees all of the sentence at every token of the second one
 * ("Repetition Improves Language Model Embeddings", Springer et al. 2024, arXiv 2402.15449).
 */
function twiceStyle(): PromptStyle {
  return bareLabelStyle("twice", (example) => {
    const marked = wrapMentions(example);
    return `${marked}\n${marked}\n[${example.head}]{${example.tail}}`;
  });
}

/**
 * The sentence first and unmarked, so that all pairs of entities of a sentence begin alike: with causal attention a pass computes the sentence
 * once, and a further pair costs its question only.
 */
function pairsStyle(): PromptStyle {
  return bareLabelStyle("pairs", ({ sentence, head, tail }) => `${sentence}\n[${head}]{${tail}}`);
}

/**
 * For models trained from nothing on few examples: only the words between the entities. Such a model learns names by heart when it sees
 * them, and reads the words right before the answer best.
 */
function betweenStyle(): PromptStyle {
  return bareLabelStyle("between", textBetween);
}

/** A style without an instruction whose answer is the bare labels. */
function bareLabelStyle(name: string, renderInput: (example: Example) => string): PromptStyle {
  return {
    name,
    instruction: "",
    answersNameEntities: false,
    renderInput,
    renderQuery: renderInput,
    renderMentionQuery: (sentence) => `${sentence}\n[?]`,
    renderAnswer: (_example, relations) => relations.join(","),
    answerFor: (_example, relation) => relation,
    parseAnswer: parseLabelList,
  };
}

/** Labels joined by commas. */
function parseLabelList(text: string, _example: Example, labels: LabelSet): ParsedAnswer {
  const names = text.split(",").map((name) => name.trim());
  const given = names.filter((name) => name !== "");
  const unparsed = given.length === names.length ? null : text.trim();
  return { ...sortedByLabelSet(given, labels), unparsed, otherEntities: 0 };
}

function sortedByLabelSet(
  names: readonly string[],
  labels: LabelSet,
): Pick<ParsedAnswer, "relations" | "unknownLabels"> {
  const isLabel = (name: string) => labels.labels.includes(name);
  return { relations: names.filter(isLabel), unknownLabels: names.filter((name) => !isLabel(name)) };
}

/** The styles a recipe can name. */
export const promptStyles = {
  paper: paperStyle(),
  marked: markedStyle(),
  asked: askedStyle(),
  twice: twiceStyle(),
  pairs: pairsStyle(),
  between: betweenStyle(),
} as const satisfies Record<string, PromptStyle>;

export type PromptStyleName = keyof typeof promptStyles;

/** The style of a name; throws a UserError that lists the names. */
export function promptStyle(name: string): PromptStyle {
  if (Object.hasOwn(promptStyles, name)) return promptStyles[name as PromptStyleName];
  const near = nearestName(name, Object.keys(promptStyles));
  throw new UserError(
    `prompt style: got "${name}", expected ${Object.keys(promptStyles).join(", ")}${near ? `; did you mean "${near}"?` : ""}.`,
  );
}

/** An example as a row of instruction data; throws a UserError when it has no relations. */
export function alpacaRow(style: PromptStyle, example: Example): AlpacaRow {
  if (example.relations === undefined || example.relations.length === 0) {
    throw new UserError(
      `the example ${jsonOf(example.id ?? example.sentence)} has no relations, expected at least one.`,
    );
  }
  return {
    instruction: style.instruction,
    input: style.renderInput(example),
    output: style.renderAnswer(example, example.relations),
  };
}
