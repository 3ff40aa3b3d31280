import { useCallback, useEffect, useState } from "preact/hooks";
import { dateTime, percent } from "../charts/format.ts";
import { MarkedSentence } from "../charts/marked-sentence.tsx";
import { saveText } from "../charts/save-text.ts";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { useLabelName } from "../shell/use-label-name.ts";
import type { Prediction, Verdict } from "./queue.ts";
import { REVIEW_TEXTS } from "./texts.ts";

interface Row {
  id: string;
  sentence: string;
  head: string;
  tail: string;
  headSpan?: { start: number; end: number };
  tailSpan?: { start: number; end: number };
  relations: string[];
  verdict: Verdict;
  run: string;
  model: { fingerprint: string; predictions: Prediction[] } | null;
  at: string;
}

interface Found {
  counts: Record<Verdict, number>;
  total: number;
  rows: Row[];
}

const VERDICTS: readonly Verdict[] = ["confirmed", "corrected", "rejected", "added"];
const EXPORTS = [
  { format: "jsonl", name: "JSONL", file: "labelled.jsonl", type: "application/x-ndjson" },
  { format: "label-studio", name: "Label Studio", file: "label-studio.json", type: "application/json" },
  { format: "doccano", name: "doccano", file: "doccano.jsonl", type: "application/x-ndjson" },
] as const;
const PAGE = 50;

/** The rows that people have judged, the last one first. */
export function LabelledView() {
  const { api } = usePage();
  const texts = useTexts(REVIEW_TEXTS);
  const nameOf = useLabelName();
  const shell = useTexts(SHELL_TEXTS);
  const [found, setFound] = useState<Found | null>(null);
  const [verdict, setVerdict] = useState<Verdict | null>(null);
  const [shown, setShown] = useState(PAGE);
  const [removed, setRemoved] = useState<Row | null>(null);
  const [error, setError] = useState<unknown>(null);

  const load = useCallback(async () => {
    try {
      const wanted = verdict === null ? "" : `&verdict=${verdict}`;
      setFound(await api.get<Found>(`v1/labelled?newest=true&limit=${shown}${wanted}`));
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  }, [api, verdict, shown]);
  useEffect(() => {
    void load();
  }, [load]);
  const attempt = async (work: () => Promise<void>) => {
    try {
      await work();
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  const choose = (one: Verdict | null) => {
    setVerdict(one);
    setShown(PAGE);
  };
  const remove = (row: Row) =>
    attempt(async () => {
      await api.remove(`v1/labelled/${encodeURIComponent(row.id)}`);
      setRemoved(row);
      await load();
    });
  const restore = (row: Row) =>
    attempt(async () => {
      const { at: _, run, model, ...own } = row;
      await api.post("v1/labelled", { run, rows: [{ ...own, ...(model ? { model } : {}) }] });
      setRemoved(null);
      await load();
    });
  const save = ({ format, file, type }: (typeof EXPORTS)[number]) =>
    attempt(async () => saveText(file, type, await api.text(`v1/labelled/export/${format}`)));

  if (found === null) return error === null ? null : <ProblemNote error={error} texts={shell} onRetry={load} />;
  const { counts, total, rows } = found;
  const all = Object.values(counts).reduce((sum, one) => sum + one, 0);
  return (
    <>
      <div class="labelled-head">
        <fieldset class="choice" aria-label={texts.verdict}>
          {[null, ...VERDICTS].map((one) => (
            <button key={one} type="button" aria-pressed={verdict === one} onClick={() => choose(one)}>
              {one === null ? texts.all : texts.verdicts[one]}{" "}
              <span class="number soft">{one === null ? all : counts[one]}</span>
            </button>
          ))}
        </fieldset>
        <fieldset class="labelled-exports" aria-label={texts.export}>
          <span class="soft">{texts.export}</span>
          {EXPORTS.map((one) => (
            <button key={one.format} type="button" disabled={all === 0} onClick={() => void save(one)}>
              {one.name}
            </button>
          ))}
        </fieldset>
      </div>
      {error !== null && <ProblemNote error={error} texts={shell} />}
      <p role="status" class="told">
        {removed && (
          <>
            {texts.removed}{" "}
            <button type="button" class="link" onClick={() => void restore(removed)}>
              {texts.restore}
            </button>
          </>
        )}
      </p>
      {all === 0 ? (
        <p class="soft empty">{texts.labelledEmpty}</p>
      ) : (
        <ul class="labelled">
          {rows.map((row) => (
            <li key={row.id}>
              <p class="labelled-sentence" lang="zh-CN">
                <MarkedSentence {...row} />
              </p>
              <p class="labelled-answer">
                <strong lang="zh-CN">{row.relations.map(nameOf).join("、")}</strong>
                <span class="soft small">{texts.verdicts[row.verdict]}</span>
                {row.verdict !== "confirmed" && row.model && row.model.predictions.length > 0 && (
                  <span class="soft small">
                    {texts.modelSaid}{" "}
                    <span lang="zh-CN">
                      {row.model.predictions
                        .map(({ relation, probability }) => `${nameOf(relation)} ${percent(probability)}`)
                        .join("、")}
                    </span>
                  </span>
                )}
              </p>
              <p class="labelled-tools soft small">
                <time dateTime={row.at}>{dateTime(row.at)}</time>
                <button type="button" class="link" onClick={() => void remove(row)}>
                  {texts.remove}
                </button>
              </p>
            </li>
          ))}
        </ul>
      )}
      {total > rows.length && (
        <button type="button" onClick={() => setShown(shown + PAGE)}>
          {texts.showMore(total - rows.length)}
        </button>
      )}
    </>
  );
}
