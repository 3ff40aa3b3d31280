import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import type { Server } from "node:http";
import { createRequire } from "node:module";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { findNames, findRelations } from "../src/browser/relations.ts";
import { openTrained } from "../src/runs/open.ts";
import { serveFolder } from "./browser/server.ts";
import { ROOT } from "./source-tree.ts";

// The demonstration page in Chromium, driven by playwright-core (pinned in browser/package.json): what it finds, in which time, and that it
// asks no server for anything once it is there. CRE_CHROMIUM names another browser of that kind.

const PACKAGE = join(ROOT, "test", "browser");
const CHROMIUM =
  process.env.CRE_CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((file) => existsSync(file));
const reason = !existsSync(join(PACKAGE, "node_modules", "playwright-core"))
  ? "playwright-core is not installed (npm ci --ignore-scripts in test/browser)"
  : CHROMIUM === undefined
    ? "there is no Chromium (Debian: apt-get install chromium fonts-noto-cjk)"
    : null;
if (reason !== null) console.warn(`browser.test.ts: skipped, ${reason}`);

const OUTPUT = join(ROOT, "build", "demo");
const RUN = join(ROOT, "docs", "demo", "run");
const ROUNDS = 5;

/** What this file uses of playwright-core, which is not installed for everybody. */
interface Page {
  goto(address: string): Promise<unknown>;
  on(event: "console", listener: (message: { type(): string; text(): string }) => void): void;
  on(event: "pageerror", listener: (error: Error) => void): void;
  on(event: "request", listener: (request: { url(): string }) => void): void;
  addInitScript(script: string): Promise<unknown>;
  evaluate<T>(script: string): Promise<T>;
  textContent(selector: string): Promise<string | null>;
  click(selector: string): Promise<void>;
  fill(selector: string, text: string): Promise<void>;
  press(selector: string, key: string): Promise<void>;
}
interface Browser {
  newContext(options: object): Promise<{ newPage(): Promise<Page>; close(): Promise<void> }>;
  close(): Promise<void>;
}

interface ShownRelation {
  head: string;
  relation: string;
  tail: string;
  probability: number;
}

const READY = "document.getElementById('state-progress').hidden";
const RELATIONS = `Array.from(document.querySelectorAll(".relation"), (row) => ({
  head: row.querySelector(".head").textContent,
  relation: row.dataset.relation,
  tail: row.querySelector(".tail").textContent,
  probability: Number(row.dataset.probability),
}))`;
const setValue = (id: string, value: string) =>
  `{ const field = document.getElementById("${id}"); field.value = ${JSON.stringify(value)}; field.dispatchEvent(new Event("input")); }`;

/** Waits until an expression is true in a page; its policy does not let playwright's own way evaluate one. */
async function until(page: Page, expression: string): Promise<void> {
  while (!(await page.evaluate<boolean>(expression))) await sleep(5);
}

describe.skipIf(reason !== null)("the demonstration page", () => {
  let browser: Browser;
  const servers: { server: Server; address: string }[] = [];

  beforeAll(async () => {
    execFileSync(process.execPath, [
      ...[join(ROOT, "node_modules", "vite", "bin", "vite.js"), "build"],
      ...["--config", join(ROOT, "docs", "demo", "vite.config.ts"), "--logLevel", "error"],
    ]);
    servers.push(await serveFolder(OUTPUT, false), await serveFolder(OUTPUT, true));
    const { chromium } = createRequire(join(PACKAGE, "package.json"))("playwright-core");
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    for (const { server } of servers) server.close();
  });

  /** Opens the page; `trouble` collects messages of the console and requests to other places. */
  async function open(options: { isIsolated?: boolean; script?: string; context?: object } = {}) {
    const { address } = servers[options.isIsolated ? 1 : 0];
    const context = await browser.newContext({ locale: "zh-CN", ...options.context });
    const page = await context.newPage();
    const trouble: string[] = [];
    const requests: string[] = [];
    page.on("console", (message) => trouble.push(message.text()));
    page.on("pageerror", (error) => trouble.push(error.message));
    page.on("request", (request) => requests.push(request.url()));
    if (options.script) await page.addInitScript(options.script);
    await page.goto(address);
    await until(page, READY);
    return { page, trouble, requests, address, close: () => context.close() };
  }

  /** Asks and gives the milliseconds until the answer was there. */
  async function ask(page: Page): Promise<number> {
    const started = performance.now();
    await page.click("#find");
    await until(page, "/毫秒|ms\\./.test(document.getElementById('summary').textContent)");
    return performance.now() - started;
  }

  let known: Promise<ShownRelation[]> | undefined;
  /** What Node finds in the text of the page. */
  async function nodeRelations(text: string, names: readonly string[]): Promise<ShownRelation[]> {
    vi.stubEnv("CRE_BACKEND", "wasm");
    const run = await openTrained(RUN);
    try {
      const found: ShownRelation[] = [];
      for await (const { relations } of findRelations(run.extractor, text, findNames(text, names))) {
        const textOf = ({ start, end }: { start: number; end: number }) => text.slice(start, end);
        for (const { head, relation, tail, probability } of relations)
          found.push({ head: textOf(head), relation, tail: textOf(tail), probability });
      }
      return found;
    } finally {
      await run.close();
      vi.unstubAllEnvs();
    }
  }

  it.each([
    ["on one thread", false],
    ["on threads", true],
  ])("finds what Node finds, without a further request, %s", async (_, isIsolated) => {
    const { page, trouble, requests, address, close } = await open({ isIsolated });
    expect(await page.textContent("#state-line")).toMatch(isIsolated ? /[1-8] 个线程/ : /单线程/);
    const before = requests.length;
    const firstMs = await ask(page);
    await page.evaluate(setValue("least", "0"));
    const found = await page.evaluate<ShownRelation[]>(RELATIONS);
    const text = await page.evaluate<string>("document.getElementById('text').value");
    const names = await page.evaluate<string[]>(
      "Array.from(document.querySelectorAll('#names li'), ({ firstChild }) => firstChild.textContent)",
    );
    known ??= nodeRelations(text, names);
    const wanted = await known;
    expect(found.map(({ probability, ...triple }) => triple)).toEqual(
      wanted.map(({ probability, ...triple }) => triple),
    );
    for (const [i, { probability }] of found.entries()) {
      expect(Math.abs(probability - wanted[i].probability), JSON.stringify(wanted[i])).toBeLessThan(1e-4);
    }
    expect(found).toContainEqual(expect.objectContaining({ head: "蓝桉控股", relation: "收购", tail: "鲜满仓" }));
    expect(found).toContainEqual(expect.objectContaining({ head: "萤火电池", relation: "合作", tail: "雪橇汽车" }));
    expect(firstMs).toBeLessThan(5000);

    await page.evaluate(setValue("text", "蓝桉控股今天宣布，已完成对老牌罐头厂鲜满仓的收购。"));
    const laterMs: number[] = [];
    for (let round = 0; round < ROUNDS; round++) laterMs.push(await ask(page));
    const load = loadavg()[0];
    const times = `first answer ${firstMs.toFixed(0)} ms, later ${laterMs.map((ms) => ms.toFixed(0)).join(" ")} ms`;
    console.log(`${times} (load ${load.toFixed(1)})`);
    // Where other programs have the cores, the time says nothing.
    if (load <= availableParallelism()) expect(Math.min(...laterMs)).toBeLessThan(300);

    expect(requests.length).toBe(before);
    expect(requests.filter((url) => !url.startsWith(address))).toEqual([]);
    expect(trouble).toEqual([]);
    await close();
  });

  it("takes names by selection and by hand, and forms of a name", async () => {
    const { page, trouble, close } = await open();
    await page.evaluate(setValue("text", "退役船长鲁北望在渔村创办了听潮学堂。"));
    for (let left = 10; left > 0; left--) await page.click("#names button");
    expect(await page.evaluate("document.getElementById('find').disabled")).toBe(true);
    await page.evaluate(
      "document.getElementById('text').focus(); document.getElementById('text').setSelectionRange(4, 7)",
    );
    await until(page, "!document.getElementById('mark').disabled");
    expect(await page.textContent("#mark")).toBe("把“鲁北望”加为名称");
    await page.click("#mark");
    await page.fill("#name", "海边学堂|听潮学堂");
    await page.press("#name", "Enter");
    await page.fill("#name", "不在文中");
    await page.press("#name", "Enter");
    expect(await page.evaluate("Array.from(document.querySelectorAll('#names li'), (li) => li.className)")).toEqual([
      "",
      "",
      "is-absent",
    ]);
    await ask(page);
    expect(await page.evaluate<ShownRelation[]>(RELATIONS)).toEqual([
      { head: "鲁北望", relation: "创办", tail: "听潮学堂", probability: expect.closeTo(1, 0) },
    ]);
    await page.click("[data-language=en]");
    expect(await page.textContent(".relation .label")).toBe("founded");
    expect(await page.textContent("#find")).toBe("Find relations");
    expect(trouble).toEqual([]);
    await close();
  });

  it("fits a screen of 390 pixels", async () => {
    const { page, close } = await open({ context: { viewport: { width: 390, height: 844 }, locale: "en-US" } });
    await ask(page);
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(390);
    await close();
  });

  it("says so where WebAssembly has no vector instructions, and loads nothing", async () => {
    const { page, trouble, requests, close } = await open({ script: "WebAssembly.validate = () => false" });
    expect(await page.textContent("#state-line")).toBe("这个浏览器的 WebAssembly 不支持 SIMD 向量指令，模型无法运行。");
    expect(await page.textContent("#state-hint")).toContain("Chrome 91");
    expect(await page.evaluate("document.getElementById('find').disabled")).toBe(true);
    expect(requests.filter((url) => url.includes("/model/"))).toEqual([]);
    expect(trouble).toEqual([]);
    await close();
  });

  it("has a policy that allows no other place", () => {
    const [policy] = /default-src[^"]*/.exec(readFileSync(join(OUTPUT, "index.html"), "utf8")) as RegExpExecArray;
    const sources = policy.split(";").flatMap((part) => part.trim().split(" ").slice(1));
    expect([...new Set(sources)].sort()).toEqual(["'none'", "'self'", "'wasm-unsafe-eval'"]);
  });
});
