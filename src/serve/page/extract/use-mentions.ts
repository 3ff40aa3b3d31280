import { useState } from "preact/hooks";
import { usePage } from "../shell/page-context.ts";
import { movedMention, pageTriple, type SentencePlace, type Triple, type TripleMention } from "./page-triple.ts";
import { isSameMention, overlaps, withMention, withMoreTriples, withoutMention } from "./results.ts";
import type { Selection } from "./selection.ts";
import type { Extraction } from "./use-extraction.ts";

/** Adds and removes mentions by hand. */
export interface MentionEdits {
  /** The run is asked for the relations of the new mention with those of its sentence. */
  add(document: string, sentence: SentencePlace, mention: TripleMention): void;
  /** Its relations that nobody judged go with it. */
  remove(document: string, mention: TripleMention): void;
  error: unknown;
}

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
      (one) => one.startUtf16 >= sentence.start && one.endUtf16 <= end && !overlaps(one, mention),
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
        change((now) => withMoreTriples(now, found));
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
