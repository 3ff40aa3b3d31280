import { type Example, type LabelSet, mentionsOf } from "../data/example.ts";
import type { LabelMask } from "../data/label-types.ts";

/** A question to an annotator. Questions with the same labels begin alike, so that a server computes that part once. */
export interface AnnotationPrompt {
  /** Task, labels and rules; empty line at the end. */
  rules: string;
  /** Sentence, entities, and where the answer goes. */
  question: string;
}

const TASK = "请阅读句子，判断头实体与尾实体之间的关系，从下面的关系列表中选出最符合句意的一个。";

/** Renders the questions of a label set; rules are kept for each mask of labels that may hold. */
export function annotationPrompts(labels: LabelSet): (example: Example, mask: LabelMask | null) => AnnotationPrompt {
  const known = new Map<string, string>();
  return (example, mask) => {
    const key = mask === null ? "" : mask.join("");
    let rules = known.get(key);
    if (rules === undefined) {
      rules = rulesOf(labels, allowedLabels(labels, mask));
      known.set(key, rules);
    }
    return { rules, question: questionOf(example) };
  };
}

/** The labels that an answer may be, in the order of the label set. */
export function allowedLabels({ labels }: LabelSet, mask: LabelMask | null): string[] {
  return labels.filter((_, i) => mask === null || mask[i] === 1);
}

function rulesOf(labels: LabelSet, allowed: readonly string[]): string {
  const { noRelation, definitions } = labels;
  const listed = allowed.flatMap((label) => {
    const { definition, examples = [] } = definitions?.get(label) ?? {};
    const meaning = definition ?? (label === noRelation ? "以上关系均不成立" : null);
    return [`- ${label}${meaning === null ? "" : `：${meaning}`}`, ...examples.map(exampleLine)];
  });
  const rules = [
    "只依据句子本身判断，不引入句外知识，也不作推测。",
    "关系有方向，一律以“头实体→尾实体”为准。",
    ...inverseRule(labels, allowed),
    ...(noRelation !== null && allowed.includes(noRelation)
      ? [`句子没有说明两者之间存在列表中的其他关系时，答“${noRelation}”。`]
      : []),
    "只输出一个关系名，不要解释。",
  ];
  const numbered = rules.map((rule, i) => `${i + 1}. ${rule}`);
  return [TASK, "", "关系列表：", ...listed, "", "标注要求：", ...numbered, "", ""].join("\n");
}

function exampleLine(example: Example): string {
  return `  例：${marked(example)}（头实体：${example.head}；尾实体：${example.tail}）`;
}

function inverseRule({ inverses }: LabelSet, allowed: readonly string[]): string[] {
  const pairs = new Map<string, string>();
  for (const label of allowed) {
    const inverse = inverses.get(label);
    if (inverse === undefined || inverse === label || pairs.get(inverse) === label) continue;
    if (allowed.includes(inverse)) pairs.set(label, inverse);
  }
  if (pairs.size === 0) return [];
  const listed = Array.from(pairs, ([label, inverse]) => `“${label}”与“${inverse}”`).join("、");
  return [`${listed}互为逆关系：头、尾实体互换，关系名也随之互换。`];
}

function questionOf(example: Example): string {
  const text = marked(example);
  const note = text === example.sentence ? "" : "（<头>、<尾>标出了所指的位置）";
  return `句子${note}：${text}\n头实体：${example.head}\n尾实体：${example.tail}\n关系：`;
}

/** The sentence; where a name occurs several times and the row says which is meant, with marks around that one. */
function marked({ sentence, head, tail, headSpan, tailSpan }: Example): string {
  const repeats = (name: string) => mentionsOf(sentence, name).length > 1;
  const marks = [
    ...(headSpan && repeats(head) ? [{ span: headSpan, name: "头" }] : []),
    ...(tailSpan && repeats(tail) ? [{ span: tailSpan, name: "尾" }] : []),
  ].sort((a, b) => b.span.start - a.span.start);
  const [later, earlier] = marks;
  // Marks of mentions that overlap would cross.
  if (earlier && earlier.span.end > later.span.start) return sentence;
  return marks.reduce((text, { span: { start, end }, name }) => {
    return `${text.slice(0, start)}<${name}>${text.slice(start, end)}</${name}>${text.slice(end)}`;
  }, sentence);
}
