import { percent, points } from "../charts/format.ts";
import { MarkedSentence } from "../charts/marked-sentence.tsx";
import { ScrollTable } from "../charts/scroll-table.tsx";
import { useTexts } from "../shell/page-context.ts";
import { useLabelName } from "../shell/use-label-name.ts";
import { type Change, type Comparison, outcomeOf } from "./comparison.ts";
import { REVIEW_TEXTS } from "./texts.ts";

const MEASURES = ["micro", "paper", "macro"] as const;
const CHANGES: readonly Change[] = ["right-to-wrong", "wrong-to-right", "wrong-to-wrong"];

/** Two runs on the same rows, in words and then in numbers. */
export function ComparisonPanel({ comparison }: { comparison: Comparison }) {
  const texts = useTexts(REVIEW_TEXTS);
  const nameOf = useLabelName();
  const { f1, counts, bootstrap, relations, changed = [] } = comparison;
  const { micro } = f1;
  const level = `${Number((100 * bootstrap.level).toFixed(1))}%`;
  const moved = relations.filter(({ a, b }) => a !== b);
  return (
    <section class="comparison" aria-label={texts.comparison}>
      <h3>{texts.comparison}</h3>
      <p class="comparison-words">
        <strong>{texts.outcome[outcomeOf(micro)]}</strong>
        {texts.gap}
        {texts.f1Line(percent(micro.a), percent(micro.b), points(micro.difference))}
        {texts.gap}
        {texts.intervalLine(level, points(micro.interval.low), points(micro.interval.high), counts.rows)}
      </p>
      <ScrollTable
        label={texts.comparison}
        columns={[texts.measure, texts.before, texts.after, texts.difference, `${level} ${texts.interval}`, "p"]}
      >
        {MEASURES.map((name) => {
          const { a, b, difference, interval, p } = f1[name];
          return (
            <tr key={name}>
              <th scope="row">{texts.measures[name]}</th>
              <td class="number">{percent(a)}</td>
              <td class="number">{percent(b)}</td>
              <td class="number">{points(difference)}</td>
              <td class="number">{texts.range(points(interval.low), points(interval.high))}</td>
              <td class="number">{p < 0.001 ? "< 0.001" : p.toFixed(3)}</td>
            </tr>
          );
        })}
      </ScrollTable>
      <p class="comparison-changes">
        {CHANGES.map((change) => (
          <span key={change}>
            {texts.changes[change]} <strong class="number">{counts.changed[change]}</strong>
          </span>
        ))}
      </p>
      {changed.length > 0 && (
        <details>
          <summary>{texts.changedRows}</summary>
          <ul class="changed">
            {changed.map((row, i) => (
              <li key={i}>
                <p lang="zh-CN">
                  <MarkedSentence {...row} />
                </p>
                <p class="small">
                  <span class="soft">{texts.changes[row.change]}</span>
                  <span>
                    <span class="soft">{texts.before}</span> {row.a.flat().map(nameOf).join("、") || "–"}
                  </span>
                  <span>
                    <span class="soft">{texts.after}</span> {row.b.flat().map(nameOf).join("、") || "–"}
                  </span>
                  <span>
                    <span class="soft">{texts.gold}</span> {row.relations.map(nameOf).join("、")}
                  </span>
                </p>
              </li>
            ))}
          </ul>
        </details>
      )}
      {moved.length > 0 && (
        <details>
          <summary>{texts.perRelation}</summary>
          <ScrollTable
            label={texts.perRelation}
            columns={[texts.relation, texts.support, texts.before, texts.after, texts.difference]}
          >
            {moved.map(({ relation, support, a, b, difference }) => (
              <tr key={relation}>
                <th scope="row" lang="zh-CN">
                  {nameOf(relation)}
                </th>
                <td class="number">{support}</td>
                <td class="number">{percent(a)}</td>
                <td class="number">{percent(b)}</td>
                <td class="number">{points(difference)}</td>
              </tr>
            ))}
          </ScrollTable>
        </details>
      )}
    </section>
  );
}
