import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { type Serving, serving } from "../e2e/serving.ts";
import { buildCli, cre, temporaryFolder, toyRecipe, useBestBackend, writeRecipe, writeToyData } from "../e2e/support.ts";
import { ROOT } from "../source-tree.ts";

// The page of `cre serve` in Chromium, as a new user walks through it: text, relations, corrections, a dropped file, entities that a run finds,
// retraining, comparison, switch. At 1280 and 390 px, in both themes and languages; axe-core looks at every view. CRE_SHOTS=DIR keeps pictures
// of the views.

const PACKAGE = join(ROOT, "test", "browser");
const CHROMIUM =
  process.env.CRE_CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((file) => existsSync(file));
const reason = !existsSync(join(PACKAGE, "node_modules", "@axe-core", "playwright"))
  ? "playwright-core and @axe-core/playwright are not installed (npm ci --ignore-scripts in test/browser)"
  : CHROMIUM === undefined
    ? "there is no Chromium (Debian: apt-get install chromium fonts-noto-cjk)"
    : !existsSync(join(ROOT, "build", "native"))
      ? "the native backend is not built: fine-tuning the embedded model would take hours"
      : null;
if (reason !== null) console.warn(`browser/page.test.ts: skipped, ${reason}`);

/** What this file uses of playwright-core, which is not installed for everybody. */
interface Page {
  goto(address: string): Promise<unknown>;
  on(event: "console", listener: (message: { type(): string; text(): string }) => void): void;
  on(event: "pageerror", listener: (error: Error) => void): void;
  on(event: "request", listener: (request: { url(): string }) => void): void;
  evaluate<T>(script: string): Promise<T>;
  click(selector: string): Promise<void>;
  fill(selector: string, text: string): Promise<void>;
  focus(selector: string): Promise<void>;
  setViewportSize(size: { width: number; height: number }): Promise<void>;
  emulateMedia(media: { colorScheme: "light" | "dark" }): Promise<void>;
  screenshot(options: { path: string; fullPage?: boolean }): Promise<unknown>;
  keyboard: { press(key: string): Promise<void> };
}
interface Browser {
  newContext(options: object): Promise<{ newPage(): Promise<Page> }>;
  close(): Promise<void>;
}
interface Axe {
  analyze(): Promise<{ violations: { id: string; impact?: string | null; nodes: { target: unknown[] }[] }[] }>;
}

const PARAGRAPHS = [
  "松岭重工昨天宣布，以三十亿元收购青川机床的全部股份。交易完成后，青川机床仍由原来的团队管理。",
  "松岭重工由陆远舟在一九九八年创办，总部位于临川市。陆远舟的妹妹陆清和现在是蓝汀科技的董事长。",
  "蓝汀科技与松岭重工去年签订了合作协议，共同研制新的生产线。业内人士说，两家公司都把白石集团看作对手。",
];
const NAMES = ["松岭重工", "青川机床", "陆远舟", "临川市", "陆清和", "蓝汀科技", "白石集团"];

/** Longest wait for one step: seconds where nothing else computes. */
const PATIENCE_MS = Number(process.env.CRE_PATIENCE_MS ?? 240_000);
const TIMEOUT_MS = 3 * PATIENCE_MS;

const temporary = temporaryFolder("page");
const file = (name: string) => join(temporary.path, name);

/** The embedded demonstration run, on a few rows of the demonstration set: retraining takes seconds. */
function writeRun(): string {
  const data = file("data");
  mkdirSync(data);
  for (const [split, rows] of [
    ["train", 32],
    ["valid", 12],
    ["test", 16],
  ] as const) {
    const lines = readFileSync(join(ROOT, "demo", `${split}.jsonl`), "utf8").split("\n");
    writeFileSync(join(data, `${split}.jsonl`), `${lines.slice(0, rows).join("\n")}\n`);
  }
  cpSync(join(ROOT, "demo", "labels.json"), join(data, "labels.json"));
  const run = file("demo");
  cpSync(join(ROOT, "docs", "demo", "run"), run, { recursive: true });
  const path = join(ROOT, "models", "base-zh");
  const recipe = parse(readFileSync(join(run, "recipe.yaml"), "utf8"));
  recipe.model.path = path;
  recipe.data.path = data;
  Object.assign(recipe.train, { epochs: 1, validateEvery: 1 });
  writeFileSync(join(run, "recipe.yaml"), stringify(recipe));
  const base = JSON.parse(readFileSync(join(run, "base.json"), "utf8"));
  writeFileSync(join(run, "base.json"), JSON.stringify({ ...base, path }));
  return run;
}

/** A run that has learned to find entities; it knows nothing but the toy set. */
async function trainFinder(): Promise<string> {
  useBestBackend();
  const toy = toyRecipe(writeToyData(file("toy-data")));
  const train = { ...toy.train, epochs: 40, validateEvery: 10 };
  const recipe = writeRecipe(file("finder.yaml"), { ...toy, tasks: ["relations", "mentions"], train });
  const trained = await cre(["train", recipe, "--run", file("finder")]);
  expect(trained.code, trained.stderr).toBe(0);
  return file("finder");
}

describe.skipIf(reason !== null)("the page", () => {
  let server: Serving;
  let browser: Browser;
  let page: Page;
  let axe: (page: Page) => Axe;
  const faults: string[] = [];
  const requested: string[] = [];
  const servers: string[] = [];
  /** Opens the page of a server as one that was never there before. */
  const openPage = async (url: string): Promise<Page> => {
    const context = await browser.newContext({
      ...{ viewport: { width: 1280, height: 860 }, locale: "zh-CN", colorScheme: "light", reducedMotion: "reduce" },
    });
    const opened = await context.newPage();
    opened.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") faults.push(message.text());
    });
    opened.on("pageerror", (error) => faults.push(error.message));
    opened.on("request", (request) => requested.push(request.url()));
    servers.push(url);
    await opened.goto(`${url}/`);
    return opened;
  };

  beforeAll(async () => {
    await buildCli();
    execFileSync(process.execPath, [
      ...[join(ROOT, "node_modules", "vite", "bin", "vite.js"), "build"],
      ...["--config", join(ROOT, "src", "serve", "page", "vite.config.ts"), "--logLevel", "error"],
    ]);
    server = await serving([writeRun(), "--work", file("work")], { CRE_BACKEND: "" });
    const require = createRequire(join(PACKAGE, "package.json"));
    const { chromium } = require("playwright-core");
    const { AxeBuilder } = require("@axe-core/playwright");
    axe = (shown) => new AxeBuilder({ page: shown });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    page = await openPage(server.url);
  }, TIMEOUT_MS);
  afterAll(async () => {
    await browser?.close();
    await server?.end();
    temporary.remove();
  });

  /** Waits until an expression is true; the policy of the page does not let playwright's own way evaluate one. */
  const until = async (expression: string): Promise<void> => {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(40)) {
      if (await page.evaluate<boolean>(`Boolean(${expression})`)) return;
    }
    throw new Error(`never true: ${expression}\n${await page.evaluate("document.body.innerText")}`);
  };
  const isShown = (selector: string) => until(`document.querySelector(${JSON.stringify(selector)})`);
  const says = (text: string) => until(`document.body.innerText.includes(${JSON.stringify(text)})`);
  const count = (selector: string) =>
    page.evaluate<number>(`document.querySelectorAll(${JSON.stringify(selector)}).length`);
  const view = async (hash: string, shown: string) => {
    await page.evaluate(`location.hash = "#/${hash}"`);
    await isShown(shown);
  };
  const keep = async (name: string) => {
    const { CRE_SHOTS } = process.env;
    if (CRE_SHOTS) await page.screenshot({ path: join(CRE_SHOTS, `${name}.png`), fullPage: true });
  };
  /** No serious fault of accessibility, nothing wider than the screen. */
  const expectGood = async (name: string) => {
    await keep(name);
    const { violations } = await axe(page).analyze();
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    expect(serious.map(({ id, nodes }) => [name, id, ...nodes.map(({ target }) => target.join(" "))])).toEqual([]);
    const width = "document.documentElement.scrollWidth - innerWidth";
    expect([name, await page.evaluate<number>(width)]).toEqual([name, 0]);
  };

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
      const { rows } = (await (await server.get("/v1/labelled")).json()) as { rows: { verdict: string }[] };
      expect(rows.map(({ verdict }) => verdict).sort()).toEqual(["corrected", "rejected"]);
    },
    TIMEOUT_MS,
  );

  it(
    "shows what was said when the same text is opened again, as a file that is dropped",
    async () => {
      page = await openPage(server.url);
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
      const { rows } = (await (await server.get("/v1/labelled")).json()) as { rows: { verdict: string }[] };
      expect(rows.map(({ verdict }) => verdict).sort()).toEqual(["confirmed", "corrected"]);
      await page.click(".pair .pair-actions button:nth-of-type(2)");
      await isShown(".pair .said-rejected");
      await until("document.querySelector('.pair').innerText.includes('已存入校对集')");
    },
    TIMEOUT_MS,
  );

  it(
    "finds the entities of a text with a run that has learned it",
    async () => {
      const finder = await serving([await trainFinder()], { CRE_BACKEND: "" });
      const before = page;
      try {
        page = await openPage(finder.url);
        await isShown("#text");
        expect(await page.evaluate("document.querySelector('.input-names .check input').checked")).toBe(true);
        await page.fill("#text", "3日远山收购近水的股份。5日东风与西岭合作。");
        await expectGood("start-finder");
        await page.click("form button.primary");
        await isShown(".modes");
        await until("!document.querySelector('.progress')");
        await expectGood("extract-finder");
        const asked = await finder.post("/v1/extract", { text: "3日远山收购近水的股份。5日东风与西岭合作。", find: true });
        const { mentions } = (await asked.json()) as { mentions: { text: string }[] };
        expect(mentions.length).toBeGreaterThanOrEqual(2);
        for (const { text } of mentions) await says(text);
        await says(`${mentions.length} 处实体`);
      } finally {
        page = before;
        await finder.end();
      }
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
      const { retrainings } = (await (await server.get("/v1/retrain")).json()) as {
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
      const { runs } = (await (await server.get("/v1/runs")).json()) as { runs: { retraining: string | null }[] };
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
    expect(faults).toEqual([]);
    const origins = new Set(requested.filter((url) => !url.startsWith("blob:")).map((url) => new URL(url).origin));
    expect([...origins]).toEqual([...new Set(servers)]);
  });
});
