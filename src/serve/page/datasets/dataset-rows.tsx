import { useEffect, useState } from "preact/hooks";
import { MarkedSentence } from "../charts/marked-sentence.tsx";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { useLabelName } from "../shell/use-label-name.ts";
import type { Split } from "./split.ts";
import { DATASETS_TEXTS } from "./texts.ts";

interface Row {
  row: number;
  sentence: string;
  head: string;
  tail: string;
  headSpan?: { start: number; end: number };
  tailSpan?: { start: number; end: number };
  relations?: string[];
}

const PAGE = 20;

/** Rows of a split, of all labels or of one. */
export function DatasetRows({ splits }: { splits: Record<string, Split> }) {
  const { api, run } = usePage();
  const texts = useTexts(DATASETS_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const nameOf = useLabelName();
  const names = Object.keys(splits);
  const [split, setSplit] = useState(names[0]);
  const [label, setLabel] = useState("");
  const [offset, setOffset] = useState(0);
  const [found, setFound] = useState<{ rows: Row[]; total: number } | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const own = new AbortController();
    const query = new URLSearchParams({ split, offset: String(offset), limit: String(PAGE) });
    if (label !== "") query.set("label", label);
    api
      .get<{ rows: Row[]; total: number }>(`v1/datasets/${encodeURIComponent(run.name)}/rows?${query}`, own.signal)
      .then((next) => {
        setFound(next);
        setError(null);
      })
      .catch((problem) => own.signal.aborted || setError(problem));
    return () => own.abort();
  }, [api, run.name, split, label, offset]);
  const choose = (change: () => void) => {
    setOffset(0);
    change();
  };
  return (
    <section>
      <div class="rows-head">
        <h2>{texts.examples}</h2>
        <div class="rows-tools">
          <select
            aria-label={texts.split}
            value={split}
            onChange={(event) => choose(() => setSplit(event.currentTarget.value))}
          >
            {names.map((name) => (
              <option key={name} value={name}>
                {texts.splits[name] ?? name}
              </option>
            ))}
          </select>
          <select
            aria-label={texts.label}
            value={label}
            onChange={(event) => choose(() => setLabel(event.currentTarget.value))}
          >
            <option value="">{texts.allLabels}</option>
            {Object.keys(splits[split].labels).map((name) => (
              <option key={name} value={name}>
                {nameOf(name)}
              </option>
            ))}
          </select>
        </div>
      </div>
      {error !== null && <ProblemNote error={error} texts={shell} />}
      {found && found.rows.length === 0 && <p class="soft empty">{texts.none}</p>}
      {found && found.rows.length > 0 && (
        <>
          <ol class="rows" start={offset + 1}>
            {found.rows.map(({ row, relations = [], ...pair }) => (
              <li key={row}>
                <p lang="zh-CN">
                  <MarkedSentence {...pair} />
                </p>
                <RowLabels relations={relations} />
              </li>
            ))}
          </ol>
          <div class="rows-pages">
            <button type="button" disabled={offset === 0} onClick={() => setOffset(Math.max(0, offset - PAGE))}>
              {texts.previous}
            </button>
            <span class="soft small number">{texts.place(offset + 1, offset + found.rows.length, found.total)}</span>
            <button type="button" disabled={offset + PAGE >= found.total} onClick={() => setOffset(offset + PAGE)}>
              {texts.next}
            </button>
          </div>
        </>
      )}
    </section>
  );
}

/** The labels of a row; none is told more quietly than some. */
function RowLabels({ relations }: { relations: readonly string[] }) {
  const nameOf = useLabelName();
  const { noRelation } = usePage().run.labels;
  const names = relations.map(nameOf).join("、");
  if (relations.every((relation) => relation === noRelation)) return <span class="soft">{names}</span>;
  return <strong lang="zh-CN">{names}</strong>;
}
