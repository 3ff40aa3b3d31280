import { useEffect, useState } from "preact/hooks";
import type { RunInfo } from "../../server-info.ts";
import { dateTime, grouped, percent, referenceName } from "../charts/format.ts";
import { saveText } from "../charts/save-text.ts";
import { ScrollTable } from "../charts/scroll-table.tsx";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { hashOf } from "../shell/router.ts";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { useLabelName } from "../shell/use-label-name.ts";
import { confusionsOf, type Metrics } from "./metrics.ts";
import { RUNS_TEXTS } from "./texts.ts";

const MOST_CONFUSIONS = 8;

/** One run: what it is, its scores, the relations that it knows and confuses. */
export function RunPage({ run }: { run: RunInfo }) {
  const { api } = usePage();
  const texts = useTexts(RUNS_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const [metrics, setMetrics] = useState<Metrics | null>(null);
  const [error, setError] = useState<unknown>(null);
  const path = `v1/runs/${encodeURIComponent(run.name)}/report`;
  useEffect(() => {
    setMetrics(null);
    if (run.evaluation === null) return;
    const own = new AbortController();
    api
      .get<Metrics>(path, own.signal)
      .then(setMetrics)
      .catch((problem) => own.signal.aborted || setError(problem));
    return () => own.abort();
  }, [api, path, run.fingerprint, run.evaluation]);
  const download = async () => {
    try {
      saveText(`${run.name}-report.html`, "text/html", await api.text(path, "text/html"));
    } catch (problem) {
      setError(problem);
    }
  };
  const facts: [string, string][] = [
    [texts.base, run.base ?? "–"],
    [texts.method, texts.methods[run.method] ?? run.method],
    [texts.labels, String(run.labels.labels.length)],
    [texts.prompt, texts.tokens(grouped(run.maxPromptTokens))],
    [texts.finds, run.findsMentions ? texts.yes : texts.no],
    [texts.calibrated, run.isCalibrated ? texts.yes : texts.no],
    [texts.backend, run.backend],
    [texts.trained, run.trainedAt ? dateTime(run.trainedAt) : "–"],
    [texts.evaluated, run.evaluation ? dateTime(run.evaluation.at) : "–"],
    [texts.served, dateTime(run.servedSince)],
    [texts.fingerprint, run.fingerprint],
  ];
  return (
    <div class="run">
      <p class="small">
        <a href={hashOf("runs")}>{texts.back}</a>
      </p>
      <div class="run-head">
        <h1>{run.name}</h1>
        {run.retraining !== null && (
          <a class="small" href={hashOf("review", "retrain", run.retraining)}>
            {texts.isSwitched(run.retraining)}
          </a>
        )}
      </div>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class="number">{value}</dd>
          </div>
        ))}
      </dl>
      {run.evaluation === null && <p class="soft">{texts.notEvaluated}</p>}
      {error !== null && <ProblemNote error={error} texts={shell} />}
      {metrics && <Scores run={run} metrics={metrics} />}
      {run.hasReport && (
        <p>
          {api.hasToken() ? (
            <button type="button" onClick={() => void download()}>
              {texts.download}
            </button>
          ) : (
            <a href={`./${path}`} target="_blank" rel="noreferrer">
              {texts.report}
            </a>
          )}
        </p>
      )}
    </div>
  );
}

function Scores({ run, metrics }: { run: RunInfo; metrics: Metrics }) {
  const { language } = usePage();
  const texts = useTexts(RUNS_TEXTS);
  const nameOf = useLabelName(run);
  const references = (metrics.references ?? []).filter(({ f1 }) => f1.micro !== undefined);
  const relations = metrics.relations.toSorted((a, b) => b.support - a.support);
  const confusions = confusionsOf(metrics, MOST_CONFUSIONS);
  return (
    <>
      <section>
        <h2>{texts.scores}</h2>
        <ScrollTable
          label={texts.scores}
          columns={[texts.convention, texts.precision, texts.recall, "F1", { blank: "wide" }]}
        >
          {Object.entries(metrics.conventions).map(([name, { precision, recall, f1 }]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{percent(precision)}</td>
              <td class="number">{percent(recall)}</td>
              <td class="number">
                <strong>{percent(f1)}</strong>
              </td>
              <td class="soft small wide">{texts.conventions[name]}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">macro</th>
            <td />
            <td />
            <td class="number">
              <strong>{percent(metrics.macro.f1)}</strong>
            </td>
            <td class="soft small wide">{texts.conventions.macro}</td>
          </tr>
        </ScrollTable>
        {references.length > 0 && (
          <p class="references small">
            <span class="soft">{texts.references}</span>
            {references.map(({ name, f1 }) => (
              <span key={name}>
                {referenceName(name, language)} <strong class="number">{percent(f1.micro as number)}</strong>
              </span>
            ))}
          </p>
        )}
      </section>
      <section>
        <h2>{texts.relations}</h2>
        <ScrollTable
          label={texts.relations}
          columns={[
            ...[texts.relation, { blank: "share" }, "F1", texts.precision],
            ...[texts.recall, texts.gold, texts.predicted, texts.hits],
          ]}
        >
          {relations.map((one) => (
            <tr key={one.relation} class={one.isNoRelation ? "soft" : undefined}>
              <th scope="row" lang={one.isNoRelation ? undefined : "zh-CN"}>
                {nameOf(one.relation)}
              </th>
              <td class="share">
                <span class="bar" aria-hidden="true" style={{ "--share": String(one.f1) }} />
              </td>
              <td class="number">
                <strong>{percent(one.f1)}</strong>
              </td>
              <td class="number">{percent(one.precision)}</td>
              <td class="number">{percent(one.recall)}</td>
              <td class="number">{one.support}</td>
              <td class="number">{one.predicted}</td>
              <td class="number">{one.hits}</td>
            </tr>
          ))}
        </ScrollTable>
      </section>
      {confusions.length > 0 && (
        <section>
          <h2>{texts.confusions}</h2>
          <ul class="confusions">
            {confusions.map(({ gold, predicted, rows }) => (
              <li key={`${gold} ${predicted}`}>
                <span lang="zh-CN">{nameOf(gold)}</span>
                <span class="soft small">{texts.takenFor}</span>
                <span lang="zh-CN">{nameOf(predicted)}</span>
                <span class="number">{rows}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}
