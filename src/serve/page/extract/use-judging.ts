import { useRef, useState } from "preact/hooks";
import { ApiProblem } from "../shell/api.ts";
import { usePage } from "../shell/page-context.ts";
import { type Edit, edited, type LabelledRow, placeKey, rowOfPair } from "./judge.ts";
import type { PageTriple } from "./page-triple.ts";
import { withMoreTriples } from "./results.ts";
import type { Extraction } from "./use-extraction.ts";

/** Whether what was said of a pair is on the disk of the server. */
export type SaveState = { kind: "saving" } | { kind: "saved" } | { kind: "failed"; error: unknown };

export interface Judging {
  /** `answered` is the model's answer to a pair that has no relation of the model. */
  judge(edit: Edit, answered?: LabelledRow["model"]): void;
  /** Adds a relation of a person's own. */
  add(triple: PageTriple, answered?: LabelledRow["model"]): void;
  stateOf(triple: PageTriple): SaveState | null;
  /** Saves a pair again after an error. */
  retry(triple: PageTriple): void;
}

/** The row of a pair on the server, and the end of what is being sent. */
interface KeptRow {
  id: string | null;
  sent: Promise<void>;
  last: () => Promise<void>;
}

/** Changes relations, and keeps in the server's labelled set what was said: one row for each pair, replaced as it changes. */
export function useJudging({ change, earlierRow }: Extraction): Judging {
  const { api, run, server } = usePage();
  const [states, setStates] = useState<ReadonlyMap<string, SaveState>>(new Map());
  const rows = useRef(new Map<string, KeptRow>());
  const rowKey = (triple: PageTriple) => placeKey(run.name, triple);

  const save = (of: PageTriple, triples: readonly PageTriple[], answered: LabelledRow["model"] | null) => {
    if (!server.keepsLabelled) return;
    const key = rowKey(of);
    const row = rowOfPair(
      triples.filter(({ pair }) => pair === of.pair),
      answered,
    );
    const set = (state: SaveState | null) =>
      setStates((before) => {
        const next = new Map(before);
        if (state === null) next.delete(key);
        else next.set(key, state);
        return next;
      });
    const kept = rows.current.get(key) ?? { id: earlierRow(key), sent: Promise.resolve(), last: async () => {} };
    rows.current.set(key, kept);
    kept.last = async () => {
      set({ kind: "saving" });
      try {
        if (row !== null) {
          const own = { ...row, ...(kept.id === null ? {} : { id: kept.id }) };
          const answer = await api.post<{ rows: { id: string }[] }>("v1/labelled", { run: run.name, rows: [own] });
          kept.id = answer.rows[0].id;
          set({ kind: "saved" });
          return;
        }
        if (kept.id !== null) await api.remove(`v1/labelled/${encodeURIComponent(kept.id)}`).catch(unlessGone);
        kept.id = null;
        set(null);
      } catch (error) {
        set({ kind: "failed", error });
      }
    };
    // In the order in which it was said.
    kept.sent = kept.sent.then(kept.last);
  };

  return {
    judge(edit, answered) {
      const of = change((now) => now)?.triples.find(({ key }) => key === edit.key);
      const after = change((now) => ({ ...now, triples: edited(now.triples, edit) }))?.triples ?? [];
      if (of) save(of, after, answered ?? null);
    },
    add(triple, answered) {
      const after = change((now) => withMoreTriples(now, [triple]))?.triples ?? [];
      save(triple, after, answered ?? null);
    },
    stateOf(triple) {
      const key = rowKey(triple);
      const isOfEarlier = triple.verdict !== null && !rows.current.has(key) && earlierRow(key) !== null;
      return states.get(key) ?? (isOfEarlier ? { kind: "saved" } : null);
    },
    retry(triple) {
      const kept = rows.current.get(rowKey(triple));
      if (kept) kept.sent = kept.sent.then(kept.last);
    },
  };
}

/** A row that was taken back in the view "review" is gone already. */
function unlessGone(error: unknown): void {
  if (!(error instanceof ApiProblem) || error.status !== 404) throw error;
}
