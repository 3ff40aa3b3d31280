import { beforeAll, describe, expect, it } from "vitest";
import { lookAt, NAMES, PARAGRAPHS, type Page, reason, TIMEOUT_MS } from "./chromium.ts";
import { usePage } from "./page-setup.ts";

// The page of `cre serve` in Chromium, as a new user walks through it: text, relations, corrections, retraining, comparison, switch. At 1280 and
// 390 px, in both themes and languages; axe-core looks at every view. CRE_SHOTS=DIR keeps pictures of the views.

if (reason !== null) console.warn(`browser/page.test.ts: skipped, ${reason}`);

describe.skipIf(reason !== null)("the page", () => {
  const shared = usePage("page");
  let page: Page;
  beforeAll(async () => {
    page = await shared.browser.open(shared.server.url);
  }, TIMEOUT_MS);
  const { until, isShown, says, count, view, keep, expectGood } = lookAt(() => page);

  it(
    "finds the relations of three paragraphs, and keeps two corrections",
    async () => {
      await isShown("#text");
      await expectGood("start");
      await page.fill("#text", PARAGRAPHS.join("\n"));
      await page.fill("#names", NAMES.join("\n"));
      await page.click("form button.primary");
      await isShown(".modes");
      await until("!document.querySelector('.progress')");
      await isShown(".arc");
      await keep("extract-text");
      await page.click(".modes button:nth-of-type(2)");
      await isShown(".triples tbody tr:nth-child(3)");
      await expectGood("extract-table");
      // Another label for the first one; the second one does not hold.
      await page.click(".triples tbody tr:nth-child(1) button");
      await isShown(".pair .bars:not(.is-waiting) button[aria-pressed='false']");
      await page.click(".pair .bars button[aria-pressed='false']:not(:has-text('无关系'))");
      await says("已存入校对集");
      await page.click(".triples tbody tr:nth-child(2) button");
      await isShown(".pair .pair-actions");
      await page.click(".pair .pair-actions button:nth-of-type(2)");
      await until("document.querySelectorAll('.said').length >= 2 && document.body.innerText.includes('已存入校对集')");
      await keep("extract-corrected");
      const { rows } = (await (await shared.server.get("/v1/labelled")).json()) as { rows: { verdict: string }[] };
      expect(rows.map(({ verdict }) => verdict).sort()).toEqual(["corrected", "rejected"]);
    },
    TIMEOUT_MS,
  );

  it(
    "draws the graph, and shows the evidence of an edge from the keyboard",
    async () => {
      await page.click(".modes button:nth-of-type(3)");
      await isShown(".graph canvas[data-settled='true']");
      await page.focus(".graph-board");
      for (const key of ["+", "ArrowLeft", "0", "j", "j", "Enter"]) await page.keyboard.press(key);
      await isShown(".pair .pair-sentence");
      await expectGood("extract-graph");
    },
    TIMEOUT_MS,
  );

  it(
    "asks for the least certain rows, and takes the keys of a person",
    async () => {
      await view("review", "form.source");
      await page.click("form.source button.primary");
      await until("document.querySelector('.candidate-share')?.textContent");
      await expectGood("review");
      await page.keyboard.press("2");
      await until("document.querySelector('.told').innerText.includes('已存入校对集')");
      await page.keyboard.press("u");
      await until("document.querySelector('.told').innerText.includes('已撤销')");
      await page.keyboard.press("2");
      await until("document.querySelector('.told').innerText.includes('已存入校对集')");
      await view("review/labelled", ".labelled li:nth-child(3)");
      await expectGood("labelled");
      await page.click(".labelled li:nth-child(1) button");
      await says("已删除一条");
      await page.click(".told button");
      await isShown(".labelled li:nth-child(3)");
    },
    TIMEOUT_MS,
  );

  it(
    "retrains with the corrections, compares, and switches over a restart of the page",
    async () => {
      await view("review/retrain", "form.source-row");
      await page.click("form.source-row button.primary");
      await isShown(".chart-dot");
      await until("document.querySelector('.next-step button.primary')");
      const { retrainings } = (await (await shared.server.get("/v1/retrain")).json()) as {
        retrainings: { state: string; counts: object; steps: object[]; validations: object[] }[];
      };
      expect(retrainings).toEqual([
        expect.objectContaining({ state: "finished", counts: expect.objectContaining({ added: 3 }) }),
      ]);
      expect([retrainings[0].steps.length, retrainings[0].validations.length]).toEqual([3, 1]);
      await page.click(".next-step button.primary");
      await isShown(".comparison-words");
      await expectGood("retrained");
      await page.click(".next-step button");
      await says("现在由这个新模型回答");
      const { runs } = (await (await shared.server.get("/v1/runs")).json()) as {
        runs: { retraining: string | null }[];
      };
      expect(runs.map(({ retraining }) => retraining)).toEqual(["1"]);
      await view("runs", ".runs tbody tr");
      await expectGood("runs");
      await view("runs/demo", ".run .bar");
      await expectGood("run");
      await view("datasets", ".rows li");
      await expectGood("datasets");
    },
    TIMEOUT_MS,
  );

  it(
    "is readable on a narrow and dark screen",
    async () => {
      await page.setViewportSize({ width: 390, height: 844 });
      await page.emulateMedia({ colorScheme: "dark" });
      await expectGood("datasets-390");
      for (const [hash, shown, name] of [
        ["runs", ".runs tbody tr", "runs-390"],
        ["runs/demo", ".run .bar", "run-390"],
        ["review/retrain", ".comparison-words", "retrained-390"],
        ["review/labelled", ".labelled li", "labelled-390"],
        ["review", "form.source", "review-390"],
        ["extract", ".modes", "graph-390"],
      ]) {
        await view(hash, shown);
        await expectGood(name);
      }
      await page.click(".modes button:nth-of-type(1)");
      await isShown(".arc");
      await expectGood("extract-390");
      expect(await count("main h1, main h2, main h3")).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  it.each([
    ["zh", "light", 390],
    ["zh", "dark", 1280],
    ["en", "light", 1280],
    ["en", "dark", 390],
  ] as const)(
    "is readable in %s, %s, at %i px",
    async (language, colorScheme, width) => {
      await page.setViewportSize({ width, height: 860 });
      await page.emulateMedia({ colorScheme });
      const isOther = await page.evaluate<boolean>(`!document.documentElement.lang.startsWith("${language}")`);
      if (isOther) await page.click(".top-tools button[lang]");
      await until(`document.documentElement.lang.startsWith("${language}")`);
      for (const [hash, shown] of [
        ["extract", ".modes"],
        ["review", "form.source"],
        ["review/labelled", ".labelled li"],
        ["review/retrain", ".comparison-words"],
        ["runs", ".runs tbody tr"],
        ["runs/demo", ".run .bar"],
        ["datasets", ".rows li"],
      ]) {
        await view(hash, shown);
        await expectGood(`${hash.replaceAll("/", "-")}-${language}-${colorScheme}-${width}`);
      }
    },
    TIMEOUT_MS,
  );

  it("has no errors, and asks no other server", () => {
    expect(shared.browser.faults).toEqual([]);
    const origins = new Set(
      shared.browser.requested.filter((url) => !url.startsWith("blob:")).map((url) => new URL(url).origin),
    );
    expect([...origins]).toEqual([shared.server.url]);
  });
});
