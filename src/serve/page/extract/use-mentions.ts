import { useState } from "preact/hooks";
import { usePage } from "../shell/page-context.ts";
import {
  movedMention,
  type PageTriple,
  pageTriple,
  type SentencePlace,
  type Triple,
  type TripleMention,
} from "./page-triple.ts";
import { isSameMention, type Selection } from "./selection.ts";
import type { Extraction, Results } from "./use-extraction.ts";

/** Adds and removes mentions by hand. */
export interface MentionEdits {
  /** The run is asked for the relations of the new mention with those of its sentence. */
  add(document: string, sentence: SentencePlace, mention: TripleMention): void;
  /** Its relations that nobody judged go with it. */
  remove(document: string, mention: TripleMention): void;
  error: unknown;
}

const isOn = (mention: TripleMention, other: TripleMention) =>
  mention.startUtf16 < other.endUtf16 && other.startUtf16 < mention.endUtf16;

export function useMentions({ results, change }: Extraction, onSelect: (selection: Selection) => void): MentionEdits {
  const { api, run } = usePage();
  const [error, setError] = useState<unknown>(null);

  const add: MentionEdits["add"] = (document, sentence, mention) => {
    const own = results?.documents.find(({ id }) => id === document);
    if (!own) return;
    // A mention that overlaps the new one makes room for it.
    change((now) => withMention(now, document, mention));
    onSelect({ kind: "mention", document, sentence, mention });
    const end = sentence.start + sentence.text.length;
    const others = own.mentions.filter(
      (one) => one.startUtf16 >= sentence.start && one.endUtf16 <= end && !isOn(one, mention),
    );
    if (others.length === 0) return;
    const ask = async () => {
      setError(null);
      try {
        const entities = [...others, mention].map(({ startUtf16, endUtf16, name, id, type }) => ({
          ...{ startUtf16: startUtf16 - sentence.start, endUtf16: endUtf16 - sentence.start, name, id },
          ...(type === null ? {} : { type }),
        }));
        const answer = await api.post<{ triples: Triple[] }>("v1/extract", {
          ...{ run: run.name, text: sentence.text, entities },
        });
        const { start, startPoints } = sentence;
        const found = answer.triples
          .map((triple) => ({
            ...{ ...triple, document, sentenceStart: triple.sentenceStart + startPoints },
            head: movedMention(triple.head, start, startPoints),
            tail: movedMention(triple.tail, start, startPoints),
          }))
          .filter(({ head, tail }) => isSameMention(head, mention) || isSameMention(tail, mention))
          .map(pageTriple);
        change((now) => withTriples(now, found));
      } catch (problem) {
        setError(problem);
      }
    };
    void ask();
  };

  const remove: MentionEdits["remove"] = (document, mention) => {
    onSelect(null);
    change((now) => withoutMention(now, document, mention));
  };
  return { add, remove, error };
}

/** The results with one more mention; those that overlap it, and their relations that nobody judged, are gone. */
export function withMention(results: Results, document: string, mention: TripleMention): Results {
  const overlapped = results.documents.find(({ id }) => id === document)?.mentions.filter((one) => isOn(one, mention));
  const clean = (overlapped ?? []).reduce((now, one) => withoutMention(now, document, one), results);
  const documents = clean.documents.map((one) => {
    if (one.id !== document) return one;
    return { ...one, mentions: [...one.mentions, mention].sort((a, b) => a.startUtf16 - b.startUtf16) };
  });
  return { ...clean, documents };
}

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

/** The results with more relations, each after those of the text before it. */
export function withTriples(results: Results, found: readonly PageTriple[]): Results {
  const known = new Set(results.triples.map(({ key }) => key));
  const triples = [...results.triples];
  for (const triple of found) {
    if (known.has(triple.key)) continue;
    const after = triples.findLastIndex(
      ({ document, sentenceStart }) => document === triple.document && sentenceStart <= triple.sentenceStart,
    );
    triples.splice(after + 1, 0, triple);
  }
  return { ...results, triples };
}
