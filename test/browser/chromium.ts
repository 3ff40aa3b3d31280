import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { parse, stringify } from "yaml";
import { ROOT } from "../source-tree.ts";

const PACKAGE = join(ROOT, "test", "browser");
const CHROMIUM =
  process.env.CRE_CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((file) => existsSync(file));

/** Why the page cannot be looked at here; null where it can. */
export const reason = !existsSync(join(PACKAGE, "node_modules", "@axe-core", "playwright"))
  ? "playwright-core and @axe-core/playwright are not installed (npm ci --ignore-scripts in test/browser)"
  : CHROMIUM === undefined
    ? "there is no Chromium (Debian: apt-get install chromium fonts-noto-cjk)"
    : !existsSync(join(ROOT, "build", "native"))
      ? "the native backend is not built: fine-tuning the embedded model would take hours"
      : null;

/** What the tests use of playwright-core, which is not installed for everybody. */
export interface Page {
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
  route(pattern: string, answer: (route: Route) => Promise<void>): Promise<void>;
  context(): { newCDPSession(page: Page): Promise<{ send(method: string, parameters?: object): Promise<unknown> }> };
}
interface Route {
  request(): { postDataJSON(): { text: string } };
  fulfill(answer: { contentType: string; body: string }): Promise<void>;
}
interface Browser {
  newContext(options: object): Promise<{ newPage(): Promise<Page> }>;
  close(): Promise<void>;
}
interface Axe {
  analyze(): Promise<{ violations: { id: string; impact?: string | null; nodes: { target: unknown[] }[] }[] }>;
}

export const PARAGRAPHS = [
  "松岭重工昨天宣布，以三十亿元收购青川机床的全部股份。交易完成后，青川机床仍由原来的团队管理。",
  "松岭重工由陆远舟在一九九八年创办，总部位于临川市。陆远舟的妹妹陆清和现在是蓝汀科技的董事长。",
  "蓝汀科技与松岭重工去年签订了合作协议，共同研制新的生产线。业内人士说，两家公司都把白石集团看作对手。",
];
export const NAMES = ["松岭重工", "青川机床", "陆远舟", "临川市", "陆清和", "蓝汀科技", "白石集团"];

/** Longest wait for one step: seconds where nothing else computes. */
const PATIENCE_MS = Number(process.env.CRE_PATIENCE_MS ?? 240_000);
export const TIMEOUT_MS = 3 * PATIENCE_MS;

/** The embedded demonstration run, on a few rows of the demonstration set: retraining takes seconds. */
export function writeDemoRun(folder: string): string {
  const data = join(folder, "data");
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
  const run = join(folder, "demo");
  cpSync(join(ROOT, "docs", "demo", "run"), run, { recursive: true });
  const path = join(ROOT, "models", "base-zh");
  const recipe = parse(readFileSync(join(run, "recipe.yaml"), "utf8"));
  recipe.model.path = path;
  recipe.data.path = data;
  Object.assign(recipe.train, { epochs: 1, validateEvery: 1, joinedSentences: 0 });
  writeFileSync(join(run, "recipe.yaml"), stringify(recipe));
  const base = JSON.parse(readFileSync(join(run, "base.json"), "utf8"));
  writeFileSync(join(run, "base.json"), JSON.stringify({ ...base, path }));
  return run;
}

/** Builds the page into the package. */
export function buildPage(): void {
  execFileSync(process.execPath, [
    ...[join(ROOT, "node_modules", "vite", "bin", "vite.js"), "build"],
    ...["--config", join(ROOT, "src", "serve", "page", "vite.config.ts"), "--logLevel", "error"],
  ]);
}

/** A browser with what its pages complained of and asked for. */
export interface Watched {
  faults: readonly string[];
  requested: readonly string[];
  /** Opens the page of a server as one that was never there before. */
  open(url: string): Promise<Page>;
  close(): Promise<void>;
}

export async function openBrowser(): Promise<Watched> {
  const { chromium } = createRequire(join(PACKAGE, "package.json"))("playwright-core");
  const browser: Browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  const faults: string[] = [];
  const requested: string[] = [];
  return {
    ...{ faults, requested, close: () => browser.close() },
    async open(url) {
      const context = await browser.newContext({
        ...{ viewport: { width: 1280, height: 860 }, locale: "zh-CN", colorScheme: "light", reducedMotion: "reduce" },
      });
      const page = await context.newPage();
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") faults.push(message.text());
      });
      page.on("pageerror", (error) => faults.push(error.message));
      page.on("request", (request) => requested.push(request.url()));
      await page.goto(`${url}/`);
      return page;
    },
  };
}

/** Steps and checks on the page that is shown at the time. */
export function lookAt(shown: () => Page) {
  /** Waits until an expression is true; the policy of the page does not let playwright's own way evaluate one. */
  const until = async (expression: string): Promise<void> => {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(40)) {
      if (await shown().evaluate<boolean>(`Boolean(${expression})`)) return;
    }
    throw new Error(`never true: ${expression}\n${await shown().evaluate("document.body.innerText")}`);
  };
  const isShown = (selector: string) => until(`document.querySelector(${JSON.stringify(selector)})`);
  const says = (text: string) => until(`document.body.innerText.includes(${JSON.stringify(text)})`);
  const count = (selector: string) =>
    shown().evaluate<number>(`document.querySelectorAll(${JSON.stringify(selector)}).length`);
  const view = async (hash: string, selector: string) => {
    await shown().evaluate(`location.hash = "#/${hash}"`);
    await isShown(selector);
  };
  const keep = async (name: string) => {
    const { CRE_SHOTS } = process.env;
    if (CRE_SHOTS) await shown().screenshot({ path: join(CRE_SHOTS, `${name}.png`), fullPage: true });
  };
  /** No serious fault of accessibility, nothing wider than the screen. */
  const expectGood = async (name: string) => {
    await keep(name);
    const { violations } = await axeOf(shown()).analyze();
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    expect(serious.map(({ id, nodes }) => [name, id, ...nodes.map(({ target }) => target.join(" "))])).toEqual([]);
    const width = "document.documentElement.scrollWidth - innerWidth";
    expect([name, await shown().evaluate<number>(width)]).toEqual([name, 0]);
  };
  return { until, isShown, says, count, view, keep, expectGood };
}

function axeOf(page: Page): Axe {
  const { AxeBuilder } = createRequire(join(PACKAGE, "package.json"))("@axe-core/playwright");
  return new AxeBuilder({ page });
}
