import { highlighted } from "../evaluate/html-report.ts";
import { REPORT_STYLE } from "../evaluate/html-style.ts";
import { html, type Markup, markupText, trusted } from "../evaluate/markup.ts";
import { grouped, percent, percentOfSmall } from "../evaluate/wording.ts";
import type { Audit, DoubtedRow, PrecisionAtK } from "./doubt.ts";

/** Rows on the page; the JSONL file has all. */
const SHOWN_ROWS = 300;
const SHOWN_PAIRS = 15;

const STYLE = `
.doubts{list-style:none;margin:0;padding:0}
.doubts li{display:grid;grid-template-columns:34px minmax(0,1fr) 300px;gap:4px 16px;padding:14px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
.doubts li:last-child{border-bottom:0;padding-bottom:0}
.doubts .rank{color:var(--soft);font-variant-numeric:tabular-nums;text-align:right}
.doubts mark{color:inherit;border-radius:3px;padding:1px 2px}.doubts .head{background:var(--head)}.doubts .tail{background:var(--tail)}
.doubts .about{margin-top:4px;font-size:13px;color:var(--soft);display:flex;flex-wrap:wrap;gap:2px 18px}
.odds{display:grid;grid-template-columns:minmax(0,1fr) 96px 68px;gap:3px 10px;align-items:center;align-content:start;font-size:13px;font-variant-numeric:tabular-nums}
.odds .what{color:var(--soft);font-size:12px;grid-column:1/-1}.odds .what:not(:first-child){margin-top:4px}
.odds .share{text-align:right;white-space:nowrap}.odds .fill{height:6px}
.odds .label i{background:rgb(var(--wrong))}.odds .answer i{background:rgb(var(--good))}
@media(max-width:760px){.doubts li{grid-template-columns:28px minmax(0,1fr)}.doubts .odds{grid-column:2}}
@media(max-width:480px){main{padding:24px 12px 40px}section{padding:16px 14px}}
`;

/** One self-contained HTML page for people who decide about labels: no script, nothing loaded from anywhere, every text escaped. */
export function renderAuditPage(found: Audit): string {
  const { data, folds, rows, examples, f1 } = found;
  const judge = found.with === "linear" ? "the linear companion (character n-grams)" : "the recipe's language model";
  const disagreeing = rows.filter(({ disagrees }) => disagrees).length;
  const shown = rows.slice(0, SHOWN_ROWS);
  const title = `Doubtful labels: ${data}`;
  const page = html`<!doctype html>
<html lang="zh-Hans">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${trusted(REPORT_STYLE)}${trusted(STYLE)}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p class="soft">${grouped(rows.length)} training rows, judged by ${judge} in ${folds} folds: no row by a model that saw its sentence</p>
<div class="cards">${[
    card(
      "disagrees",
      `${percent(disagreeing / rows.length)} %`,
      `${grouped(disagreeing)} of ${grouped(rows.length)} rows`,
    ),
    card("micro F1", percent(f1.micro), "of the model on these rows"),
    card("paper F1", percent(f1.paper), "of the model on these rows"),
    card("label is unlikely", grouped(rows.filter(({ suspicion }) => suspicion > 0.95).length), "rows below 5 %"),
  ]}</div>
<section><h2>How to read this page</h2>
<p>The rows are in the order of suspicion: 1 − the probability of the row's own labels. A row at the top is either labelled wrongly or hard for the model.
Somebody has to read it. A model that is often wrong (see its F1) accuses many right rows.</p>
${precisionTable(found.precision)}</section>
${pairSection(found)}
<section><h2>Rows</h2><p class="soft">${grouped(shown.length)} of ${grouped(rows.length)}, the most suspicious first. <mark class="key" style="background:var(--head)"></mark>head <mark class="key" style="background:var(--tail)"></mark>tail</p>
<ol class="doubts">${shown.map((row, i) => item(row, i, examples))}</ol></section>
</main>
</body>
</html>
`;
  return markupText(page);
}

function card(name: string, value: string, meaning: string): Markup {
  return html`<div class="card"><span class="name">${name}</span><b>${value}</b><span class="range">${meaning}</span></div>`;
}

function precisionTable(precision: readonly PrecisionAtK[]): Markup | null {
  const hasMirror = precision.some(({ checked }) => checked > 0);
  const hasBreaking = precision.some(({ breaking }) => breaking > 0);
  const hasPlanted = precision.some(({ planted }) => planted !== null);
  if (!hasMirror && !hasBreaking && !hasPlanted) return null;
  const share = (part: number, of: number) => (of === 0 ? "" : `${percent(part / of)} %`);
  const lines = precision.map(({ k, suspicion, checked, confirmed, breaking, planted }, i) => {
    const name = i === precision.length - 1 ? `all ${grouped(k)}` : grouped(k);
    const cells = [
      ...(hasMirror ? [grouped(checked), share(confirmed, checked)] : []),
      ...(hasBreaking ? [share(breaking, k)] : []),
      ...(hasPlanted ? [share(planted ?? 0, k)] : []),
    ];
    return html`<tr><td>${name}</td><td>${percentOfSmall(1 - suspicion)} %</td>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`;
  });
  const heads = [
    ...(hasMirror ? ["with a reversed row", "contradicted from both sides"] : []),
    ...(hasBreaking ? ["break the rule of inverses"] : []),
    ...(hasPlanted ? ["planted"] : []),
  ];
  return html`<div class="wide"><table><thead><tr><th>first rows</th><th>label at most</th>${heads.map((head) => html`<th>${head}</th>`)}</tr></thead><tbody>${lines}</tbody></table></div>
<p class="note">Contradicted from both sides: the model's answer is none of the row's labels, and for the row from tail to head it gives exactly the inverse
label of that answer. "Label at most": the probability of the labels of the last of these rows. The last line is the rate among all rows.</p>`;
}

function pairSection({ pairs }: Audit): Markup | null {
  if (pairs.length === 0) return null;
  const lines = pairs
    .slice(0, SHOWN_PAIRS)
    .map(
      ({ label, says, rows }) =>
        html`<tr><td>${label}</td><td class="meaning">${says}</td><td>${grouped(rows)}</td></tr>`,
    );
  return html`<section><h2>Labels that are doubted most</h2><div class="wide"><table><thead><tr><th>label</th><th style="text-align:left">model says</th><th>rows</th></tr></thead><tbody>${lines}</tbody></table></div>
<p class="note">Among the first 2 % of the rows. A pair that comes up often may be two labels that the guideline does not keep apart.</p></section>`;
}

function item(
  { suspicion, says, probability, place, reversed }: DoubtedRow,
  i: number,
  examples: Audit["examples"],
): Markup {
  const example = examples[place];
  const labels = [...new Set(example.relations)].join(", ");
  const other =
    reversed === null
      ? null
      : html`<span>${example.tail} → ${example.head}: ${[...new Set(examples[reversed.place].relations)].join(", ")}, model says ${reversed.says}</span>`;
  return html`<li><span class="rank">${grouped(i + 1)}</span><div>${highlighted(example)}<div class="about"><span>${example.head} → ${example.tail}</span>${other}</div></div>
<div class="odds"><span class="what">label</span>${odds(labels, 1 - suspicion, "label", "bad")}<span class="what">model says</span>${odds(says, probability, "answer", "ok")}</div></li>`;
}

function odds(label: string, probability: number, kind: string, ink: string): Markup {
  return html`<span class="${ink}">${label}</span><div class="fill ${kind}"><i style="width:${percent(probability)}%"></i></div><span class="share">${percentOfSmall(probability)} %</span>`;
}
