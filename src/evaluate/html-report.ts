import type { Certainty } from "./certainty.ts";
import type { Confusion } from "./confusion.ts";
import type { ErrorExample } from "./error-examples.ts";
import { REPORT_STYLE } from "./html-style.ts";
import { type LogPoint, lossCurve } from "./loss-curve.ts";
import { html, type Markup, markupText, trusted } from "./markup.ts";
import type { Metrics, RelationScore } from "./metrics.ts";
import { precisionPlot } from "./precision-plot.ts";
import type { Reference } from "./references.ts";
import type { Matching } from "./score-predictions.ts";
import { CONVENTIONS } from "./tally.ts";
import { type ValidationPoint, validationCurve } from "./validation-curve.ts";
import { grouped, MEANINGS, missingRows, percent, remarks } from "./wording.ts";

export interface HtmlReport {
  title: string;
  metrics: Metrics;
  /** A line under the title: model, data set, split. */
  subtitle?: string;
  /** The resolved recipe as text. */
  recipe?: string;
  log?: readonly LogPoint[];
  validations?: readonly ValidationPoint[];
  /** How far the probabilities can be believed. */
  certainty?: Certainty;
  references?: readonly Reference[];
  matching?: Matching;
  /** Wrong predictions, in the order to be shown. */
  examples?: readonly ErrorExample[];
  /** How many of `examples` are shown; default 100. */
  maxExamples?: number;
}

const SHOWN = [...CONVENTIONS, "macro"] as const;

/** One self-contained HTML page: no script, nothing loaded from anywhere, every text of the data escaped. */
export function renderHtmlReport(report: HtmlReport): string {
  const {
    title,
    subtitle,
    metrics,
    recipe,
    log = [],
    validations = [],
    certainty,
    references = [],
    matching,
    examples,
    maxExamples = 100,
  } = report;
  const { counts } = metrics;
  const curves = [lossCurve(log), validationCurve(validations)].filter((curve) => curve !== null);
  const warnings = remarks(metrics, matching ?? null);
  const page = html`<!doctype html>
<html lang="zh-Hans">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${trusted(REPORT_STYLE)}</style>
</head>
<body>
<main>
<h1>${title}</h1>
${subtitle === undefined ? null : html`<p>${subtitle}</p>`}
<p class="soft">${grouped(counts.rows)} rows in ${grouped(counts.sentences)} sentences, ${metrics.macro.relations} relations, ${grouped(counts.noRelationRows)} rows without a relation, ${grouped(counts.multiLabelRows)} with several${missingRows(metrics)}</p>
<div class="cards">${SHOWN.map((name) => card(metrics, name))}</div>
${scoreSection(metrics, references)}
${warnings.length === 0 ? null : html`<section><h2>Notes on the input</h2><ul class="warnings">${warnings.map((text) => html`<li>${text}</li>`)}</ul></section>`}
${curves.length === 0 ? null : html`<section><h2>Training</h2>${curves}</section>`}
${certainty === undefined ? null : certaintySection(certainty)}
${relationSection(metrics.relations)}
${confusionSection(metrics.confusion)}
${examples === undefined || examples.length === 0 ? null : errorSection(examples, maxExamples)}
${recipe === undefined ? null : html`<section><details><summary>Recipe</summary><pre>${recipe}</pre></details></section>`}
</main>
</body>
</html>
`;
  return markupText(page);
}

type Shown = (typeof SHOWN)[number];

function f1Of(metrics: Metrics, name: Shown): number {
  return name === "macro" ? metrics.macro.f1 : metrics.conventions[name].f1;
}

function nameOf(name: Shown): string {
  return name === "macro" ? "macro F1" : `${name} F1`;
}

function card(metrics: Metrics, name: Shown): Markup {
  const f1 = f1Of(metrics, name);
  const interval = metrics.intervals?.[name];
  const band =
    interval === undefined
      ? null
      : html`<u style="left:${percent(interval.low)}%;width:max(3px,${percent(interval.high - interval.low)}%)"></u>`;
  const range = interval === undefined ? "" : `${percent(interval.low)} – ${percent(interval.high)}`;
  return html`<div class="card"><span class="name">${nameOf(name)}</span><b>${percent(f1)}</b><div class="scale"><i style="width:${percent(f1)}%"></i>${band}</div><span class="range">${range}</span></div>`;
}

function scoreSection(metrics: Metrics, references: readonly Reference[]): Markup {
  const { intervals } = metrics;
  const how =
    intervals === null
      ? ""
      : ` Intervals: ${Number((100 * intervals.level).toFixed(1))} %, bootstrap of ${grouped(intervals.draws)} draws over ${grouped(intervals.groups)} sentences, seed ${intervals.seed}.`;
  const lines = SHOWN.map((name) => {
    const score = name === "macro" ? null : metrics.conventions[name];
    const cells = references.map(({ f1 }) => html`<td>${f1[name] === undefined ? "" : percent(f1[name])}</td>`);
    return html`<tr><td>${name === "macro" ? "macro" : name}</td><td>${score === null ? "" : percent(score.precision)}</td><td>${score === null ? "" : percent(score.recall)}</td><td class="f1">${percent(f1Of(metrics, name))}</td>${cells}<td class="meaning">${MEANINGS[name]}</td></tr>`;
  });
  return html`<section><h2>Scores by convention</h2><div class="wide"><table><thead><tr><th>convention</th><th>precision</th><th>recall</th><th>F1</th>${references.map(({ name }) => html`<th>${name}</th>`)}<th></th></tr></thead><tbody>${lines}</tbody></table></div>
<p class="note">In percent. The whole set of labels is right in ${percent(metrics.exactSet)} % of the rows.${how}</p></section>`;
}

function certaintySection(certainty: Certainty): Markup {
  const plot = precisionPlot(certainty);
  return html`<section><h2>Probabilities</h2>${plot}
<p class="note">Expected calibration error ${percent(certainty.calibrationError)} %: the mean gap between the probability of a row's first prediction and how often it is right.</p></section>`;
}

function relationSection(relations: readonly RelationScore[]): Markup {
  const lines = [...relations]
    .sort((a, b) => b.support - a.support)
    .map(
      (line) =>
        html`<tr${line.isNoRelation ? trusted(' class="muted"') : null}><td>${line.relation}</td><td>${grouped(line.support)}</td><td>${grouped(line.predicted)}</td><td>${grouped(line.hits)}</td><td>${percent(line.precision)}</td><td>${percent(line.recall)}</td><td class="f1">${percent(line.f1)}</td><td class="bar"><div class="fill"><i style="width:${percent(line.f1)}%"></i></div></td></tr>`,
    );
  return html`<section><h2>Relations</h2><div class="wide"><table><thead><tr><th>relation</th><th>gold</th><th>predicted</th><th>hits</th><th>precision</th><th>recall</th><th>F1</th><th></th></tr></thead><tbody>${lines}</tbody></table></div>
<p class="note">A row counts once for each label it holds or predicts. The grey line is the no-relation label.</p></section>`;
}

/** Above this share of a row the ground is dark enough for light figures. */
const STRONG_SHARE = 0.7;
/** More columns than this fit the page only with smaller cells. */
const DENSE_COLUMNS = 30;

function confusionSection({ gold, predicted, counts }: Confusion): Markup {
  const rowTotals = counts.map((line) => line.reduce((sum, count) => sum + count, 0));
  const columnTotals = predicted.map((_, column) => counts.reduce((sum, line) => sum + line[column], 0));
  // A label stays when it occurs on either side, so that the diagonal stays a diagonal.
  const used = new Set([
    ...gold.filter((_, line) => rowTotals[line] > 0),
    ...predicted.filter((_, column) => columnTotals[column] > 0),
  ]);
  const lines = gold.flatMap((name, line) => (rowTotals[line] > 0 ? [{ name, line }] : []));
  const columns = predicted.flatMap((name, column) => (used.has(name) ? [{ name, column }] : []));
  const body = lines.map(({ name, line }) => {
    const cells = columns.map((target) => {
      const count = counts[line][target.column];
      if (count === 0) return html`<td></td>`;
      const share = count / rowTotals[line];
      const isHit = name === target.name;
      const kind = `${isHit ? "hit" : "miss"}${share > STRONG_SHARE ? " strong" : ""}`;
      const meaning = `${name} → ${target.name}: ${grouped(count)} rows, ${percent(share)} %`;
      return html`<td class="${kind}" style="--v:${(0.12 + 0.78 * share).toFixed(2)}" title="${meaning}">${count}</td>`;
    });
    return html`<tr><th>${name}</th>${cells}</tr>`;
  });
  return html`<section><h2>Confusion</h2><div class="wide"><table class="heat${columns.length > DENSE_COLUMNS ? " dense" : ""}"><thead><tr><th></th>${columns.map(({ name }) => html`<th>${name}</th>`)}</tr></thead><tbody>${body}</tbody></table></div>
<p class="note"><span class="key hit"></span>right<span class="key miss"></span>wrong. Lines are gold labels, columns the single best prediction, figures are rows, colour is the share of the line. A row with several gold labels counts under the predicted one when that is right, otherwise under its first.</p></section>`;
}

function errorSection(examples: readonly ErrorExample[], limit: number): Markup {
  const shown = examples.slice(0, limit);
  const of =
    shown.length < examples.length ? `${grouped(shown.length)} of ${grouped(examples.length)}` : grouped(shown.length);
  const items = shown.map((example) => {
    const gold = new Set(example.gold);
    const predicted = example.predicted.map(
      (label, i) => html`${i > 0 ? ", " : ""}<span class="${gold.has(label) ? "ok" : "bad"}">${label}</span>`,
    );
    const sure = example.probability === undefined ? "" : ` ${percent(example.probability)} %`;
    return html`<li>${highlighted(example)}<div class="answer"><span>${example.head} → ${example.tail}</span><span>gold <span class="ok">${[...gold].join(", ")}</span></span><span>predicted ${predicted.length === 0 ? html`<span class="bad">nothing</span>` : predicted}${sure}</span></div></li>`;
  });
  return html`<section><h2>Wrong predictions</h2><p class="soft">${of} rows. <mark class="key" style="background:var(--head)"></mark>head <mark class="key" style="background:var(--tail)"></mark>tail</p><ul class="errors">${items}</ul></section>`;
}

/** The sentence with every occurrence of head and tail marked; where the two overlap, the longer one is. */
export function highlighted({ sentence, head, tail }: Pick<ErrorExample, "sentence" | "head" | "tail">): Markup[] {
  const marks = [
    { text: head, kind: "head" },
    { text: tail, kind: "tail" },
  ].filter(({ text }) => text !== "");
  marks.sort((a, b) => b.text.length - a.text.length);
  const parts: Markup[] = [];
  let plainFrom = 0;
  let at = 0;
  while (at < sentence.length) {
    const found = marks.find(({ text }) => sentence.startsWith(text, at));
    if (found === undefined) {
      at++;
      continue;
    }
    parts.push(html`${sentence.slice(plainFrom, at)}<mark class="${found.kind}">${found.text}</mark>`);
    at += found.text.length;
    plainFrom = at;
  }
  parts.push(html`${sentence.slice(plainFrom)}`);
  return parts;
}
