import { useState } from "preact/hooks";
import { dateTime, percent } from "../charts/format.ts";
import { LineChart } from "../charts/line-chart.tsx";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { outcomeOf } from "./comparison.ts";
import { ComparisonPanel } from "./comparison-panel.tsx";
import { epochText, type Retraining, smoothed } from "./retraining.ts";
import { REVIEW_TEXTS } from "./texts.ts";

interface RetrainingPanelProps {
  retraining: Retraining;
  onChange(next: Retraining): void;
}

/** Points of the loss that are averaged on each side, for each hundred of them. */
const SMOOTHING = 0.02;

/** One retraining: its progress, the comparison, the switch. */
export function RetrainingPanel({ retraining, onChange }: RetrainingPanelProps) {
  const { api, server, reload } = usePage();
  const texts = useTexts(REVIEW_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setIsBusy] = useState(false);
  const { id, run, state, counts, progress, steps, validations, comparison, isComparing } = retraining;
  const served = server.runs.find(({ name }) => name === run);
  const isServed = served?.retraining === id;
  const epochs = retraining.epochs ?? Math.max(1, progress.epoch);
  const best = Math.max(0, ...validations.map(({ microF1 }) => microF1));
  const isAdvised = comparison !== null && !("failure" in comparison) && outcomeOf(comparison.f1.micro) !== "worse";
  const losses = steps.map(({ epoch, loss }) => [epoch, loss] as const);

  const attempt = async (work: () => Promise<unknown>) => {
    setIsBusy(true);
    try {
      await work();
      setError(null);
    } catch (problem) {
      setError(problem);
    } finally {
      setIsBusy(false);
    }
  };
  const post = (what: string) => async () => onChange(await api.post<Retraining>(`v1/retrain/${id}/${what}`, {}));

  return (
    <section class="retraining" aria-label={texts.number(id)}>
      <div class="retraining-head">
        <h2>
          {texts.number(id)} <span class="soft">{run}</span>
        </h2>
        <span class={state === "failed" ? "bad" : "soft"} role="status">
          {texts.states[state]}
        </span>
      </div>
      <p class="soft small">
        {texts.counts(counts)}
        <br />
        {texts.started} <time dateTime={retraining.startedAt}>{dateTime(retraining.startedAt)}</time>
        {retraining.finishedAt && (
          <>
            {" · "}
            {texts.finished} <time dateTime={retraining.finishedAt}>{dateTime(retraining.finishedAt)}</time>
          </>
        )}
      </p>
      {state === "running" && (
        <div class="retraining-progress">
          <progress
            max={epochs}
            value={progress.step > 0 ? progress.epoch : undefined}
            aria-label={texts.states.running}
          />
          <p class="number small">
            {progress.step === 0
              ? texts.preparing
              : progress.epoch >= epochs
                ? texts.finishing
                : texts.progress(progress.step, epochText(progress.epoch), epochText(epochs))}
          </p>
          <button type="button" disabled={isBusy} onClick={() => void attempt(post("cancel"))}>
            {texts.cancelTraining}
          </button>
        </div>
      )}
      {retraining.failure && <pre class="bad">{retraining.failure}</pre>}
      {steps.length > 0 && (
        <div class="charts">
          <LineChart
            title={texts.loss}
            description={texts.lossIs(losses[0][1].toFixed(2), losses[losses.length - 1][1].toFixed(2))}
            points={smoothed(losses, Math.ceil(losses.length * SMOOTHING))}
            {...{ from: 0, to: epochs, unit: texts.epochUnit }}
            format={(value) => String(Number(value.toPrecision(3)))}
          />
          <LineChart
            title={texts.f1}
            description={texts.f1Is(percent(best))}
            points={validations.map(({ epoch, microF1 }) => [epoch, microF1])}
            {...{ from: 0, to: epochs, unit: texts.epochUnit, range: [0, 1] as const, hasDots: true }}
            format={(value) => `${Number((100 * value).toFixed(1))}%`}
          />
        </div>
      )}
      {error !== null && <ProblemNote error={error} texts={shell} />}
      {state === "finished" && comparison === null && (
        <div class="next-step">
          <button
            type="button"
            class="primary"
            disabled={isComparing || isBusy}
            onClick={() => void attempt(post("compare"))}
          >
            {texts.compare}
          </button>
          <p class="soft small" role="status">
            {isComparing ? texts.comparing : texts.compareHelp}
          </p>
          {isComparing && <progress aria-label={texts.comparing} />}
        </div>
      )}
      {comparison !== null && "failure" in comparison && (
        <div class="problem" role="alert">
          <p>{texts.noComparison}</p>
          <p class="problem-hint">{comparison.failure}</p>
        </div>
      )}
      {comparison !== null && !("failure" in comparison) && <ComparisonPanel comparison={comparison} />}
      {state === "finished" && served && (
        <div class="next-step">
          {isServed ? (
            <>
              <p role="status">{texts.switched(run)}</p>
              <button
                type="button"
                disabled={isBusy}
                onClick={() =>
                  void attempt(async () => {
                    await api.remove(`v1/runs/${encodeURIComponent(run)}/switch`);
                    await reload();
                  })
                }
              >
                {texts.switchBack}
              </button>
            </>
          ) : (
            <>
              <button
                type="button"
                class={isAdvised ? "primary" : undefined}
                disabled={isBusy}
                onClick={() =>
                  void attempt(async () => {
                    await api.post(`v1/retrain/${id}/switch`, {});
                    await reload();
                  })
                }
              >
                {texts.switchTo}
              </button>
              <p class="soft small">{texts.switchHelp}</p>
            </>
          )}
        </div>
      )}
    </section>
  );
}
