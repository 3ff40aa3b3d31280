import { useCallback, useEffect, useState } from "preact/hooks";
import { dateTime } from "../charts/format.ts";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { hashOf } from "../shell/router.ts";
import { SHELL_TEXTS } from "../shell/texts.ts";
import type { Retraining } from "./retraining.ts";
import { RetrainingPanel } from "./retraining-panel.tsx";
import { REVIEW_TEXTS } from "./texts.ts";

const RUNNING_MS = 1000;

/** Starting a retraining, and all of them; `id` is the one that is shown, default the last one. */
export function RetrainView({ id }: { id: string | null }) {
  const { api, run } = usePage();
  const texts = useTexts(REVIEW_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const [all, setAll] = useState<readonly Retraining[] | null>(null);
  const [rows, setRows] = useState(0);
  const [epochs, setEpochs] = useState("");
  const [error, setError] = useState<unknown>(null);

  const load = useCallback(async () => {
    try {
      setAll((await api.get<{ retrainings: Retraining[] }>("v1/retrain")).retrainings);
      setRows((await api.get<{ total: number }>("v1/labelled?limit=0")).total);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  }, [api]);
  useEffect(() => {
    void load();
  }, [load]);
  const shown = all?.find((one) => one.id === id) ?? all?.at(-1) ?? null;
  const isBusy = all?.some(({ state }) => state === "running") === true;
  const isLive = shown !== null && (shown.state === "running" || shown.isComparing);
  useEffect(() => {
    if (!isLive || shown === null) return;
    const timer = setInterval(async () => {
      try {
        const next = await api.get<Retraining>(`v1/retrain/${shown.id}`);
        setAll((before) => replaced(before, next));
      } catch {
        // The server may be starting again; the next tick asks it.
      }
    }, RUNNING_MS);
    return () => clearInterval(timer);
  }, [api, isLive, shown?.id]);

  const start = async () => {
    try {
      const wanted = Number(epochs);
      const body = { run: run.name, ...(epochs.trim() !== "" && wanted > 0 ? { epochs: wanted } : {}) };
      const started = await api.post<Retraining>("v1/retrain", body);
      setAll((before) => [...(before ?? []), started]);
      location.hash = hashOf("review", "retrain", started.id);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };

  if (all === null) return error === null ? null : <ProblemNote error={error} texts={shell} onRetry={load} />;
  return (
    <>
      <p class="soft intro">{texts.retrainIntro(rows, run.name)}</p>
      {rows === 0 && (
        <p class="note">
          <span>
            {texts.needRows} <a href={hashOf("review")}>{texts.sections.queue}</a>
          </span>
        </p>
      )}
      <form
        class="source-row"
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        <label>
          <span>{texts.epochs}</span>
          <input
            type="number"
            inputMode="decimal"
            min="0.1"
            max="100"
            step="any"
            value={epochs}
            aria-describedby="epochs-help"
            onInput={(event) => setEpochs(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary" disabled={isBusy || rows === 0}>
          {texts.start}
        </button>
        <p class="soft small" id="epochs-help">
          {texts.epochsHelp}
        </p>
      </form>
      {error !== null && <ProblemNote error={error} texts={shell} />}
      {shown && (
        <RetrainingPanel
          key={shown.id}
          retraining={shown}
          onChange={(next) => setAll((before) => replaced(before, next))}
        />
      )}
      {all.length > 1 && (
        <section class="history">
          <h2>{texts.history}</h2>
          <ul>
            {all.toReversed().map((one) => (
              <li key={one.id}>
                <a href={hashOf("review", "retrain", one.id)} aria-current={one.id === shown?.id ? "true" : undefined}>
                  {texts.number(one.id)}
                </a>
                <span>{one.run}</span>
                <span class="soft">{texts.states[one.state]}</span>
                <time class="soft small" dateTime={one.startedAt}>
                  {dateTime(one.startedAt)}
                </time>
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

const replaced = (all: readonly Retraining[] | null, next: Retraining) =>
  all?.map((one) => (one.id === next.id ? next : one)) ?? null;
