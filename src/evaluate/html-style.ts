/** The style sheet of the HTML report: system fonts, light and dark by the reader's setting, printable. */
export const REPORT_STYLE = `
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5d6878;--line:#e2e6ec;--track:#eceff4;
--accent:37 99 190;--wrong:206 84 28;--good:21 128 91;--ok-ink:#0f6b4a;--bad-ink:#a83f10;--head:#dbe8fd;--tail:#fbe6c8}
@media(prefers-color-scheme:dark){:root{--page:#12161c;--card:#1a2028;--ink:#e4e9f0;--soft:#97a3b4;--line:#2b333e;--track:#252d37;
--accent:104 162 255;--wrong:240 128 72;--good:72 190 145;--ok-ink:#6fd6ae;--bad-ink:#f5a27a;--head:#223e68;--tail:#57401c}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI","PingFang SC","Microsoft YaHei","Noto Sans CJK SC","Noto Sans SC",sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 20px 64px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 12px}
p{margin:0 0 10px}.soft,.note{color:var(--soft)}.note{font-size:13px;margin:10px 0 0}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:22px 24px;margin-top:18px}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:14px;margin-top:22px}
@media(max-width:760px){.cards{grid-template-columns:repeat(2,1fr)}}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px}
.card b{display:block;font-size:34px;line-height:1.15;font-weight:650;font-variant-numeric:tabular-nums}
.card .name{font-weight:600}.card .range{color:var(--soft);font-size:13px;font-variant-numeric:tabular-nums}
.scale{position:relative;height:6px;border-radius:3px;background:var(--track);margin:10px 0 6px}
.scale i{position:absolute;top:0;bottom:0;left:0;border-radius:3px;background:rgb(var(--accent)/.35)}
.scale u{position:absolute;top:-2px;bottom:-2px;border-radius:3px;background:rgb(var(--accent))}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--soft);font-size:13px;text-align:right;white-space:nowrap}
td{text-align:right;white-space:nowrap}
th,td{padding:6px 10px;border-bottom:1px solid var(--line)}
tr>:first-child{text-align:left;padding-left:0}tr>:last-child{padding-right:0}
tbody tr:last-child td{border-bottom:0}
td.f1{font-weight:650}td.meaning{text-align:left;color:var(--soft);font-size:13px;white-space:normal}
td.bar{width:30%;min-width:120px}.muted td{color:var(--soft)}
.fill{height:8px;border-radius:4px;background:var(--track);overflow:hidden}
.fill i{display:block;height:100%;background:rgb(var(--accent))}.muted .fill i{background:var(--soft);opacity:.5}
.curve{display:block;width:100%;height:auto}
.curve .grid{stroke:var(--line)}.curve text{fill:var(--soft);font-size:12px}
.curve path{fill:none;stroke-linejoin:round}.curve .raw{stroke:rgb(var(--accent)/.35);stroke-width:1}
.curve .mean{stroke:rgb(var(--accent));stroke-width:2.25}.curve .rate{stroke:var(--soft);stroke-width:1.5}
.curve path.paper{stroke:rgb(var(--accent));stroke-width:2.25}.curve path.micro{stroke:var(--soft);stroke-width:2.25}
.curve circle.paper,.curve tspan.paper{fill:rgb(var(--accent))}.curve circle.micro,.curve tspan.micro{fill:var(--soft)}.curve tspan{font-weight:600}
.heat{width:auto;font-size:11px}.heat th,.heat td{padding:0;border:0}
.heat thead th{writing-mode:vertical-rl;text-align:right;padding:0 0 6px;font-size:12px;line-height:26px;max-height:150px;overflow:hidden}
.heat tbody th{padding-right:8px;font-size:12px;text-align:right}
.heat td{width:26px;min-width:26px;height:26px;text-align:center;border:1px solid var(--card);background:var(--track)}
.heat.dense td{width:20px;min-width:20px;height:20px;font-size:9.5px;letter-spacing:-.3px}.heat.dense thead th{line-height:20px;font-size:11px}
.heat.dense tbody th{font-size:11px}
.heat td.hit{background:rgb(var(--good)/var(--v))}.heat td.miss{background:rgb(var(--wrong)/var(--v))}
.heat td.strong{color:#fff}@media(prefers-color-scheme:dark){.heat td.strong{color:#0d1116}}
.key{display:inline-block;width:12px;height:12px;border-radius:3px;vertical-align:-1px;margin:0 4px 0 12px}
.key.hit{background:rgb(var(--good)/.85);margin-left:0}.key.miss{background:rgb(var(--wrong)/.85)}
.errors{list-style:none;margin:0;padding:0}
.errors li{padding:12px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}.errors li:last-child{border-bottom:0;padding-bottom:0}
.errors mark{color:inherit;border-radius:3px;padding:1px 2px}.errors .head{background:var(--head)}.errors .tail{background:var(--tail)}
.answer{display:flex;flex-wrap:wrap;gap:4px 22px;margin-top:4px;font-size:13px;color:var(--soft)}
.ok{color:var(--ok-ink);font-weight:600}.bad{color:var(--bad-ink);font-weight:600}
.warnings{margin:0;padding-left:18px}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
summary{cursor:pointer;font-weight:600}details[open] summary{margin-bottom:12px}
@media print{body{background:#fff}section,.card{break-inside:avoid}}
`;
