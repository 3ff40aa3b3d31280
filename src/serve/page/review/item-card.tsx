import { useEffect, useRef, useState } from "preact/hooks";
import { percent } from "../charts/format.ts";
import { MarkedSentence } from "../charts/marked-sentence.tsx";
import { usePage, useTexts } from "../shell/page-context.ts";
import { WorkNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { candidatesOf, type Queue, type QueueItem } from "./queue.ts";
import { REVIEW_TEXTS } from "./texts.ts";

interface ItemCardProps {
  queue: Queue;
  canSave: boolean;
  canUndo: boolean;
  onJudge(place: number, chosen: readonly string[]): void;
  onMove(at: number): void;
  onUndo(): void;
}

/** Labels that have a key of their own. */
const KEYED = 9;

type Distribution = Readonly<Record<string, number>>;

/** One example: its sentence, the labels with their probabilities, and what can be said of it. */
export function ItemCard({ queue, canSave, canUndo, onJudge, onMove, onUndo }: ItemCardProps) {
  const { run } = usePage();
  const texts = useTexts(REVIEW_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const card = useRef<HTMLElement>(null);
  const { at, items } = queue;
  const item = items[at];
  const distribution = useDistribution(items, at);
  const judged = queue.judged.get(at) ?? null;
  const [isSeveral, setIsSeveral] = useState(false);
  const [several, setSeveral] = useState<readonly string[]>([]);
  const { noRelation, labels } = run.labels;
  const candidates = candidatesOf(labels, distribution);
  const shown = candidates.slice(0, KEYED);
  const others = candidates.slice(KEYED);
  const model = item.predictions?.map(({ relation }) => relation) ?? [];

  // The keys of the card work as soon as it is there.
  useEffect(() => card.current?.focus({ preventScroll: true }), []);
  useEffect(() => {
    setSeveral(judged?.relations ?? model);
  }, [at, isSeveral]);

  const choose = (label: string) => {
    if (!canSave) return;
    if (!isSeveral) return onJudge(at, [label]);
    setSeveral((before) =>
      before.includes(label)
        ? before.filter((one) => one !== label)
        : [...before.filter((one) => one !== noRelation && label !== noRelation), label],
    );
  };
  const confirm = () => {
    if (!canSave) return;
    if (isSeveral) {
      if (several.length > 0) onJudge(at, several);
    } else if (model.length > 0) onJudge(at, model);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target instanceof HTMLSelectElement) return;
    const key = event.key.toLowerCase();
    const keys: Record<string, () => void> = {
      y: confirm,
      n: () => noRelation !== null && canSave && onJudge(at, [noRelation]),
      j: () => onMove(at + 1),
      k: () => onMove(at - 1),
      u: onUndo,
      m: () => setIsSeveral(!isSeveral),
    };
    const digit = /^[1-9]$/.test(key) ? shown[Number(key) - 1] : undefined;
    const act = digit ? () => choose(digit.label) : keys[key];
    if (!act) return;
    event.preventDefault();
    act();
  };

  return (
    <section
      class="item"
      ref={card}
      tabIndex={-1}
      aria-label={texts.position(at + 1, items.length)}
      onKeyDown={onKeyDown}
    >
      <p class="item-place soft small number">
        <span>{texts.position(at + 1, items.length)}</span>
        <span>{texts.judgedCount(queue.judged.size)}</span>
        <span>{item.margin === null ? texts.noAnswer : texts.margin(percent(item.margin))}</span>
        {judged && <span class="accent">{texts.verdicts[judged.verdict]}</span>}
      </p>
      <p class="item-sentence" lang="zh-CN">
        <MarkedSentence {...item} />
      </p>
      <dl class="item-pair">
        <dt>{texts.head}</dt>
        <dd class="is-head" lang="zh-CN">
          {item.head}
        </dd>
        <dt>{texts.tail}</dt>
        <dd class="is-tail" lang="zh-CN">
          {item.tail}
        </dd>
      </dl>
      {item.error && <p class="bad small">{item.error}</p>}
      <ol class="candidates" aria-label={texts.relation}>
        {shown.map(({ label, probability }, i) => {
          const isChosen = isSeveral ? several.includes(label) : judged?.relations.includes(label) === true;
          return (
            <li key={label}>
              <button
                type="button"
                class="candidate"
                aria-pressed={isChosen}
                disabled={!canSave}
                onClick={() => choose(label)}
              >
                <span class="key" aria-hidden="true">
                  {i + 1}
                </span>
                <span class="candidate-label" lang="zh-CN">
                  {label === noRelation ? texts.tagNone : label}
                </span>
                <span class="candidate-tags small">
                  {model.includes(label) && <span>{texts.tagModel}</span>}
                  {item.relations?.includes(label) && <span>{texts.tagData}</span>}
                  {isChosen && <span class="accent">{texts.tagYours}</span>}
                </span>
                <span class="bar" aria-hidden="true" style={{ "--share": String(probability ?? 0) }} />
                <span class="number candidate-share">{probability === null ? "" : percent(probability)}</span>
              </button>
            </li>
          );
        })}
      </ol>
      <div class="item-actions">
        <button
          type="button"
          class="primary"
          disabled={!canSave || (isSeveral ? several.length === 0 : model.length === 0)}
          onClick={confirm}
        >
          {isSeveral ? texts.save : texts.confirm}
        </button>
        <button
          type="button"
          disabled={!canSave || noRelation === null}
          onClick={() => noRelation !== null && onJudge(at, [noRelation])}
        >
          {texts.reject}
        </button>
        {others.length > 0 && (
          <select
            aria-label={texts.otherLabel}
            value=""
            disabled={!canSave}
            onChange={(event) => {
              const { value } = event.currentTarget;
              event.currentTarget.value = "";
              if (value !== "") choose(value);
              card.current?.focus({ preventScroll: true });
            }}
          >
            <option value="">{texts.otherLabel}</option>
            {others.map(({ label, probability }) => (
              <option key={label} value={label}>
                {probability === null ? label : `${label}  ${percent(probability)}`}
              </option>
            ))}
          </select>
        )}
        <span class="item-steps">
          <button type="button" disabled={at === 0} onClick={() => onMove(at - 1)}>
            {texts.previous}
          </button>
          <button type="button" disabled={at === items.length - 1} onClick={() => onMove(at + 1)}>
            {texts.next}
          </button>
          <button type="button" disabled={!canUndo} onClick={onUndo}>
            {texts.undo}
          </button>
        </span>
        <label class="check small">
          <input type="checkbox" checked={isSeveral} onChange={(event) => setIsSeveral(event.currentTarget.checked)} />
          <span>{texts.several}</span>
        </label>
      </div>
      <p class="soft small keys">{texts.keys}</p>
      {!canSave && <WorkNote texts={shell} />}
    </section>
  );
}

/** The probability of every label for an item; that of the next item is asked with it. */
function useDistribution(items: readonly QueueItem[], at: number): Distribution | null {
  const { api, run } = usePage();
  const known = useRef<{ of: unknown; answers: Map<QueueItem, Distribution> }>({
    of: run.fingerprint,
    answers: new Map(),
  });
  const [, setVersion] = useState(0);
  if (known.current.of !== run.fingerprint) known.current = { of: run.fingerprint, answers: new Map() };
  const { answers } = known.current;
  useEffect(() => {
    const wanted = [items[at], items[at + 1]].filter((item) => item && !item.error && !answers.has(item));
    if (!wanted.includes(items[at])) return;
    const own = new AbortController();
    const examples = wanted.map(({ sentence, head, tail, headSpan, tailSpan }) => ({
      ...{ sentence, head, tail },
      ...(headSpan ? { headSpan } : {}),
      ...(tailSpan ? { tailSpan } : {}),
    }));
    api
      .post<{ results: { probabilities?: Distribution }[] }>(
        "v1/extract",
        { run: run.name, examples, probabilities: true },
        own.signal,
      )
      .then(({ results }) => {
        for (const [i, { probabilities }] of results.entries())
          if (probabilities) answers.set(wanted[i], probabilities);
        setVersion((version) => version + 1);
      })
      // The labels can be chosen without their probabilities.
      .catch(() => {});
    return () => own.abort();
  }, [items, at, api, run.name, answers]);
  return answers.get(items[at]) ?? null;
}
