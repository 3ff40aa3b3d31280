import { useEffect, useRef, useState } from "preact/hooks";
import { isStopped } from "../shell/api.ts";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { ItemCard } from "./item-card.tsx";
import { afterJudging, afterUndo, movedTo, type Queue, type QueueItem, queueOf, rowOf } from "./queue.ts";
import { type Question, SourceForm } from "./source-form.tsx";
import { REVIEW_TEXTS } from "./texts.ts";

/** Most items of a queue: what a person looks at before the order is computed anew. */
const MOST_ITEMS = 100;

/** What was asked last of a run, with how far a person is: it is there again when they come back to the view. */
const kept = new Map<string, { question: Question; queue: Queue }>();

/** Examples in the order of uncertainty, one at a time. */
export function QueueView() {
  const { api, run, server } = usePage();
  const texts = useTexts(REVIEW_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const key = `${run.name} ${run.fingerprint}`;
  const [state, setState] = useState(kept.get(key) ?? null);
  const [isBusy, setIsBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [told, setTold] = useState("");
  const asking = useRef<AbortController | null>(null);
  const isSaving = useRef(false);

  useEffect(() => {
    setState(kept.get(key) ?? null);
    setError(null);
    return () => asking.current?.abort();
  }, [key]);
  const keep = (next: { question: Question; queue: Queue }) => {
    kept.set(key, next);
    setState(next);
  };

  const ask = async (question: Question) => {
    const own = new AbortController();
    asking.current = own;
    setIsBusy(true);
    setError(null);
    setTold("");
    try {
      const body = { run: run.name, ...question, limit: MOST_ITEMS, skipJudged: true };
      const answer = await api.post<{ rows: (QueueItem & { index?: number })[] }>("v1/uncertain", body, own.signal);
      // Answers to examples have their places, not their texts.
      const examples = "examples" in question ? question.examples : null;
      const items = answer.rows.map((row) =>
        examples && row.index !== undefined ? { ...examples[row.index], ...row } : row,
      );
      keep({ question, queue: queueOf(items) });
    } catch (problem) {
      if (!isStopped(problem)) setError(problem);
    } finally {
      setIsBusy(false);
    }
  };

  const queue = state?.queue ?? null;
  const change = (next: Queue) => state && keep({ ...state, queue: next });

  /** Keeps what was said before the next item comes: nothing that is shown as judged can be lost. */
  const judge = async (place: number, chosen: readonly string[]) => {
    if (!queue || isSaving.current) return;
    isSaving.current = true;
    setError(null);
    try {
      const row = rowOf(
        queue.items[place],
        chosen,
        { noRelation: run.labels.noRelation, fingerprint: run.fingerprint },
        queue.judged.get(place)?.id,
      );
      const { rows } = await api.post<{ rows: { id: string }[] }>("v1/labelled", { run: run.name, rows: [row] });
      change(afterJudging(queue, place, { id: rows[0].id, verdict: row.verdict, relations: [...chosen] }));
      setTold(texts.saved(chosen.join("、")));
    } catch (problem) {
      setError(problem);
    } finally {
      isSaving.current = false;
    }
  };
  const undo = async (place: number) => {
    const judged = queue?.judged.get(place);
    if (!queue || !judged || isSaving.current) return;
    isSaving.current = true;
    setError(null);
    try {
      await api.remove(`v1/labelled/${encodeURIComponent(judged.id)}`);
      change(afterUndo(queue, place));
      setTold(texts.undone);
    } catch (problem) {
      setError(problem);
    } finally {
      isSaving.current = false;
    }
  };
  const lastJudged = queue ? [...queue.judged.keys()].at(-1) : undefined;
  const isDone = queue !== null && queue.items.length > 0 && queue.judged.size === queue.items.length;
  const rows = state && "rows" in state.question ? state.question.rows : null;

  return (
    <>
      <p class="soft intro">{texts.queueIntro}</p>
      <SourceForm isBusy={isBusy} onAsk={ask} onStop={() => asking.current?.abort()} />
      {isBusy && (
        <p class="soft" role="status">
          {texts.finding}
        </p>
      )}
      {error !== null && <ProblemNote error={error} texts={shell} />}
      {!isBusy && queue && queue.items.length === 0 && <p class="soft empty">{texts.noneFound}</p>}
      {!isBusy && queue && queue.items.length > 0 && (
        <ItemCard
          key={key}
          queue={queue}
          canSave={server.keepsLabelled}
          onJudge={judge}
          onMove={(at) => change(movedTo(queue, at))}
          onUndo={() => {
            const place = queue.judged.has(queue.at) ? queue.at : lastJudged;
            if (place !== undefined) void undo(place);
          }}
          canUndo={lastJudged !== undefined}
        />
      )}
      <p class="soft small told" role="status">
        {isDone ? `${told}${told === "" ? "" : " "}${texts.allDone}` : told}
      </p>
      {!isBusy && rows && queue && (isDone || queue.items.length === 0) && (
        <button type="button" onClick={() => void ask({ rows: { ...rows, offset: rows.offset + rows.limit } })}>
          {texts.more}
        </button>
      )}
    </>
  );
}
