import { useState } from "preact/hooks";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote, WorkNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { useDistribution } from "./distribution.ts";
import { addedTriple, type PageTriple } from "./page-triple.ts";
import type { PairSelection } from "./selection.ts";
import { EXTRACT_TEXTS } from "./texts.ts";
import type { Judging } from "./use-judging.ts";

interface PairPanelProps {
  pair: PairSelection;
  /** The relation that is looked at; null where there is none. */
  triple: PageTriple | null;
  judging: Judging;
  onAdded(triple: PageTriple): void;
  onSwap(): void;
  onStep(by: 1 | -1): void;
  onClose(): void;
}

/** Labels whose bars are shown at once. */
const FIRST_LABELS = 5;
const percent = (probability: number) => `${(100 * probability).toFixed(1)}%`;

/** One pair: its sentence, the distribution over the labels, and what a person says of it. */
export function PairPanel({ pair, triple, judging, onAdded, onSwap, onStep, onClose }: PairPanelProps) {
  const texts = useTexts(EXTRACT_TEXTS);
  const shellTexts = useTexts(SHELL_TEXTS);
  const { run, server } = usePage();
  const { distribution, error } = useDistribution(pair);
  const { document, sentence, head, tail } = pair;
  const { noRelation } = run.labels;
  const verdict = triple?.verdict ?? null;
  const holds = triple === null || verdict === "rejected" ? null : triple.label;
  const state = triple ? judging.stateOf(triple) : null;
  const choose = (label: string) => {
    const answered = distribution?.answered;
    if (triple !== null) {
      const { key } = triple;
      if (label === noRelation) judging.judge({ kind: "reject", key }, answered);
      else judging.judge({ kind: "correct", key, label }, answered);
    } else if (label !== noRelation) {
      const added = addedTriple(document, sentence, head, tail, label);
      judging.add(added, answered);
      onAdded(added);
    }
  };
  return (
    <section class="pair" aria-label={texts.relation}>
      <div class="pair-head">
        <button
          type="button"
          class="quiet"
          aria-label={texts.earlier}
          title={`${texts.earlier} (K)`}
          onClick={() => onStep(-1)}
        >
          <Chevron d="M10 3 5 8l5 5" />
        </button>
        <button
          type="button"
          class="quiet"
          aria-label={texts.later}
          title={`${texts.later} (J)`}
          onClick={() => onStep(1)}
        >
          <Chevron d="m6 3 5 5-5 5" />
        </button>
        <button type="button" class="quiet" aria-label={texts.swap} title={texts.swap} onClick={onSwap}>
          <Chevron d="M5 13V3M2.5 5.5 5 3l2.5 2.5M11 3v10m-2.5-2.5L11 13l2.5-2.5" />
        </button>
        <button type="button" class="quiet" aria-label={texts.close} title={`${texts.close} (Esc)`} onClick={onClose}>
          <Chevron d="m4 4 8 8m0-8-8 8" />
        </button>
      </div>
      <dl class="pair-triple">
        <dt>{texts.head}</dt>
        <dd class="is-head" lang="zh-CN">
          {head.text}
        </dd>
        <dt>{texts.relation}</dt>
        <dd class={verdict === "rejected" ? "is-rejected" : undefined}>
          {triple === null ? <span class="soft">{texts.noAnswer}</span> : triple.label}
          {verdict !== null && <span class={`said said-${verdict}`}>{texts.verdicts[verdict]}</span>}
        </dd>
        <dt>{texts.tail}</dt>
        <dd class="is-tail" lang="zh-CN">
          {tail.text}
        </dd>
      </dl>
      {verdict === "corrected" && triple && <p class="soft small">{texts.modelSaid(triple.relation)}</p>}
      <Sentence pair={pair} />
      {triple !== null && (
        <div class="pair-actions">
          {triple.isOfModel && (
            <>
              <button
                type="button"
                class="primary"
                aria-pressed={verdict === "confirmed"}
                title="Y"
                onClick={() => judging.judge({ kind: "confirm", key: triple.key }, distribution?.answered)}
              >
                {texts.confirm}
              </button>
              <button
                type="button"
                aria-pressed={verdict === "rejected"}
                disabled={noRelation === null}
                title="N"
                onClick={() => judging.judge({ kind: "reject", key: triple.key }, distribution?.answered)}
              >
                {texts.reject}
              </button>
            </>
          )}
          {verdict !== null && (
            <button type="button" title="U" onClick={() => judging.judge({ kind: "undo", key: triple.key })}>
              {texts.undo}
            </button>
          )}
        </div>
      )}
      <Saved state={state} retry={() => triple && judging.retry(triple)} />
      <h3>{texts.distribution}</h3>
      {error !== null && <ProblemNote error={error} texts={shellTexts} />}
      <Bars
        probabilities={distribution?.probabilities ?? null}
        labels={run.labels.labels}
        noRelation={noRelation}
        holds={holds}
        isNew={triple === null}
        // A pair that the run was not asked for is kept with its answer.
        isWaiting={triple === null && distribution === null && !error}
        onChoose={choose}
      />
      {!run.isCalibrated && <p class="soft small">{texts.uncalibrated}</p>}
      {!server.keepsLabelled && verdict !== null && <WorkNote texts={shellTexts} />}
      <p class="soft small keys">{texts.keys}</p>
    </section>
  );
}

function Chevron({ d }: { d: string }) {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={d} fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

/** The sentence with both ends marked. */
function Sentence({ pair: { sentence, head, tail } }: { pair: PairSelection }) {
  const spans = [
    { start: head.startUtf16 - sentence.start, end: head.endUtf16 - sentence.start, side: "is-head" },
    { start: tail.startUtf16 - sentence.start, end: tail.endUtf16 - sentence.start, side: "is-tail" },
  ].sort((a, b) => a.start - b.start);
  const parts = [];
  let at = 0;
  for (const { start, end, side } of spans) {
    if (start < at) continue;
    parts.push(sentence.text.slice(at, start), <mark class={side}>{sentence.text.slice(start, end)}</mark>);
    at = end;
  }
  return (
    <blockquote class="pair-sentence" lang="zh-CN">
      {parts}
      {sentence.text.slice(at)}
    </blockquote>
  );
}

function Saved({ state, retry }: { state: ReturnType<Judging["stateOf"]>; retry(): void }) {
  const texts = useTexts(EXTRACT_TEXTS);
  const shellTexts = useTexts(SHELL_TEXTS);
  if (state === null) return null;
  if (state.kind === "failed") return <ProblemNote error={state.error} texts={shellTexts} onRetry={retry} />;
  return (
    <p class="soft small" role="status">
      {state.kind === "saving" ? texts.saving : texts.saved}
    </p>
  );
}

interface BarsProps {
  /** Null while the run is asked. */
  probabilities: Readonly<Record<string, number>> | null;
  labels: readonly string[];
  noRelation: string | null;
  holds: string | null;
  isNew: boolean;
  isWaiting: boolean;
  onChoose(label: string): void;
}

function Bars({ probabilities, labels, noRelation, holds, isNew, isWaiting, onChoose }: BarsProps) {
  const texts = useTexts(EXTRACT_TEXTS);
  const [isAll, setAll] = useState(false);
  const of = (label: string) => probabilities?.[label] ?? 0;
  const sorted = probabilities === null ? labels : labels.toSorted((a, b) => of(b) - of(a));
  const shown = [...sorted.slice(0, isAll ? undefined : FIRST_LABELS)];
  if (holds !== null && !shown.includes(holds)) shown.push(holds);
  return (
    <>
      <p class="soft small">{isNew ? texts.addLabel : texts.chooseLabel}</p>
      <ul class={probabilities === null ? "bars is-waiting" : "bars"}>
        {shown.map((label) => (
          <li key={label}>
            <button type="button" aria-pressed={label === holds} disabled={isWaiting} onClick={() => onChoose(label)}>
              <span class="bars-label">{label === noRelation ? texts.noRelation : label}</span>
              <span class="bar" style={{ "--share": of(label) }} />
              <span class="number">{probabilities === null ? "" : percent(of(label))}</span>
            </button>
          </li>
        ))}
      </ul>
      {labels.length > shown.length && (
        <button type="button" class="link small" onClick={() => setAll(true)}>
          {texts.otherLabels} ({labels.length - shown.length})
        </button>
      )}
    </>
  );
}
