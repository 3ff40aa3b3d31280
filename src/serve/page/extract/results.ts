import type { ExtractionCounts, ExtractionEvents } from "./extraction.ts";
import { byPlace } from "./filter.ts";
import type { PageDocument, PageTriple, TripleMention } from "./page-triple.ts";

/** What an extraction has found so far, with what a person changed in it. */
export interface Results {
  documents: readonly PageDocument[];
  /** In the order of documents and places. */
  triples: readonly PageTriple[];
  badDocuments: readonly { id: string; reason: string }[];
  counts: Required<ExtractionCounts>;
}

const NO_COUNTS: Required<ExtractionCounts> = { pairs: 0, cutByCap: 0, badPairs: 0, truncated: 0, badDocuments: 0 };

export const NO_RESULTS: Results = { documents: [], triples: [], badDocuments: [], counts: NO_COUNTS };

/** Collects what is told until it is taken. */
export function createCollector() {
  let fresh = emptyNews();
  const events: Omit<ExtractionEvents, "onProgress"> = {
    onDocument: (id, text) => fresh.documents.push({ id, text }),
    onMentions: (document, mentions) => fresh.mentions.push({ document, mentions }),
    onTriple: (triple) => fresh.triples.push(triple),
    onBadDocument: (id, reason) => fresh.badDocuments.push({ id, reason }),
    onCounts: (counts) => fresh.counts.push(counts),
  };
  return {
    events,
    /** The results with what was told since the last time. */
    addTo(results: Results): Results {
      const news = fresh;
      fresh = emptyNews();
      return withNews(results, news);
    },
  };
}

const emptyNews = () => ({
  documents: [] as { id: string; text: string }[],
  mentions: [] as { document: string; mentions: readonly TripleMention[] }[],
  triples: [] as PageTriple[],
  badDocuments: [] as { id: string; reason: string }[],
  counts: [] as ExtractionCounts[],
});

function withNews(results: Results, news: ReturnType<typeof emptyNews>): Results {
  const mentionsOf = new Map<string, TripleMention[]>();
  for (const { document, mentions } of news.mentions) {
    mentionsOf.set(document, [...(mentionsOf.get(document) ?? []), ...mentions]);
  }
  const all = [...results.documents, ...news.documents.map((one) => ({ ...one, mentions: [] }))];
  const documents = all.map((one) => {
    const more = mentionsOf.get(one.id);
    if (!more) return one;
    return { ...one, mentions: [...one.mentions, ...more].sort((a, b) => a.startUtf16 - b.startUtf16) };
  });
  const counts = { ...results.counts };
  for (const own of news.counts) {
    for (const key of Object.keys(counts) as (keyof ExtractionCounts)[]) counts[key] += own[key] ?? 0;
  }
  const badDocuments = [...results.badDocuments, ...news.badDocuments];
  return { documents, triples: withTriples({ ...results, documents }, news.triples), badDocuments, counts };
}

/** The relations with more of them, in the order of the text; those that are known already stay as they are. */
function withTriples({ documents, triples }: Results, found: readonly PageTriple[]): readonly PageTriple[] {
  const known = new Set(triples.map(({ key }) => key));
  const fresh = found.filter(({ key }) => !known.has(key));
  if (fresh.length === 0) return triples;
  const order = new Map(documents.map(({ id }, i) => [id, i]));
  const place = ({ document }: PageTriple) => order.get(document) ?? order.size;
  return [...triples, ...fresh].sort((a, b) => place(a) - place(b) || byPlace(a, b));
}

export const withMoreTriples = (results: Results, found: readonly PageTriple[]): Results => ({
  ...results,
  triples: withTriples(results, found),
});

export const isSameMention = (a: TripleMention, b: TripleMention) =>
  a.startUtf16 === b.startUtf16 && a.endUtf16 === b.endUtf16;

export const overlaps = (a: TripleMention, b: TripleMention) => a.startUtf16 < b.endUtf16 && b.startUtf16 < a.endUtf16;

/** The results with one more mention; those that overlap it, and their relations that nobody judged, are gone. */
export function withMention(results: Results, document: string, mention: TripleMention): Results {
  const overlapped = results.documents
    .find(({ id }) => id === document)
    ?.mentions.filter((one) => overlaps(one, mention));
  const clean = (overlapped ?? []).reduce((now, one) => withoutMention(now, document, one), results);
  const documents = clean.documents.map((one) => {
    if (one.id !== document) return one;
    return { ...one, mentions: [...one.mentions, mention].sort((a, b) => a.startUtf16 - b.startUtf16) };
  });
  return { ...clean, documents };
}

/** The results without a mention and its relations that nobody judged. */
export function withoutMention(results: Results, document: string, mention: TripleMention): Results {
  const documents = results.documents.map((one) =>
    one.id === document ? { ...one, mentions: one.mentions.filter((own) => !isSameMention(own, mention)) } : one,
  );
  const triples = results.triples.filter(
    (one) =>
      one.document !== document ||
      one.verdict !== null ||
      !(isSameMention(one.head, mention) || isSameMention(one.tail, mention)),
  );
  return { ...results, documents, triples };
}
