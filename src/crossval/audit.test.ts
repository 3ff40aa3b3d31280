import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { openDataset } from "../data/dataset.ts";
import { type AuditEvent, type AuditOptions, AuditStopped, audit, dropSuspicious, saveAudit } from "./audit.ts";
import { renderAuditPage } from "./audit-page.ts";
import { renderAudit } from "./audit-text.ts";

const temporary = temporaryFolder("audit");
const path = (...names: string[]) => join(temporary.path, ...names);
const data = writeToyData(path("data"));
// The pattern of a toy row says its relation; two rows say another one.
const rows = toyRows(60, 1).map((row, i) => (i === 8 || i === 21 ? { ...row, relations: ["合作"] } : row));
const WRONG = [rows[8].sentence, rows[21].sentence];
writeFileSync(join(data, "train.jsonl"), jsonl(rows));
writeFileSync(join(data, "test.jsonl"), "no rows\n");
const toy = toyRecipe(data);
const recipe = writeRecipe(path("toy.yaml"), { ...toy, train: { ...toy.train, epochs: 1 } });
vi.stubEnv("CRE_BACKEND", "reference");
afterAll(() => temporary.remove());

const linear = (changed: Partial<AuditOptions> = {}): AuditOptions => ({
  source: data,
  run: path("linear"),
  folds: 3,
  ...changed,
});

describe("an audit with the linear companion", () => {
  it("puts the rows with wrong labels first", async () => {
    const events: AuditEvent[] = [];
    const found = await audit(linear({ onEvent: (event) => void events.push(event) }));
    const first = found.rows.slice(0, 2).map(({ place }) => found.examples[place].sentence);
    expect(first.sort()).toEqual([...WRONG].sort());
    expect(found).toMatchObject({ data: "data", with: "linear", folds: 3, planted: null });
    expect(found.rows).toHaveLength(60);
    expect(found.f1.micro).toBeGreaterThan(0.8);
    expect(events.filter(({ kind }) => kind === "linear")).toHaveLength(4);
    expect(existsSync(path("linear"))).toBe(false);
    const text = renderAudit(found, { maxRows: 2 });
    expect(text).toContain("data: 60 training rows\nlinear companion, 3 folds by sentence");
    expect(text).toMatch(/^1\. "[^\n]*\n {3}\([^\n]*\) {2}label 合作 [\d.]+ % {2}model says (收购|被收购) [\d.]+ %$/m);
  });

  it("writes a page and all rows", async () => {
    const found = await audit(linear());
    const files = await saveAudit(found, path("linear"));
    const lines = readFileSync(files.rows, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(60);
    expect(lines[0]).toMatchObject({ rank: 1, relations: ["合作"], disagrees: true, reversed: null });
    expect(lines.map(({ suspicion }) => suspicion)).toEqual(
      lines.map(({ suspicion }) => suspicion).sort((a, b) => b - a),
    );
    expect(lines[0].id).toMatch(/^1-(8|21)$/);
    const page = readFileSync(files.report, "utf8");
    expect(page).toBe(renderAuditPage(found));
    expect(page).toContain("Doubtful labels: data");
    expect(page.match(/<li>/g)).toHaveLength(60);
    expect(page).not.toMatch(/<script|https?:\/\//);
    const hostile = {
      ...found,
      data: "<script>",
      examples: found.examples.map((row) => ({ ...row, head: "<b>", tail: "&" })),
    };
    const escaped = renderAuditPage(hostile);
    expect(escaped).not.toContain("<script>");
    expect(escaped).toContain("&lt;b&gt; → &amp;");
  });

  it("copies the data without the most suspicious rows", async () => {
    const found = await audit(linear());
    const counts = await dropSuspicious(found, 0.03, path("kept"));
    expect(counts).toEqual({ lines: 60, leftOut: 2, unreadable: 0 });
    const { examples } = await (await openDataset(path("kept"))).split("train");
    expect(examples).toHaveLength(58);
    expect(examples.filter(({ sentence }) => WRONG.includes(sentence))).toEqual([]);
    expect(readFileSync(path("kept", "test.jsonl"), "utf8")).toBe("no rows\n");
    await expect(dropSuspicious(found, 0.001, path("other"))).rejects.toThrow("0.1 % of 60 rows is no row");
  });

  it("measures itself on planted labels, which are never written", async () => {
    const found = await audit(linear({ plant: 0.05 }));
    expect(found.planted).toBe(3);
    expect(found.precision.map(({ k, planted }) => [k, planted]).at(-1)).toEqual([60, 3]);
    expect(renderAudit(found, { maxRows: 0 })).toMatch(/^all 60 .* 5\.0 %$/m);
    expect(renderAuditPage(found)).toContain("<th>planted</th>");
    await expect(dropSuspicious(found, 0.1, path("planted"))).rejects.toThrow("planted labels cannot be dropped");
  });

  it("refuses what it cannot read", async () => {
    await expect(audit(linear({ source: path("nowhere") }))).rejects.toThrow("nowhere");
    await expect(audit(linear({ data }))).rejects.toThrow("is a data folder, and");
    await expect(audit(linear({ folds: 99 }))).rejects.toThrow("got 60 rows with 60 distinct sentences");
    mkdirSync(path("empty"));
    await expect(audit(linear({ source: path("empty") }))).rejects.toThrow("is no folder of examples");
  });
});

describe("an audit with the language model", () => {
  const options = (changed: Partial<AuditOptions> = {}): AuditOptions => {
    return { source: recipe, with: "model", run: path("model"), folds: 2, ...changed };
  };
  const ranking = ({ rows: ranked }: Awaited<ReturnType<typeof audit>>) => ranked;

  it("trains folds, is continued where it was stopped, and keeps what it found", async () => {
    const stop = new AbortController();
    const onEvent = (event: AuditEvent) => {
      if (event.kind === "in fold" && event.fold === 2 && event.event.kind === "step" && event.event.step === 2)
        stop.abort();
    };
    const stopped = await audit(options({ signal: stop.signal, onEvent })).catch((error) => error);
    expect(stopped).toBeInstanceOf(AuditStopped);
    expect(readdirSync(path("model", "folds"))).toHaveLength(2);
    const steps: number[] = [];
    const count = (event: AuditEvent) =>
      void (event.kind === "in fold" && event.event.kind === "step" && steps.push(event.fold));
    const found = await audit(options({ onEvent: count }));
    expect(new Set(steps)).toEqual(new Set([2]));
    expect(found.rows).toHaveLength(60);
    for (const { suspicion, probability } of found.rows) {
      expect(suspicion).toBeGreaterThanOrEqual(0);
      expect(suspicion).toBeLessThanOrEqual(1);
      expect(probability).toBeGreaterThan(0.24);
    }
    await saveAudit(found, path("model"));
    steps.length = 0;
    expect(ranking(await audit(options({ onEvent: count })))).toEqual(ranking(found));
    expect(steps).toEqual([]);
    // Undisturbed, and by the language model alone whatever weight of the companion its recipe has.
    const mixed = writeRecipe(path("mixed.yaml"), {
      ...toy,
      train: { ...toy.train, epochs: 1 },
      decode: { companion: 0.9 },
    });
    expect(ranking(await audit(options({ source: mixed, run: path("undisturbed") })))).toEqual(ranking(found));
  });

  it("does not mix its folds with those of other rows", async () => {
    await expect(audit(options({ plant: 0.1 }))).rejects.toThrow("was begun with other training rows");
    await expect(audit(options({ folds: 3 }))).rejects.toThrow("another number of folds (2, now 3)");
  });
});
