import { describe, expect, it } from "vitest";
import type { Triple } from "../../src/extract/triples.ts";
import { serving } from "../e2e/serving.ts";
import { cre, toyRecipe, useBestBackend, writeRecipe, writeToyData } from "../e2e/support.ts";
import { lookAt, NAMES, PARAGRAPHS, type Page, reason, TIMEOUT_MS } from "./chromium.ts";
import { usePage } from "./page-setup.ts";

// More of the page of `cre serve` in Chromium: a file that is dropped and was judged before, entities that a run finds, a graph of 1,000 entities.

if (reason !== null) console.warn(`browser/page-input.test.ts: skipped, ${reason}`);

/** What a server could answer for sentences like 企业0001与企业0002合作。: the page is measured without a model. */
function answerOfCompanies(text: string): object {
  const mentions = Array.from(text.matchAll(/企业\d{4}/g), ({ 0: name, index }) => {
    const end = index + name.length;
    return { text: name, id: name, name, type: null, start: index, end, startUtf16: index, endUtf16: end };
  });
  const triples = mentions.flatMap((head, i) => {
    if (i % 2 === 1) return [];
    const sentence = text.slice(head.start, text.indexOf("。", head.start) + 1);
    const place = { document: "text", sentence, sentenceStart: head.start };
    return [{ ...place, head, relation: "合作", tail: mentions[i + 1], probability: 0.9, run: "none" }];
  });
  return { mentions, triples, counts: { pairs: triples.length } };
}

/** A run that has learned to find entities; it knows nothing but the toy set. */
async function trainFinder(file: (name: string) => string): Promise<string> {
  useBestBackend();
  const toy = toyRecipe(writeToyData(file("toy-data")));
  const train = { ...toy.train, epochs: 40, validateEvery: 10 };
  const recipe = writeRecipe(file("finder.yaml"), { ...toy, tasks: ["relations", "mentions"], train });
  const trained = await cre(["train", recipe, "--run", file("finder")]);
  expect(trained.code, trained.stderr).toBe(0);
  return file("finder");
}

describe.skipIf(reason !== null)("the page", () => {
  const shared = usePage("page-input");
  let page: Page;
  const { until, isShown, says, keep, expectGood } = lookAt(() => page);

  /** Two verdicts of an earlier visit: another label for the first relation of the text; the second one does not hold. */
  const judge = async () => {
    const entities = NAMES.map((name) => ({ name }));
    const answer = await shared.server.post("/v1/extract", {
      text: PARAGRAPHS.join("\n"),
      entities,
      minProbability: 0.5,
    });
    const { triples } = (await answer.json()) as { triples: Triple[] };
    const rows = triples.slice(0, 2).map(({ sentence, sentenceStart, head, tail, relation }, i) => ({
      ...{ sentence, head: head.text, tail: tail.text },
      headSpan: [head.start - sentenceStart, head.end - sentenceStart],
      tailSpan: [tail.start - sentenceStart, tail.end - sentenceStart],
      ...(i === 0
        ? { verdict: "corrected", relations: [relation === "合作" ? "收购" : "合作"] }
        : { verdict: "rejected" }),
    }));
    const kept = await shared.server.post("/v1/labelled", { rows });
    expect(kept.status, await kept.text()).toBe(200);
  };

  it(
    "shows what was said when the same text is opened again, as a file that is dropped",
    async () => {
      await judge();
      page = await shared.browser.open(shared.server.url);
      await isShown("#text");
      await page.fill("#names", NAMES.join("\n"));
      await page.evaluate(`(() => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([${JSON.stringify(PARAGRAPHS.join("\n"))}], "报道.txt", { type: "text/plain" }));
        const form = document.querySelector("form.input");
        for (const name of ["dragover", "drop"]) {
          form.dispatchEvent(new DragEvent(name, { bubbles: true, cancelable: true, dataTransfer }));
        }
      })()`);
      await until("document.querySelector('.file-name')?.textContent === '报道.txt'");
      await expectGood("start-file");
      await page.click("form button.primary");
      await isShown(".modes");
      await until("!document.querySelector('.progress')");
      await page.click(".modes button:nth-of-type(2)");
      await until("document.querySelectorAll('.triples .said').length === 2");
      await keep("extract-again");
      // The next verdict of a pair replaces the row of the earlier visit.
      await page.click(".triples tr:has(.said-rejected) button");
      await isShown(".pair .pair-actions button[aria-pressed='true']");
      await says("已存入校对集");
      await page.click(".pair .pair-actions button:nth-of-type(1)");
      await isShown(".pair .said-confirmed");
      await until("document.querySelector('.pair').innerText.includes('已存入校对集')");
      const { rows } = (await (await shared.server.get("/v1/labelled")).json()) as { rows: { verdict: string }[] };
      expect(rows.map(({ verdict }) => verdict).sort()).toEqual(["confirmed", "corrected"]);
    },
    TIMEOUT_MS,
  );

  it(
    "finds the entities of a text with a run that has learned it",
    async () => {
      const finder = await serving([await trainFinder(shared.file)], { CRE_BACKEND: "" });
      try {
        page = await shared.browser.open(finder.url);
        await isShown("#text");
        expect(await page.evaluate("document.querySelector('.input-names .check input').checked")).toBe(true);
        await page.fill("#text", "3日远山收购近水的股份。5日东风与西岭合作。");
        await expectGood("start-finder");
        await page.click("form button.primary");
        await isShown(".modes");
        await until("!document.querySelector('.progress')");
        await expectGood("extract-finder");
        const asked = await finder.post("/v1/extract", {
          text: "3日远山收购近水的股份。5日东风与西岭合作。",
          find: true,
        });
        const { mentions } = (await asked.json()) as { mentions: { text: string }[] };
        expect(mentions.length).toBeGreaterThanOrEqual(2);
        for (const { text } of mentions) await says(text);
        await says(`${mentions.length} 处实体`);
      } finally {
        await finder.end();
      }
    },
    TIMEOUT_MS,
  );

  it(
    "lays out 1,000 entities and 1,500 relations frame by frame",
    async () => {
      page = await shared.browser.open(shared.server.url);
      await page.route("**/v1/extract", (route) => {
        const answer = JSON.stringify(answerOfCompanies(route.request().postDataJSON().text));
        return route.fulfill({ contentType: "application/json", body: answer });
      });
      const sentences = Array.from({ length: 2000 }, (_, i) => {
        const name = (number: number) => `企业${String(number % 1000).padStart(4, "0")}`;
        return `${name(i % 2 === 0 ? i / 2 : i * 13)}与${name(i * 7 + 3)}合作。`;
      });
      await isShown("#text");
      await page.fill("#text", sentences.join(""));
      await page.fill("#names", "企业0000");
      await page.click("form button.primary");
      await isShown(".modes");
      await until("!document.querySelector('.progress')");
      const client = await page.context().newCDPSession(page);
      await client.send("Performance.enable", { timeDomain: "threadTicks" });
      const taskMs = async () => {
        const { metrics } = (await client.send("Performance.getMetrics")) as {
          metrics: { name: string; value: number }[];
        };
        return 1000 * (metrics.find(({ name }) => name === "TaskDuration")?.value ?? Number.NaN);
      };
      await page.evaluate(`(() => {
        globalThis.frames_ = 0;
        const count = () => { globalThis.frames_++; requestAnimationFrame(count); };
        requestAnimationFrame(count);
      })()`);
      const [from, clock] = [await taskMs(), performance.now()];
      await page.click(".modes button:nth-of-type(3)");
      await isShown(".graph canvas[data-settled='true']");
      const [taken, seconds] = [(await taskMs()) - from, (performance.now() - clock) / 1000];
      const frames = await page.evaluate<number>("globalThis.frames_");
      console.info(
        `1,000 entities, 1,500 relations: ${frames} frames in ${seconds.toFixed(1)} s, ${(taken / frames).toFixed(1)} ms of processor time a frame`,
      );
      expect(taken / frames).toBeLessThan(50);
      await keep("graph-1000");
    },
    TIMEOUT_MS,
  );

  it("has no errors", () => {
    expect(shared.browser.faults).toEqual([]);
  });
});
