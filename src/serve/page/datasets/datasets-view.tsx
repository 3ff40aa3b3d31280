import { useCallback, useEffect, useState } from "preact/hooks";
import { BarChart } from "../charts/bar-chart.tsx";
import { grouped } from "../charts/format.ts";
import { ScrollTable } from "../charts/scroll-table.tsx";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { useLabelName } from "../shell/use-label-name.ts";
import { DatasetRows } from "./dataset-rows.tsx";
import type { Split } from "./split.ts";
import { DATASETS_TEXTS } from "./texts.ts";

interface Answer {
  datasets: { run: string; data?: string; splits?: Record<string, Split>; problem?: string }[];
  labelled: { rows: number; labels: Record<string, number> };
}

/** The data that the run was trained on, counted, and its rows. */
export function DatasetsView() {
  const { api, run, server } = usePage();
  const texts = useTexts(DATASETS_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [error, setError] = useState<unknown>(null);
  const load = useCallback(async () => {
    try {
      setAnswer(await api.get<Answer>("v1/datasets"));
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  }, [api, run.fingerprint]);
  useEffect(() => {
    void load();
  }, [load]);
  if (error !== null) return <ProblemNote error={error} texts={shell} onRetry={load} />;
  const own = answer?.datasets.find((one) => one.run === run.name);
  return (
    <div class="datasets">
      <h1>
        {texts.heading} <span class="soft small">{own?.data ?? run.name}</span>
      </h1>
      {answer === null && (
        <p class="soft" role="status">
          {texts.counting}
        </p>
      )}
      {own?.problem !== undefined && (
        <div class="note">
          <p>{texts.noData}</p>
          <p class="soft small">{own.problem}</p>
        </div>
      )}
      {own?.splits && <Statistics splits={own.splits} />}
      {server.keepsLabelled && answer && answer.labelled.rows > 0 && (
        <section>
          <h2>
            {texts.labelled} <span class="soft small number">{texts.labelledRows(answer.labelled.rows)}</span>
          </h2>
          <LabelBars columns={[{ name: texts.labelled, labels: answer.labelled.labels }]} />
        </section>
      )}
      {own?.splits && <DatasetRows key={`${run.name} ${run.fingerprint}`} splits={own.splits} />}
    </div>
  );
}

function Statistics({ splits }: { splits: Record<string, Split> }) {
  const texts = useTexts(DATASETS_TEXTS);
  const all = Object.entries(splits);
  const end = Math.max(...all.map(([, { lengths }]) => (lengths.bars.at(-1)?.to ?? 0) + 1));
  const hasBad = all.some(([, { badRows }]) => badRows > 0);
  const columns = [texts.rows, texts.sentences, texts.noRelation, texts.several, ...(hasBad ? [texts.bad] : [])];
  return (
    <>
      <ScrollTable
        label={texts.split}
        columns={[texts.split, ...columns, texts.mean, texts.median, texts.p95, texts.longest]}
      >
        {all.map(([name, split]) => (
          <tr key={name}>
            <th scope="row">{texts.splits[name] ?? name}</th>
            <td class="number">{grouped(split.rows)}</td>
            <td class="number">{grouped(split.sentences)}</td>
            <td class="number">{grouped(split.noRelationOnly)}</td>
            <td class="number">{grouped(split.multiRelation)}</td>
            {hasBad && <td class="number">{grouped(split.badRows)}</td>}
            <td class="number">{split.lengths.mean.toFixed(1)}</td>
            <td class="number">{split.lengths.median}</td>
            <td class="number">{split.lengths.p95}</td>
            <td class="number">{split.lengths.max}</td>
          </tr>
        ))}
      </ScrollTable>
      <section>
        <h2>{texts.labels}</h2>
        <LabelBars columns={all.map(([name, { labels }]) => ({ name: texts.splits[name] ?? name, labels }))} />
      </section>
      <section>
        <h2>{texts.lengths}</h2>
        <div class="charts">
          {all.map(([name, { lengths }]) => {
            const split = texts.splits[name] ?? name;
            return (
              <BarChart
                key={name}
                title={texts.lengthsOf(split)}
                description={texts.lengthsAre(split, lengths.median, lengths.max)}
                bars={lengths.bars}
                unit={texts.characters}
                end={end}
              />
            );
          })}
        </div>
      </section>
    </>
  );
}

interface LabelBarsProps {
  columns: { name: string; labels: Record<string, number> }[];
}

/** Labels with their numbers: bars of the first column, the others as numbers. */
function LabelBars({ columns }: LabelBarsProps) {
  const texts = useTexts(DATASETS_TEXTS);
  const nameOf = useLabelName();
  const { noRelation } = usePage().run.labels;
  const [first] = columns;
  const labels = [...new Set(columns.flatMap((column) => Object.keys(column.labels)))].sort(
    (a, b) => (first.labels[b] ?? 0) - (first.labels[a] ?? 0),
  );
  const most = Math.max(1, ...Object.values(first.labels));
  return (
    <table class="label-bars">
      <thead>
        <tr>
          <th scope="col">{texts.label}</th>
          <th scope="col" class="share">
            <span class="only-read">{first.name}</span>
          </th>
          {columns.map(({ name }) => (
            <th key={name} scope="col" class="number">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {labels.map((label) => (
          <tr key={label}>
            <th scope="row" class={label === noRelation ? "soft" : undefined} lang="zh-CN">
              {nameOf(label)}
            </th>
            <td class="share">
              <span class="bar" aria-hidden="true" style={{ "--share": String((first.labels[label] ?? 0) / most) }} />
            </td>
            {columns.map(({ name, labels: counts }) => (
              <td key={name} class="number">
                {grouped(counts[label] ?? 0)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
