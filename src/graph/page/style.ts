/** The style sheet of the page: system fonts, light and dark by the reader's setting, wide and narrow screens, printable. */
export const PAGE_STYLE = `
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5d6878;--line:#e2e6ec;--track:#e6eaf0;--accent:#2563be;
--edge:#a3adba;--c0:#2563be;--c1:#b8560f;--c2:#0f7a55;--c3:#8a3fb0;--c4:#b3264a;--c5:#0c7489;--c6:#7a6a00;--c7:#5d6878;--tint:14%}
@media(prefers-color-scheme:dark){:root{--page:#12161c;--card:#1a2028;--ink:#e4e9f0;--soft:#97a3b4;--line:#2b333e;--track:#2b333e;
--accent:#68a2ff;--edge:#566273;--c0:#68a2ff;--c1:#f0964f;--c2:#48be91;--c3:#c58be6;--c4:#f0708f;--c5:#4cc0d8;--c6:#d4c04a;--c7:#97a3b4;--tint:24%}}
*{box-sizing:border-box}
[hidden]{display:none!important}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI","PingFang SC","Microsoft YaHei","Noto Sans CJK SC","Noto Sans SC",sans-serif}
button,input,select{font:inherit;color:inherit}
button{cursor:pointer}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
main{max-width:1280px;margin:0 auto;padding:22px 20px 48px}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 18px;margin-bottom:14px}
h1{font-size:23px;line-height:1.25;margin:0}
.facts{color:var(--soft);font-variant-numeric:tabular-nums}.facts b{color:var(--ink);font-weight:650}
.language{margin-left:auto;border:1px solid var(--line);background:var(--card);border-radius:7px;padding:3px 11px;font-size:13px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px}
.filters{padding:12px 16px;display:grid;grid-template-columns:240px 260px 1fr;gap:10px 22px;align-items:start}
.filters label{font-size:13px;color:var(--soft);display:block}
.filters input[type=search]{width:100%;border:1px solid var(--line);background:var(--page);border-radius:7px;padding:5px 10px}
.filters input[type=range]{width:100%;accent-color:var(--accent);margin:6px 0 0}
.filters output{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums;float:right}
.chips{display:flex;flex-wrap:wrap;gap:6px;max-height:96px;overflow-y:auto;padding:2px}
.chip{border:1px solid var(--line);background:transparent;border-radius:99px;padding:2px 11px;font-size:13px;color:var(--soft)}
.chip[aria-pressed=true]{background:color-mix(in srgb,var(--accent) 13%,var(--card));border-color:color-mix(in srgb,var(--accent) 45%,var(--card));color:var(--ink)}
.chip i{font-style:normal;color:var(--soft);margin-left:5px;font-variant-numeric:tabular-nums}
.chip.plain{border-style:dashed}
nav{display:flex;gap:4px;margin:16px 0 12px;border-bottom:1px solid var(--line)}
nav button{border:0;background:none;padding:7px 16px;color:var(--soft);border-bottom:2px solid transparent;margin-bottom:-1px}
nav button[aria-selected=true]{color:var(--ink);font-weight:600;border-color:var(--accent)}
.notice{color:var(--soft);font-size:13px;margin:0 0 10px}
.split{display:grid;grid-template-columns:minmax(0,1fr) 330px;gap:14px;align-items:start}
.canvas{position:relative;height:min(68vh,640px);overflow:hidden}
.canvas svg{display:block;width:100%;height:100%;cursor:grab;touch-action:pan-y}.canvas svg:active{cursor:grabbing}
.tools{position:absolute;right:10px;top:10px;display:flex;gap:4px}
.tools button{width:32px;height:32px;border:1px solid var(--line);background:var(--card);border-radius:7px;padding:0;line-height:1}
.legend{position:absolute;left:12px;bottom:8px;display:flex;flex-wrap:wrap;gap:2px 14px;font-size:12.5px;color:var(--soft);pointer-events:none;max-width:94%}
.legend i{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:5px;vertical-align:-1px}
svg .edge{fill:none;stroke:var(--edge);stroke-width:1.3}svg .hit{fill:none;stroke:transparent;stroke-width:12;cursor:pointer}
svg .tip{fill:var(--edge)}
svg .dense .edge{stroke-width:1;opacity:.5}svg .strong .edge{stroke:var(--accent);stroke-width:2;opacity:1}svg .strong .tip{fill:var(--accent)}
svg .weak{opacity:.18}
svg text{font-size:12px;fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:3.5px;stroke-linejoin:round;text-anchor:middle;pointer-events:none}
svg .edges text{font-size:11px;fill:var(--soft)}svg .strong text{fill:var(--ink)}
svg .node{cursor:pointer}svg .node circle{stroke:var(--card);stroke-width:1.5}svg .node.strong circle{stroke:var(--ink);stroke-width:2.5}
.details{padding:14px 16px;max-height:min(68vh,640px);overflow-y:auto;overflow-wrap:anywhere}
.details h2{font-size:17px;margin:0 0 2px}.details .soft,.soft{color:var(--soft);font-size:13px}
.details ul{list-style:none;margin:10px 0 0;padding:0}.details li{border-top:1px solid var(--line);padding:8px 0}
.link{border:0;background:none;padding:0;color:var(--accent);text-align:left;overflow-wrap:anywhere}
.quote{margin:2px 0 0}
mark{color:inherit;background:color-mix(in srgb,var(--c) var(--tint),transparent);box-shadow:inset 0 -2px 0 color-mix(in srgb,var(--c) 60%,transparent);border-radius:3px;padding:1px 1px}
mark.on{background:color-mix(in srgb,var(--c) 45%,transparent)}
.texts{display:grid;grid-template-columns:230px minmax(0,1fr);gap:14px;align-items:start}
.index{max-height:70vh;overflow-y:auto;padding:6px}
.index button{display:flex;justify-content:space-between;gap:8px;width:100%;border:0;background:none;text-align:left;padding:5px 10px;border-radius:7px;font-size:14px;overflow-wrap:anywhere}
.index button[aria-current=true]{background:color-mix(in srgb,var(--accent) 13%,var(--card))}
.index i{font-style:normal;color:var(--soft);font-variant-numeric:tabular-nums}
.index+select{display:none}
.text{padding:20px 26px;overflow-wrap:anywhere;position:relative}
.text h2{font-size:16px;margin:0 0 12px}
.text p{margin:0 0 10px;white-space:pre-wrap;position:relative;z-index:1}
.text p.drawn{line-height:2.9;padding-top:8px}
.arcs{position:absolute;left:0;top:0;width:100%;height:100%;pointer-events:none;z-index:2;overflow:visible}
.arcs path{fill:none;stroke:var(--accent);stroke-width:1.4;opacity:.75}.arcs .tip{fill:var(--accent);stroke:none}
.arcs text{font-size:11px;fill:var(--accent)}
.found{display:flex;flex-wrap:wrap;gap:6px;margin:-4px 0 14px}
.fact{border:1px solid var(--line);background:var(--page);border-radius:7px;padding:2px 9px;font-size:13px}
.fact b{font-weight:600;color:var(--accent)}.fact i{font-style:normal;color:var(--soft);font-variant-numeric:tabular-nums;margin-left:4px}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--soft);font-size:13px;text-align:left;white-space:nowrap}
th,td{padding:8px 14px;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
tr:last-child td{border-bottom:0}tbody tr{cursor:pointer}tbody tr:hover{background:color-mix(in srgb,var(--accent) 6%,var(--card))}
.meter{display:inline-block;width:70px;height:6px;border-radius:3px;background:var(--track);margin-right:8px;vertical-align:2px;overflow:hidden}
.meter i{display:block;height:100%;background:var(--accent)}
td.sentence{color:var(--soft);font-size:13px;min-width:220px}
td.number{white-space:nowrap}
.tag{border-radius:5px;padding:0 6px;font-size:12px;background:color-mix(in srgb,var(--c) var(--tint),transparent);margin-left:6px;white-space:nowrap}
.more{display:block;margin:12px auto;border:1px solid var(--line);background:var(--card);border-radius:7px;padding:5px 16px}
footer{color:var(--soft);font-size:12.5px;margin-top:18px;overflow-wrap:anywhere}
@media(max-width:900px){.split,.texts{grid-template-columns:minmax(0,1fr)}.filters{grid-template-columns:1fr 1fr}.filters>:last-child{grid-column:1/-1}
.details{max-height:none}.index{display:none}.index+select{display:block;width:100%;border:1px solid var(--line);background:var(--card);border-radius:7px;padding:7px 10px}}
@media(max-width:560px){main{padding:16px 12px 40px}.filters{grid-template-columns:minmax(0,1fr);padding:12px}.canvas{height:58vh}.text{padding:16px 14px}
.text p.drawn{line-height:inherit;padding-top:0}.arcs{display:none}nav button{flex:1;padding:8px 4px}
thead{display:none}tbody tr{display:block;padding:10px 14px;border-bottom:1px solid var(--line)}
td{border:0;padding:0;display:inline}td.relation{color:var(--accent)}td.relation:before,td.relation:after{content:" → ";color:var(--soft)}
td.number{display:block;margin:2px 0}td.sentence{display:block;min-width:0}}
@media print{.filters,nav,.tools{display:none}body{background:#fff}}
`;
