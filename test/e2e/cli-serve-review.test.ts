import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { doccano } from "../../src/data/formats/doccano.ts";
import { labelStudio } from "../../src/data/formats/label-studio.ts";
import type { LabelledFormat } from "../../src/data/formats/labelled.ts";
import { writeToyBase, writeToyLora } from "../toy-runs.ts";
import { type Serving, serving } from "./serving.ts";
import { buildCli, cre, temporaryFolder, toyRows, writeToyData } from "./support.ts";

// cre serve --work: corrections, their export, and retraining, over kill -9.

const temporary = temporaryFolder("cli-serve-review");
const file = (name: string) => `${temporary.path}/${name}`;
let server: Serving;
const start = async (...options: string[]) => {
  server = await serving([file("toy"), "--work", file("work"), ...options]);
};
const json = async (response: Response) => (await response.json()) as Record<string, never>;
const rows = toyRows(6, 21);

beforeAll(async () => {
  await buildCli();
  const recipe = writeToyLora(file("toy.yaml"), writeToyData(file("data")), await writeToyBase(file("base")));
  const trained = await cre(["train", recipe, "--run", file("toy")]);
  expect(trained.code, trained.stderr).toBe(0);
  await start();
}, 240_000);
afterAll(async () => {
  await server?.end();
  temporary.remove();
});

describe("corrections", () => {
  it("are on the disk when the answer comes, with the model's answer, over kill -9", async () => {
    const [one, two, three, four] = rows.map(({ sentence, head, tail }) => ({ sentence, head, tail }));
    const model = { fingerprint: "f", predictions: [{ relation: "合作", probability: 0.7 }] };
    const added = await json(
      await server.post("/v1/labelled", {
        rows: [
          { ...one, verdict: "confirmed", relations: ["收购"], model },
          { ...two, verdict: "corrected", relations: ["被收购"] },
          { ...three, verdict: "rejected" },
          { ...four, verdict: "added", relations: ["合作"], id: "mine" },
        ],
      }),
    );
    expect(added.rows).toEqual([
      expect.objectContaining({ ...one, relations: ["收购"], verdict: "confirmed", model, run: "toy" }),
      expect.objectContaining({ relations: ["被收购"], model: null }),
      expect.objectContaining({ verdict: "rejected", relations: ["unknown"] }),
      expect.objectContaining({ id: "mine", verdict: "added" }),
    ]);
    await server.end("SIGKILL");
    // What a crash leaves of a row that was not confirmed.
    appendFileSync(file("work/labelled.jsonl"), '{"id":"half","sentence":"远');
    await start();
    const changed = { ...four, verdict: "added", relations: ["收购"], id: "mine" };
    await server.post("/v1/labelled", { rows: [changed] });
    const removed = (added.rows as unknown as { id: string }[])[2].id;
    expect((await fetch(`${server.url}/v1/labelled/${removed}`, { method: "DELETE" })).status).toBe(200);
    expect((await fetch(`${server.url}/v1/labelled/${removed}`, { method: "DELETE" })).status).toBe(404);
    const kept = await json(await server.get("/v1/labelled"));
    expect(kept.counts).toEqual({ confirmed: 1, corrected: 1, rejected: 0, added: 1 });
    expect((kept.rows as unknown as object[]).map((row) => (row as { relations: string[] }).relations)).toEqual([
      ["收购"],
      ["被收购"],
      ["收购"],
    ]);
    const sentences = [one.sentence, three.sentence, "无。"];
    const ofSentences = await json(await server.post("/v1/labelled/of-sentences", { sentences }));
    expect(ofSentences.rows).toEqual([expect.objectContaining({ ...one, verdict: "confirmed", relations: ["收购"] })]);
    expect((await server.post("/v1/labelled/of-sentences", { sentences: [] })).status).toBe(400);
    const wrong = await server.post("/v1/labelled", { rows: [{ ...one, verdict: "corrected", relations: ["收够"] }] });
    expect([wrong.status, (await json(wrong)).detail]).toEqual([422, expect.stringContaining('did you mean "收购"?')]);
    const other = await cre(["serve", file("toy"), "--work", file("work"), "--port", "0"]);
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining("is in use")]);
  });

  it("lose none that was confirmed when the server is killed while they come", async () => {
    const confirmed: string[] = [];
    const send = async (from: number) => {
      for (let i = from; ; i += 4) {
        const { sentence, head, tail } = rows[5];
        const row = { sentence: `第${i}条：${sentence}`, head, tail, verdict: "confirmed", relations: ["收购"] };
        const response = await server.post("/v1/labelled", { rows: [{ ...row, id: `k${i}` }] }).catch(() => null);
        if (response?.status !== 200) return;
        confirmed.push(`k${i}`);
      }
    };
    const sending = Promise.all([0, 1, 2, 3].map(send));
    while (confirmed.length < 40) await sleep(5);
    await server.end("SIGKILL");
    await sending;
    await start();
    const kept = (await json(await server.get("/v1/labelled"))).rows as unknown as { id: string }[];
    const ids = new Set(kept.map(({ id }) => id));
    expect(confirmed.filter((id) => !ids.has(id))).toEqual([]);
    for (const id of ids) if (/^k\d/.test(id)) await fetch(`${server.url}/v1/labelled/${id}`, { method: "DELETE" });
  });

  it("are exported as the readers of both programs read them", async () => {
    const read = async (format: LabelledFormat, name: string) => {
      writeFileSync(file(name), await (await server.get(`/v1/labelled/export/${name.split(".")[0]}`)).text());
      const texts = [];
      for await (const row of format.read(file(name))) {
        expect(row.problems).toEqual([]);
        texts.push(...row.texts);
      }
      return texts.map(({ text, mentions, relations }) =>
        relations.map(({ head, tail, label }) => [
          ...[text, text.slice(mentions[head].start, mentions[head].end), label],
          text.slice(mentions[tail].start, mentions[tail].end),
        ]),
      );
    };
    const expected = [
      [[rows[0].sentence, rows[0].head, "收购", rows[0].tail]],
      [[rows[1].sentence, rows[1].head, "被收购", rows[1].tail]],
      [[rows[3].sentence, rows[3].head, "收购", rows[3].tail]],
    ];
    expect(await read(labelStudio, "label-studio.json")).toEqual(expected);
    expect(await read(doccano, "doccano.jsonl")).toEqual(expected);
    expect((await (await server.get("/v1/labelled/export/jsonl")).text()).trimEnd().split("\n")).toHaveLength(3);
    expect((await server.get("/v1/labelled/export/brat")).status).toBe(400);
  });

  it("come in the order of uncertainty, and are counted beside the data", async () => {
    const examples = rows.map(({ id, sentence, head, tail }) => ({ id, sentence, head, tail }));
    const { rows: ordered } = await json(
      await server.post("/v1/uncertain", { examples: [...examples, { sentence: "甲", head: "乙", tail: "甲" }] }),
    );
    const margins = (ordered as unknown as { margin: number | null; index: number }[]).map(({ margin }) => margin);
    expect(margins.at(-1)).toBeNull();
    expect(margins.slice(0, -1)).toEqual(margins.slice(0, -1).toSorted((a, b) => (a as number) - (b as number)));
    const { datasets, labelled } = await json(await server.get("/v1/datasets"));
    expect(datasets).toEqual([
      {
        run: "toy",
        data: "data",
        splits: expect.objectContaining({
          train: expect.objectContaining({
            ...{ rows: 16, badRows: 0, sentences: 16, noRelationOnly: 4, multiRelation: 0 },
            labels: { 收购: 4, 被收购: 4, 合作: 4, unknown: 4 },
          }),
        }),
      },
    ]);
    expect(labelled).toEqual({ rows: 3, labels: { 收购: 2, 被收购: 1 } });
    const [{ splits }] = datasets as unknown as {
      splits: Record<string, { lengths: { mean: number; max: number; bars: { from: number; rows: number }[] } }>;
    }[];
    const { lengths } = splits.train;
    expect(lengths.bars.reduce((sum, bar) => sum + bar.rows, 0)).toBe(16);
    expect(lengths.max).toBeGreaterThanOrEqual(lengths.mean);
  });

  it("are wanted of rows of the data and of the pairs of a text, without those that are judged", async () => {
    const page = await json(
      await server.get("/v1/datasets/toy/rows?split=train&label=%E5%90%88%E4%BD%9C&limit=3&offset=1"),
    );
    const shown = page.rows as unknown as { row: number; sentence: string; head: string; tail: string }[];
    expect([page.total, shown.length, shown[0]]).toEqual([4, 3, expect.objectContaining({ relations: ["合作"] })]);
    expect((await server.get("/v1/datasets/toy/rows?split=dev")).status).toBe(400);
    const ask = { rows: { split: "train", limit: 10 }, skipJudged: true };
    const { rows: ordered } = await json(await server.post("/v1/uncertain", ask));
    const first = (ordered as unknown as { row: number; sentence: string; head: string; tail: string }[])[0];
    expect([(ordered as unknown as object[]).length, first]).toEqual([
      10,
      expect.objectContaining({ relations: [expect.any(String)], predictions: [expect.anything()] }),
    ]);
    const { sentence, head, tail } = first;
    const own = { sentence, head, tail, verdict: "rejected", id: "judged" };
    expect((await server.post("/v1/labelled", { rows: [own] })).status).toBe(200);
    const again = (await json(await server.post("/v1/uncertain", ask))).rows as unknown as { row: number }[];
    expect([again.length, again.some(({ row }) => row === first.row)]).toEqual([9, false]);
    await fetch(`${server.url}/v1/labelled/judged`, { method: "DELETE" });
    const text = "远山收购近水的股份。东风与西岭合作。";
    const entities = ["远山", "近水", "东风", "西岭"].map((name) => ({ name }));
    const ofText = (await json(await server.post("/v1/uncertain", { text, entities }))).rows as unknown as object[];
    expect(ofText.length).toBeGreaterThanOrEqual(2);
    expect(ofText[0]).toMatchObject({ margin: expect.any(Number), headSpan: { start: expect.any(Number) } });
    expect((await json(await server.post("/v1/uncertain", { text, entities, limit: 1 }))).rows).toEqual([ofText[0]]);
    expect((await server.post("/v1/uncertain", { text, examples: rows.slice(0, 1) })).status).toBe(400);
  });
});

describe("retraining", () => {
  const waitFor = async (isThere: (state: Record<string, never>) => boolean): Promise<Record<string, never>> => {
    for (;;) {
      const state = await json(await server.get("/v1/retrain/1"));
      if (isThere(state)) return state;
      expect(state.state, JSON.stringify(state)).not.toBe("failed");
      await sleep(50);
    }
  };

  it("learns the data with the corrections, survives kill -9, is compared and served", async () => {
    const started = await json(await server.post("/v1/retrain", { epochs: 4 }));
    expect(started).toMatchObject({
      id: "1",
      run: "toy",
      state: "running",
      counts: { train: 19, added: 3, replaced: 0, heldOut: 0 },
    });
    expect(JSON.stringify(started)).not.toContain(temporary.path);
    expect((await server.post("/v1/retrain", {})).status).toBe(409);
    expect((await server.post("/v1/retrain/1/compare", {})).status).toBe(409);
    expect((await server.get("/v1/retrain/../x")).status).toBe(404);
    await waitFor(({ steps }) => (steps as unknown as object[]).length > 0);
    // What is said while a training runs is not learned by it, and is kept over the crash too.
    const { sentence, head, tail } = rows[4];
    const late = { sentence, head, tail, verdict: "rejected", id: "late" };
    expect((await server.post("/v1/labelled", { rows: [late] })).status).toBe(200);
    await server.end("SIGKILL");
    await start();
    const kept = (await json(await server.get("/v1/labelled"))).rows as unknown as { id: string }[];
    expect([kept.length, kept.at(-1)?.id]).toEqual([4, "late"]);
    await fetch(`${server.url}/v1/labelled/late`, { method: "DELETE" });
    const done = await waitFor(({ state }) => (state as unknown) === "finished");
    // 19 rows in batches of 4, four times, each step once.
    const numbers = Array.from({ length: 20 }, (_, i) => i + 1);
    expect((done.steps as unknown as { step: number }[]).map(({ step }) => step)).toEqual(numbers);
    expect((done.validations as unknown as object[])[0]).toMatchObject({ epoch: 0.6, microF1: expect.any(Number) });
    expect([done.epochs, done.progress, Date.parse(done.finishedAt) > 0]).toEqual([4, { step: 20, epoch: 4 }, true]);
    expect((await server.post("/v1/retrain/1/compare", {})).status).toBe(200);
    const { comparison } = await waitFor((state) => state.comparison !== null);
    expect(comparison, JSON.stringify(comparison)).toMatchObject({ split: "test", changed: expect.any(Array) });
    expect(JSON.stringify(comparison)).not.toContain(temporary.path);
    const before = (await json(await server.get("/v1/runs"))).runs as unknown as { fingerprint: string }[];
    expect((await server.post("/v1/retrain/1/switch", {})).status).toBe(200);
    const after = (await json(await server.get("/v1/runs"))).runs as unknown as { fingerprint: string; name: string }[];
    expect([after.length, after[0].name, after[0].fingerprint !== before[0].fingerprint]).toEqual([1, "toy", true]);
    const { results } = await json(
      await server.post("/v1/extract", {
        examples: [rows[0]].map(({ sentence, head, tail }) => ({ sentence, head, tail })),
      }),
    );
    expect((results as unknown as { predictions: object[] }[])[0].predictions).toHaveLength(1);
    expect(existsSync(file("work/retrain/1/data/train.jsonl"))).toBe(true);
    const served = async () => {
      const { runs } = (await (await server.get("/v1/runs")).json()) as { runs: Record<string, unknown>[] };
      const [{ fingerprint, retraining, evaluation, hasReport }] = runs;
      return { fingerprint, retraining, evaluation, hasReport };
    };
    const switched = await served();
    const evaluation = { rows: 8, f1: { micro: expect.any(Number) }, references: expect.any(Array) };
    expect(switched).toMatchObject({ retraining: "1", hasReport: true, evaluation });
    // The switch holds over a crash, is taken back by a request, and forgotten by an option.
    await server.end("SIGKILL");
    await start();
    expect(await served()).toEqual(switched);
    expect(server.stderr()).toContain("since a switch");
    expect((await fetch(`${server.url}/v1/runs/toy/switch`, { method: "DELETE" })).status).toBe(200);
    expect(await served()).toMatchObject({ fingerprint: before[0].fingerprint, retraining: null });
    expect((await fetch(`${server.url}/v1/runs/toy/switch`, { method: "DELETE" })).status).toBe(409);
    expect((await server.post("/v1/retrain/1/switch", {})).status).toBe(200);
    expect(await served()).toEqual(switched);
    await server.end();
    await start("--forget-switches");
    expect(await served()).toMatchObject({ fingerprint: before[0].fingerprint, retraining: null });
    expect(readFileSync(file("data/train.jsonl"), "utf8").trimEnd().split("\n")).toHaveLength(16);
  }, 240_000);

  it("can be cancelled, and is not resumed then", async () => {
    const { id } = await json(await server.post("/v1/retrain", { epochs: 100 }));
    const cancelled = await json(await server.post(`/v1/retrain/${id}/cancel`, {}));
    expect(cancelled.state).toBe("cancelled");
    expect((await server.post(`/v1/retrain/${id}/cancel`, {})).status).toBe(409);
    await server.end();
    await start();
    expect(server.stderr()).not.toContain("resuming");
    expect((await json(await server.get(`/v1/retrain/${id}`))).state).toBe("cancelled");
  });

  it("is not there without a folder for it", async () => {
    const plain = await serving([file("toy")]);
    const response = await plain.get("/v1/labelled");
    expect([response.status, (await json(response)).hint]).toEqual([404, "Start it with --work DIR."]);
    expect(await plain.end()).toBe(0);
  });
});
