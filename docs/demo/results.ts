// The list of sentences with their relations.
import type { ShownMention, ShownRelation } from "./messages.ts";

export interface ShownSentence {
  start: number;
  end: number;
  pairs: number;
  cutPairs: number;
  relations: readonly ShownRelation[];
  problems: readonly string[];
}

export interface ResultTexts {
  none: string;
  cut(pairs: number): string;
  label(relation: string): string;
}

const PERCENT = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

function element(tag: string, className: string, ...content: (string | Node)[]): HTMLElement {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.append(...content);
  return made;
}

/** A sentence with its mentions marked; those of its relations have the colour of their side. */
function sentenceLine(text: string, { start, end }: ShownSentence, mentions: readonly ShownMention[]) {
  const line = element("p", "sentence");
  line.lang = "zh";
  const marks = new Map<number, HTMLElement>();
  let at = start;
  for (const mention of mentions) {
    if (mention.start < at || mention.end > end) continue;
    const mark = element("mark", "", text.slice(mention.start, mention.end));
    marks.set(mention.start, mark);
    line.append(text.slice(at, mention.start), mark);
    at = mention.end;
  }
  line.append(text.slice(at, end));
  return { line, marks };
}

function relationRow({ head, relation, tail, probability }: ShownRelation, text: string, label: string): HTMLElement {
  const part = (className: string, { start, end }: ShownMention) => {
    const made = element("span", className, text.slice(start, end));
    made.lang = "zh";
    return made;
  };
  const triple = element("p", "triple", part("head", head), element("span", "label", label), part("tail", tail));
  const bar = element("span", "bar");
  bar.style.setProperty("--share", String(probability));
  const row = element("li", "relation", triple, element("p", "probability", bar, PERCENT.format(probability)));
  row.dataset.relation = relation;
  row.dataset.probability = String(probability);
  return row;
}

/** One sentence of the results; relations below `least` are not shown. */
export function sentenceItem(
  text: string,
  mentions: readonly ShownMention[],
  sentence: ShownSentence,
  least: number,
  texts: ResultTexts,
): HTMLElement {
  const { line, marks } = sentenceLine(text, sentence, mentions);
  const item = element("li", "", line);
  const relations = sentence.relations.filter(({ probability }) => probability >= least);
  for (const { head, tail } of relations) {
    marks.get(tail.start)?.classList.add("is-tail");
    marks.get(head.start)?.classList.add("is-head");
  }
  const rows = relations.map((one) => relationRow(one, text, texts.label(one.relation)));
  if (rows.length > 0) item.append(element("ul", "relations", ...rows));
  else item.append(element("p", "none", texts.none));
  if (sentence.cutPairs > 0) item.append(element("p", "none", texts.cut(sentence.cutPairs)));
  for (const problem of new Set(sentence.problems)) item.append(element("p", "none", problem));
  return item;
}
