import type { Api } from "../shell/api.ts";
import { placeKey } from "./judge.ts";
import { addedTriple, type PageDocument, type PageTriple, type SentencePlace, type Verdict } from "./page-triple.ts";
import { sentencesOf } from "./parts.ts";
import { isSameMention, type Results, withMention, withMoreTriples } from "./results.ts";

/** A row of the labelled set, as the server gives it. */
export interface EarlierRow {
  id: string;
  sentence: string;
  head: string;
  tail: string;
  headSpan?: { start: number; end: number };
  tailSpan?: { start: number; end: number };
  relations: readonly string[];
  verdict: Verdict;
}

/** Sentences of one request. */
const MOST_SENTENCES = 500;

/** What was said of the sentences of documents, at this visit or an earlier one. Throws an ApiProblem. */
export async function earlierRows(
  api: Pick<Api, "post">,
  run: string,
  documents: readonly Pick<PageDocument, "text">[],
  maxCharacters: number,
): Promise<EarlierRow[]> {
  const sentences = [
    ...new Set(documents.flatMap(({ text }) => sentencesOf(text, maxCharacters).map((sentence) => sentence.text))),
  ];
  const found: EarlierRow[] = [];
  for (let from = 0; from < sentences.length; from += MOST_SENTENCES) {
    const body = { run, sentences: sentences.slice(from, from + MOST_SENTENCES) };
    found.push(...(await api.post<{ rows: EarlierRow[] }>("v1/labelled/of-sentences", body)).rows);
  }
  return found;
}

interface EarlierOptions {
  run: string;
  noRelation: string | null;
  maxCharacters: number;
}

/**
 * The results with what earlier rows say of their pairs, and by the place of a pair (`placeKey`) the id of its row, which the next verdict
 * replaces. A pair that was judged since is left as it is; of several rows of one pair the last one counts.
 */
export function withEarlier(
  results: Results,
  rows: readonly EarlierRow[],
  { run, noRelation, maxCharacters }: EarlierOptions,
): { results: Results; ids: Map<string, string> } {
  const bySentence = grouped(rows, ({ sentence }) => sentence);
  const placeOf = ({ document, head, headSpan }: PageTriple) => `${document}:${head.startUtf16 - headSpan[0]}`;
  const byPlace = grouped(results.triples, placeOf);
  const ids = new Map<string, string>();
  const changed = new Map<string, PageTriple>();
  const added: PageTriple[] = [];
  for (const document of results.documents) {
    for (const sentence of sentencesOf(document.text, maxCharacters)) {
      const inSentence = byPlace.get(`${document.id}:${sentence.start}`) ?? [];
      const pairs = new Map<string, { row: EarlierRow; spans: Spans }>();
      for (const row of bySentence.get(sentence.text) ?? []) {
        const spans = spansOf(row, inSentence);
        if (spans !== null) pairs.set(placeKey(run, { sentence: row.sentence, ...spans }), { row, spans });
      }
      for (const [key, { row, spans }] of pairs) {
        ids.set(key, row.id);
        const ofPair = inSentence.filter(
          (one) => isSameSpan(one.headSpan, spans.headSpan) && isSameSpan(one.tailSpan, spans.tailSpan),
        );
        if (ofPair.some(({ verdict }) => verdict !== null)) continue;
        const holding = row.verdict === "rejected" ? [] : row.relations.filter((label) => label !== noRelation);
        const { judged, others } = judgedPair(ofPair, holding);
        for (const one of judged) changed.set(one.key, one);
        added.push(...others.map((label) => ofPerson(document, sentence, spans, label)));
      }
    }
  }
  const triples = results.triples.map((one) => changed.get(one.key) ?? one);
  return { results: withAdded({ ...results, triples }, added), ids };
}

function grouped<T>(values: readonly T[], keyOf: (value: T) => string): ReadonlyMap<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group) group.push(value);
    else groups.set(key, [value]);
  }
  return groups;
}

interface Spans {
  headSpan: [number, number];
  tailSpan: [number, number];
}

const isSameSpan = (a: readonly [number, number], b: readonly [number, number]) => a[0] === b[0] && a[1] === b[1];

/** Where the entities of a row are; a row without places is about the first pair with its names. */
function spansOf({ sentence, head, tail, headSpan, tailSpan }: EarlierRow, triples: readonly PageTriple[]) {
  if (headSpan && tailSpan) {
    const spans: Spans = { headSpan: [headSpan.start, headSpan.end], tailSpan: [tailSpan.start, tailSpan.end] };
    return spans;
  }
  const own = triples.find((one) => one.head.text === head && one.tail.text === tail);
  if (own) return { headSpan: own.headSpan, tailSpan: own.tailSpan };
  const [from, to] = [sentence.indexOf(head), sentence.indexOf(tail)];
  if (from < 0 || to < 0) return null;
  const spans: Spans = { headSpan: [from, from + head.length], tailSpan: [to, to + tail.length] };
  return spans;
}

/** The relations of the model as a row judges them: those that hold, those that were corrected to another label, and labels that it lacks. */
function judgedPair(ofPair: readonly PageTriple[], holding: readonly string[]) {
  const ofModel = ofPair.map(({ relation }) => relation);
  const others = holding.filter((label) => !ofModel.includes(label));
  const judged = ofPair.map((one): PageTriple => {
    if (holding.includes(one.relation)) return { ...one, verdict: "confirmed" };
    const label = others.shift();
    return label === undefined ? { ...one, verdict: "rejected" } : { ...one, verdict: "corrected", label };
  });
  return { judged, others };
}

/** A relation that a person gave, between the mentions at its places. */
function ofPerson({ id, text, mentions }: PageDocument, sentence: SentencePlace, spans: Spans, label: string) {
  const mentionAt = ([from, to]: [number, number]) => {
    const [startUtf16, endUtf16] = [sentence.start + from, sentence.start + to];
    const own = text.slice(startUtf16, endUtf16);
    const start = sentence.startPoints + Array.from(sentence.text.slice(0, from)).length;
    const end = start + Array.from(own).length;
    const mention = { text: own, id: own, name: own, type: null, start, end, startUtf16, endUtf16 };
    return mentions.find((one) => isSameMention(one, mention)) ?? mention;
  };
  return addedTriple(id, sentence, mentionAt(spans.headSpan), mentionAt(spans.tailSpan), label);
}

/** The results with relations of a person, and the mentions that those need. */
function withAdded(results: Results, added: readonly PageTriple[]): Results {
  let now = results;
  for (const { document, head, tail } of added) {
    for (const mention of [head, tail]) {
      const own = now.documents.find(({ id }) => id === document)?.mentions ?? [];
      if (!own.some((one) => isSameMention(one, mention))) now = withMention(now, document, mention);
    }
  }
  return withMoreTriples(now, added);
}
