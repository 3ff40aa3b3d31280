import { useEffect, useRef, useState } from "preact/hooks";
import { csv, jsonLines } from "./exported.ts";
import { type Filter, labelCounts } from "./filter.ts";
import type { PageTriple } from "./page-triple.ts";
import type { ExtractTexts } from "./texts.ts";

interface FilterBarProps {
  filter: Filter;
  onFilter(filter: Filter): void;
  /** Without and with the filter. */
  all: readonly PageTriple[];
  shown: readonly PageTriple[];
  texts: ExtractTexts;
}

export function FilterBar({ filter, onFilter, all, shown, texts }: FilterBarProps) {
  const [isOpen, setOpen] = useState(false);
  const set = (change: Partial<Filter>) => onFilter({ ...filter, ...change });
  return (
    <>
      <button type="button" class="filters-toggle" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        {texts.showFilters}
      </button>
      <fieldset class={isOpen ? "filters is-open" : "filters"}>
        <legend class="only-read">{texts.filters}</legend>
        <LabelMenu filter={filter} all={all} texts={texts} onLabels={(labels) => set({ labels })} />
        <label class="filter-probability">
          <span class="soft">{texts.leastProbability}</span>
          <input
            type="range"
            min="0"
            max="0.95"
            step="0.05"
            value={filter.leastProbability}
            onInput={(event) => set({ leastProbability: Number(event.currentTarget.value) })}
          />
          <output class="number">{Math.round(100 * filter.leastProbability)}%</output>
        </label>
        <label class="filter-entity">
          <span class="soft">{texts.entity}</span>
          <input
            type="search"
            value={filter.entity}
            placeholder={texts.entityPlaceholder}
            onInput={(event) => set({ entity: event.currentTarget.value })}
          />
        </label>
        <label>
          <span class="soft">{texts.state}</span>
          <select
            value={filter.state}
            onChange={(event) => set({ state: event.currentTarget.value as Filter["state"] })}
          >
            {(["all", "open", "judged"] as const).map((state) => (
              <option key={state} value={state}>
                {texts.states[state]}
              </option>
            ))}
          </select>
        </label>
        <span class="exports">
          <span class="soft">{texts.exportSeen}</span>
          <button
            type="button"
            class="link"
            disabled={shown.length === 0}
            onClick={() => download("relations.jsonl", "application/x-ndjson", jsonLines(shown))}
          >
            JSONL
          </button>
          <button
            type="button"
            class="link"
            disabled={shown.length === 0}
            onClick={() => download("relations.csv", "text/csv", csv(shown))}
          >
            CSV
          </button>
        </span>
      </fieldset>
    </>
  );
}

interface LabelMenuProps {
  filter: Filter;
  all: readonly PageTriple[];
  texts: ExtractTexts;
  onLabels(labels: Filter["labels"]): void;
}

function LabelMenu({ filter: { labels }, all, texts, onLabels }: LabelMenuProps) {
  const menu = useRef<HTMLDetailsElement>(null);
  const counts = labelCounts(all);
  useEffect(() => {
    const close = (event: Event) => {
      const own = menu.current;
      if (own?.open && !own.contains(event.target as Node)) own.open = false;
    };
    addEventListener("pointerdown", close);
    return () => removeEventListener("pointerdown", close);
  }, []);
  const toggle = (label: string) => {
    const next = new Set(labels ?? counts.map(([one]) => one));
    if (!next.delete(label)) next.add(label);
    onLabels(counts.every(([one]) => next.has(one)) ? null : next);
  };
  const summary = labels === null ? texts.allLabels : [...labels].join("、") || "0";
  return (
    <details
      class="menu"
      ref={menu}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !menu.current?.open) return;
        event.stopPropagation();
        menu.current.open = false;
        menu.current.querySelector("summary")?.focus();
      }}
    >
      <summary>
        <span class="soft">{texts.labels}</span>
        <span class="menu-value">{summary}</span>
      </summary>
      <div class="menu-body">
        <button type="button" class="link small" disabled={labels === null} onClick={() => onLabels(null)}>
          {texts.allLabels}
        </button>
        {counts.map(([label, count]) => (
          <label key={label} class="check">
            <input type="checkbox" checked={labels === null || labels.has(label)} onChange={() => toggle(label)} />
            <span>{label}</span>
            <span class="soft number">{count}</span>
          </label>
        ))}
      </div>
    </details>
  );
}

function download(name: string, type: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
