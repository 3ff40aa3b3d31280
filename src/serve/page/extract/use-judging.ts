import { useCallback, useRef, useState } from "preact/hooks";
import { usePage } from "../shell/page-context.ts";
import { type Edit, edited, type LabelledRow, rowOfPair } from "./judge.ts";
import type { PageTriple } from "./page-triple.ts";
import type { Extraction } from "./use-extraction.ts";

/** Whether what was said of a pair is on the disk of the server. */
export type SaveState = { kind: "saving" } | { kind: "saved" } | { kind: "failed"; error: unknown };

export interface Judging {
  /** `answered` is the model's answer to a pair that has no relation of the model. */
  judge(edit: Edit, answered?: LabelledRow["model"]): void;
  /** Adds a relation of a person's own. */
  add(triple: PageTriple, answered?: LabelledRow["model"]): void;
  stateOf(pair: string): SaveState | null;
  /** Saves a pair again after an error. */
  retry(pair: string): void;
}

/** Changes relations, and keeps in the server's labelled set what was said: one row for each pair, replaced as it changes. */
export function useJudging({ results, change }: Extraction): Judging {
  const { api, run, server } = usePage();
  const [states, setStates] = useState<ReadonlyMap<string, SaveState>>(new Map());
  /** Of each pair: the id of its row, and the end of what is being sent. */
  const rows = useRef(
    new Map<string, { id: string | null; sent: Promise<void>; last: (() => Promise<void>) | null }>(),
  );

  const save = (pair: string, triples: readonly PageTriple[], answered: LabelledRow["model"] | null) => {
    if (!server.keepsLabelled) return;
    const row = rowOfPair(
      triples.filter((one) => one.pair === pair),
      answered,
    );
    const kept = rows.current.get(pair) ?? { id: null, sent: Promise.resolve(), last: null };
    rows.current.set(pair, kept);
    kept.last = async () => {
      const set = (state: SaveState | null) =>
        setStates((before) => {
          const next = new Map(before);
          if (state === null) next.delete(pair);
          else next.set(pair, state);
          return next;
        });
      set({ kind: "saving" });
      try {
        if (row === null) {
          if (kept.id !== null) await api.remove(`v1/labelled/${encodeURIComponent(kept.id)}`);
          kept.id = null;
          set(null);
          return;
        }
        const own = { ...row, ...(kept.id === null ? {} : { id: kept.id }) };
        const answer = await api.post<{ rows: { id: string }[] }>("v1/labelled", { run: run.name, rows: [own] });
        kept.id = answer.rows[0].id;
        set({ kind: "saved" });
      } catch (error) {
        set({ kind: "failed", error });
      }
    };
    // In the order in which it was said.
    kept.sent = kept.sent.then(kept.last);
  };

  const apply = (pair: string, next: readonly PageTriple[], answered: LabelledRow["model"] | null) => {
    change((now) => ({ ...now, triples: next }));
    save(pair, next, answered);
  };
  return {
    judge(edit, answered) {
      const triples = results?.triples ?? [];
      const pair = triples.find(({ key }) => key === edit.key)?.pair;
      const next = edited(triples, edit);
      if (pair !== undefined && next !== triples) apply(pair, next, answered ?? null);
    },
    add(triple, answered) {
      const triples = results?.triples ?? [];
      if (triples.some(({ key }) => key === triple.key)) return;
      // Next to the relations of its sentence.
      const after = triples.findLastIndex(
        ({ document, sentenceStart }) => document === triple.document && sentenceStart <= triple.sentenceStart,
      );
      apply(triple.pair, triples.toSpliced(after + 1, 0, triple), answered ?? null);
    },
    stateOf: (pair) => states.get(pair) ?? null,
    retry: useCallback((pair: string) => {
      const kept = rows.current.get(pair);
      if (kept?.last) kept.sent = kept.sent.then(kept.last);
    }, []),
  };
}
