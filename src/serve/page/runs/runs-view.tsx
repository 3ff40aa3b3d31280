import { useEffect, useState } from "preact/hooks";
import type { RunInfo } from "../../server-info.ts";
import { dateTime, percent } from "../charts/format.ts";
import { ScrollTable } from "../charts/scroll-table.tsx";
import type { Retraining } from "../review/retraining.ts";
import { REVIEW_TEXTS } from "../review/texts.ts";
import { usePage, useTexts } from "../shell/page-context.ts";
import { hashOf } from "../shell/router.ts";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { RunPage } from "./run-page.tsx";
import { RUNS_TEXTS } from "./texts.ts";

/** The runs that are served; `rest` has the name of the one that is looked at. */
export function RunsView({ rest }: { rest: readonly string[] }) {
  const { server } = usePage();
  const texts = useTexts(RUNS_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const [name] = rest;
  const run = server.runs.find((one) => one.name === name);
  if (run) return <RunPage run={run} />;
  return (
    <div class="runs">
      <h1>{texts.heading}</h1>
      {name !== undefined && (
        <p class="bad" role="alert">
          {texts.missing(name)}
        </p>
      )}
      <ScrollTable
        label={shell.views.runs}
        columns={[
          ...[texts.name, { text: texts.base }, { text: texts.method }, texts.f1, texts.interval],
          ...[texts.floor, texts.testRows, { text: texts.trained }],
        ]}
      >
        {server.runs.map((one) => (
          <RunRow key={one.name} run={one} />
        ))}
      </ScrollTable>
      {server.runs.some((one) => floorOf(one) !== null) && <p class="soft small">{texts.floorHelp}</p>}
      {server.runs.some(({ evaluation }) => evaluation === null) && <p class="soft small">{texts.someNotEvaluated}</p>}
      {server.keepsLabelled && <Retrainings />}
    </div>
  );
}

export const floorOf = ({ evaluation }: Pick<RunInfo, "evaluation">) =>
  evaluation?.references.find(({ name }) => name === "linear floor")?.micro ?? null;

function RunRow({ run }: { run: RunInfo }) {
  const texts = useTexts(RUNS_TEXTS);
  const { evaluation } = run;
  const floor = floorOf(run);
  const interval = evaluation?.interval;
  return (
    <tr>
      <th scope="row">
        <a href={hashOf("runs", run.name)}>{run.name}</a>
        {run.retraining !== null && <span class="soft small"> {texts.isSwitched(run.retraining)}</span>}
      </th>
      <td>{run.base ?? "–"}</td>
      <td>{texts.methods[run.method] ?? run.method}</td>
      <td class="number">{evaluation ? <strong>{percent(evaluation.f1.micro)}</strong> : "–"}</td>
      <td class="number">{interval ? `${percent(interval.low)} – ${percent(interval.high)}` : "–"}</td>
      <td class="number">{floor === null ? "–" : percent(floor)}</td>
      <td class="number">{evaluation?.rows ?? "–"}</td>
      <td>{run.trainedAt ? dateTime(run.trainedAt) : "–"}</td>
    </tr>
  );
}

function Retrainings() {
  const { api } = usePage();
  const texts = useTexts(RUNS_TEXTS);
  const states = useTexts(REVIEW_TEXTS).states;
  const [all, setAll] = useState<readonly Retraining[]>([]);
  useEffect(() => {
    api
      .get<{ retrainings: Retraining[] }>("v1/retrain")
      .then(({ retrainings }) => setAll(retrainings))
      // The list of runs is there without them.
      .catch(() => {});
  }, [api]);
  if (all.length === 0) return null;
  return (
    <section class="history">
      <h2>{texts.retrainings}</h2>
      <ul>
        {all.toReversed().map((one) => (
          <li key={one.id}>
            <a href={hashOf("review", "retrain", one.id)}>{texts.number(one.id)}</a>
            <span>{one.run}</span>
            <span class="soft">{states[one.state]}</span>
            <time class="soft small" dateTime={one.startedAt}>
              {dateTime(one.startedAt)}
            </time>
          </li>
        ))}
      </ul>
    </section>
  );
}
