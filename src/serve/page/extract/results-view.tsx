import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { GraphView } from "../graph/graph-view.tsx";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { FIRST_FILTER, type Filter, NO_FILTER, type Order, shownTriples, sortedTriples } from "./filter.ts";
import { FilterBar } from "./filter-bar.tsx";
import { type PageTriple, pairKey } from "./page-triple.ts";
import { PairPanel } from "./pair-panel.tsx";
import { type Selection, selectTriple } from "./selection.ts";
import { TextView } from "./text-view.tsx";
import { EXTRACT_TEXTS } from "./texts.ts";
import { TripleTable } from "./triple-table.tsx";
import type { Extraction } from "./use-extraction.ts";
import type { Judging } from "./use-judging.ts";
import { useMentions } from "./use-mentions.ts";

const MODES = ["text", "table", "graph"] as const;
type Mode = (typeof MODES)[number];

interface ResultsViewProps {
  extraction: Extraction;
  judging: Judging;
  isShown: boolean;
}

/** What was found: as a text, a table or a graph, with the chosen relation beside it. */
export function ResultsView({ extraction, judging, isShown }: ResultsViewProps) {
  const texts = useTexts(EXTRACT_TEXTS);
  const shellTexts = useTexts(SHELL_TEXTS);
  const { run } = usePage();
  const [mode, setMode] = useState<Mode>("text");
  const [filter, setFilter] = useState<Filter>(FIRST_FILTER);
  const [order, setOrder] = useState<Order>({ by: "place", isDown: false });
  const [selection, setSelection] = useState<Selection>(null);
  const [documentId, setDocumentId] = useState<string | null>(null);
  const { documents, triples } = extraction.results as NonNullable<Extraction["results"]>;
  const mentions = useMentions(extraction, setSelection);
  const shown = useMemo(() => shownTriples(triples, filter), [triples, filter]);
  const byKey = useMemo(() => new Map(triples.map((triple) => [triple.key, triple])), [triples]);
  const chosen = selection?.kind === "pair" ? chosenTriple(selection.pair, byKey, triples) : null;
  const current = documents.find(({ id }) => id === documentId) ?? documents[0];

  const select = (next: Selection) => {
    setSelection(next);
    const document = next?.kind === "pair" ? next.pair.document : next?.document;
    if (document !== undefined) setDocumentId(document);
  };
  /** Goes along the relations in the order in which they are seen. */
  const step = (by: 1 | -1) => {
    const list = mode === "table" ? sortedTriples(shown, order) : shown;
    const at = chosen === null ? -1 : list.findIndex(({ key }) => key === chosen.key);
    const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by];
    if (next) select(selectTriple(next));
  };
  const keys: Record<string, () => void> = {
    j: () => step(1),
    k: () => step(-1),
    y: () => chosen?.isOfModel && judging.judge({ kind: "confirm", key: chosen.key }),
    n: () => chosen?.isOfModel && run.labels.noRelation !== null && judging.judge({ kind: "reject", key: chosen.key }),
    u: () => chosen && judging.judge({ kind: "undo", key: chosen.key }),
    escape: () => setSelection(null),
  };
  useKeys(isShown, keys);

  return (
    <>
      <div class="results-tools">
        <fieldset class="modes" aria-label={texts.modesLabel}>
          {MODES.map((one) => (
            <button key={one} type="button" aria-pressed={mode === one} onClick={() => setMode(one)}>
              {texts.modes[one]}
            </button>
          ))}
        </fieldset>
        <p class="soft number" role="status">
          {texts.shown(shown.length, triples.length)}
        </p>
        <FilterBar filter={filter} onFilter={setFilter} all={triples} shown={shown} texts={texts} />
      </div>
      {mentions.error !== null && <ProblemNote error={mentions.error} texts={shellTexts} />}
      <div class={selection?.kind === "pair" ? "results has-pair" : "results"}>
        <div class="results-main">
          {triples.length === 0 && !extraction.isRunning && <p class="note">{texts.none}</p>}
          {triples.length > 0 && shown.length === 0 && (
            <p class="note">
              {texts.noneShown}{" "}
              <button type="button" class="link" onClick={() => setFilter(NO_FILTER)}>
                {texts.clearFilters}
              </button>
            </p>
          )}
          {mode === "text" && documents.length > 1 && (
            <label class="documents">
              <span class="soft">{texts.document}</span>
              <select value={current?.id} onChange={(event) => setDocumentId(event.currentTarget.value)}>
                {documents.map(({ id }) => (
                  <option key={id} value={id}>
                    {id}
                  </option>
                ))}
              </select>
            </label>
          )}
          {mode === "text" && current && (
            <TextView
              key={current.id}
              document={current}
              triples={documents.length > 1 ? shown.filter(({ document }) => document === current.id) : shown}
              selection={selection}
              texts={texts}
              maxCharacters={run.maxPromptTokens}
              onSelect={select}
              onAddMention={(sentence, mention) => mentions.add(current.id, sentence, mention)}
              onRemoveMention={(mention) => mentions.remove(current.id, mention)}
            />
          )}
          {mode === "table" && shown.length > 0 && (
            <TripleTable
              triples={shown}
              selected={chosen?.key ?? null}
              texts={texts}
              order={order}
              onOrder={setOrder}
              onSelect={(triple) => select(selectTriple(triple))}
              hasDocuments={documents.length > 1}
            />
          )}
          {mode === "graph" && shown.length > 0 && (
            <GraphView
              triples={shown}
              selected={chosen?.key ?? null}
              onSelect={(triple) => select(selectTriple(triple))}
            />
          )}
        </div>
        {selection?.kind === "pair" && (
          <aside class="results-side">
            <PairPanel
              pair={selection.pair}
              triple={chosen}
              judging={judging}
              onAdded={(triple) => setSelection(selectTriple(triple))}
              onSwap={() => {
                const { head, tail, ...pair } = selection.pair;
                setSelection({ kind: "pair", pair: { ...pair, head: tail, tail: head, key: null } });
              }}
              onStep={step}
              onClose={() => setSelection(null)}
            />
          </aside>
        )}
      </div>
    </>
  );
}

/** The relation of a selection: the one that was chosen, or the first one between its two places. */
function chosenTriple(
  pair: NonNullable<Extract<Selection, { kind: "pair" }>>["pair"],
  byKey: ReadonlyMap<string, PageTriple>,
  triples: readonly PageTriple[],
): PageTriple | null {
  const own = pair.key === null ? undefined : byKey.get(pair.key);
  if (own) return own;
  const between = pairKey(pair.document, pair.head, pair.tail);
  return triples.find((triple) => triple.pair === between) ?? null;
}

/** Single keys, where nobody types. */
function useKeys(isOn: boolean, keys: Record<string, () => void>): void {
  const last = useRef(keys);
  last.current = keys;
  useEffect(() => {
    if (!isOn) return;
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (target.matches("textarea, select, input:not([type=checkbox], [type=range])")) return;
      const work = last.current[event.key.toLowerCase()];
      if (!work) return;
      event.preventDefault();
      work();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [isOn]);
}
