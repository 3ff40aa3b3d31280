import { describe, expect, it } from "vitest";
import { renderHtmlReport } from "./html-report.ts";
import { lossCurve } from "./loss-curve.ts";
import { escapeHtml, html, markupText } from "./markup.ts";
import { computeMetrics } from "./metrics.ts";
import { niceTicks } from "./plot.ts";
import { trivialReferences } from "./references.ts";
import { validationCurve } from "./validation-curve.ts";

const attack = `<script>alert("1")</script><img src=x onerror='y'>`;
const labels = { labels: ["unknown", "拥有", attack], noRelation: "unknown" };
const rows = [
  { gold: ["拥有"], predicted: ["拥有"] },
  { gold: ["unknown"], predicted: [attack, "拥有"] },
  { gold: [attack], predicted: [] },
];
const metrics = computeMetrics(rows, labels);
const log = Array.from({ length: 2000 }, (_, i) => ({ step: i + 1, loss: 4 / (1 + i / 100), learningRate: 5e-4 }));
const page = renderHtmlReport({
  title: `FinRE ${attack}`,
  subtitle: attack,
  metrics,
  recipe: `model: ${attack}`,
  log,
  references: trivialReferences(rows, labels),
  examples: [
    {
      sentence: `甲公司${attack}收购了乙`,
      head: "甲公司",
      tail: attack,
      gold: ["拥有"],
      predicted: [attack],
      probability: 0.75,
    },
    { sentence: "丙", head: "丙", tail: "", gold: [attack], predicted: [] },
  ],
});

describe("HTML report", () => {
  it("escapes every text of the data", () => {
    expect(page).not.toContain("<script");
    expect(page).not.toContain("<img");
    expect(page.split("&lt;script&gt;alert(&quot;1&quot;)").length).toBeGreaterThan(10);
  });

  it("is one file: no script, no address, a policy that forbids both", () => {
    expect(page).not.toMatch(/https?:|\/\/|@import|url\(|<link|<iframe|src=(?!x)/i);
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
  });

  it("closes every element it opens", () => {
    const open: string[] = [];
    for (const [, slash, name, rest] of page.matchAll(/<(\/?)([a-z0-9]+)([^>]*)>/g)) {
      if (["meta", "line", "path"].includes(name) || rest.endsWith("/")) continue;
      if (slash === "") open.push(name);
      else expect(open.pop()).toBe(name);
    }
    expect(open).toEqual([]);
  });

  it("holds the scores, the table, the matrix and the errors", () => {
    for (const name of ["paper F1", "micro F1", "micro-argmax F1", "macro F1"])
      expect(page).toContain(`>${name}</span>`);
    expect(page).toContain("<td>always unknown</td>".replace(/td/g, "th"));
    expect(page).toContain("bootstrap of 1,000 draws over 3 sentences");
    expect(page).toContain('title="拥有 → 拥有: 1 rows, 100.0 %"');
    expect(page).toContain('<mark class="head">甲公司</mark>');
    expect(page).toContain("2 rows.");
    expect(page).toContain("75.0 %");
    expect(page).toContain('<span class="bad">nothing</span>');
    expect(page).toContain('aria-label="Training loss from step 1 to step 2000');
    expect(page).toContain("1 of 3 rows have a prediction without any label");
  });

  it("leaves out what it is not given, and says how many errors it shows", () => {
    const bare = renderHtmlReport({ title: "t", metrics: computeMetrics(rows, labels, { bootstrap: null }) });
    for (const text of ["<svg", "Recipe", "Wrong predictions", "bootstrap"]) expect(bare).not.toContain(text);
    const example = { sentence: "丙", head: "丙", tail: "丁", gold: ["拥有"], predicted: [] };
    const many = renderHtmlReport({ title: "t", metrics, examples: new Array(30).fill(example), maxExamples: 5 });
    expect(many).toContain("5 of 30 rows.");
    expect(many.split("<li><mark").length - 1).toBe(5);
  });

  it("marks the longer mention where head and tail overlap", () => {
    const example = { sentence: "他的助手和他", head: "他", tail: "他的助手", gold: ["拥有"], predicted: [] };
    expect(renderHtmlReport({ title: "t", metrics, examples: [example] })).toContain(
      '<mark class="tail">他的助手</mark>和<mark class="head">他</mark>',
    );
  });
});

describe("validation curve", () => {
  const validations = [100, 200, 300].map((step, i) => ({ step, paperF1: 0.4 + i / 10, microF1: 0.3 + i / 10 }));

  it("draws both conventions in percent", () => {
    const text = markupText(validationCurve(validations) ?? html``);
    expect(text).toContain("from step 100 to step 300, at the end paper 60.0, micro 50.0");
    expect(text).toContain("<title>paper F1 50.0 at step 200</title>");
    expect(text.match(/<circle/g)?.length).toBe(6);
  });

  it("leaves out what is not finite and draws nothing for one point", () => {
    const broken = [...validations, { step: 400, paperF1: Number.NaN, microF1: 0.5 }];
    expect(markupText(validationCurve(broken) ?? html``)).not.toContain("NaN");
    expect(validationCurve(validations.slice(0, 1))).toBeNull();
  });
});

describe("loss curve", () => {
  it("draws at most some hundred points and all of a short run", () => {
    const points = (text: string) => (/class="raw" d="([^"]*)"/.exec(text)?.[1].match(/[ML]/g) ?? []).length;
    expect(points(page)).toBe(500);
    const short = lossCurve(log.slice(0, 7));
    expect(short === null ? 0 : points(markupText(short))).toBe(7);
  });

  it("leaves out lines without a finite number and counts them; draws nothing for one point", () => {
    const broken = lossCurve([...log.slice(0, 3), { step: 4, loss: Number.NaN, learningRate: 0 }]);
    expect(broken === null ? "" : markupText(broken)).toContain("1 log lines without a finite number");
    expect(broken === null ? "" : markupText(broken)).not.toContain("NaN");
    expect(lossCurve(log.slice(0, 1))).toBeNull();
  });

  it("has round ticks around the range", () => {
    expect(niceTicks(0, 4.3, 5)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(niceTicks(1, 3840, 8)).toEqual([0, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000]);
    expect(niceTicks(0, 0, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  });
});

describe("markup", () => {
  it("escapes values but not markup, and nothing can pose as markup", () => {
    const inner = html`<b>${"<"}</b>`;
    expect(markupText(html`${inner}${[inner, inner]}${null}${1}${'"'}`)).toBe(
      "<b>&lt;</b><b>&lt;</b><b>&lt;</b>1&quot;",
    );
    expect(escapeHtml("a\u0000\u001b\ud800b\n&'")).toBe("a\uFFFD\uFFFD\uFFFDb\n&amp;&#39;");
  });
});
