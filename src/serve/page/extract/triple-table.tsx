import { useMemo, useState } from "preact/hooks";
import { type Order, sortedTriples } from "./filter.ts";
import type { PageTriple } from "./page-triple.ts";
import { Pager } from "./pager.tsx";
import type { ExtractTexts } from "./texts.ts";

interface TripleTableProps {
  triples: readonly PageTriple[];
  selected: string | null;
  texts: ExtractTexts;
  order: Order;
  onOrder(order: Order): void;
  onSelect(triple: PageTriple): void;
  hasDocuments: boolean;
}

const PAGE_ROWS = 100;
const COLUMNS = ["head", "label", "tail", "probability"] as const;

/** The relations as a table that can be sorted, with their sentences. */
export function TripleTable({ triples, selected, texts, order, onOrder, onSelect, hasDocuments }: TripleTableProps) {
  const [page, setPage] = useState(0);
  const rows = useMemo(() => sortedTriples(triples, order), [triples, order]);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
  const current = Math.min(page, pages - 1);
  const titles = { head: texts.head, label: texts.relation, tail: texts.tail, probability: texts.probability };
  // Up, down, and back to the order of the text.
  const next = (by: Order["by"]) => {
    const first = by === "probability";
    if (order.by !== by) onOrder({ by, isDown: first });
    else if (order.isDown === first) onOrder({ by, isDown: !first });
    else onOrder({ by: "place", isDown: false });
  };
  return (
    <div class="triples">
      <table>
        <thead>
          <tr>
            {COLUMNS.map((by) => (
              <th
                key={by}
                scope="col"
                class={by === "probability" ? "number" : undefined}
                aria-sort={order.by === by ? (order.isDown ? "descending" : "ascending") : "none"}
              >
                <button type="button" class="sort" onClick={() => next(by)}>
                  {titles[by]}
                </button>
              </th>
            ))}
            <th scope="col" class="evidence">
              {texts.evidence}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(current * PAGE_ROWS, (current + 1) * PAGE_ROWS).map((triple) => (
            // The button in its first cell does the same from the keyboard.
            <tr
              key={triple.key}
              class={triple.key === selected ? "is-chosen" : undefined}
              onClick={() => onSelect(triple)}
            >
              <td lang="zh-CN">
                <button type="button" class="link" aria-pressed={triple.key === selected}>
                  {triple.head.text}
                </button>
              </td>
              <td class={triple.verdict === "rejected" ? "is-rejected" : undefined}>
                {triple.label}
                {triple.verdict !== null && (
                  <span class={`said said-${triple.verdict}`}>{texts.verdicts[triple.verdict]}</span>
                )}
              </td>
              <td lang="zh-CN">{triple.tail.text}</td>
              <td class="number">{triple.isOfModel ? `${(100 * triple.probability).toFixed(1)}%` : ""}</td>
              <td class="evidence" lang="zh-CN">
                {hasDocuments && <span class="soft small">{triple.document} </span>}
                {triple.sentence}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Pager page={current} pages={pages} texts={texts} onPage={setPage} />
    </div>
  );
}
