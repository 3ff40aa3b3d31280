import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { buildCli, cre, temporaryFolder, toyRecipe, writeRecipe } from "./support.ts";

// SpERT's JSON goes to a trained run and a graph with two commands. The set in spert/ is made up.

const temporary = temporaryFolder("spert");
const file = (name: string) => join(temporary.path, name);
const DATA = join(import.meta.dirname, "spert");
beforeAll(buildCli, 240_000);
afterAll(() => temporary.remove());

it("trains on SpERT's JSON and makes a graph of documents", async () => {
  // A small model, so that the test is short; a user leaves the recipe out.
  const { data: _, ...toy } = toyRecipe(DATA);
  const recipe = writeRecipe(file("toy.yaml"), { ...toy, train: { ...toy.train, epochs: 12, validateEvery: 6 } });
  const settings = ["--set", "data.format=spert", "--set", "train.negatives=1"];
  const trained = await cre(["train", recipe, "--data", DATA, ...settings, "--run", file("run")], {
    env: { CRE_BACKEND: "" },
  });
  expect(trained.code, trained.stderr).toBe(0);
  expect(trained.stderr).toContain(
    'its rows have 3 labels, "unknown" means no relation (train.negatives draws rows of it)',
  );
  expect(trained.stderr).toMatch(
    /train\.negatives: 39 of 116 pairs without a label in 39 training sentences are learnt as "unknown"/,
  );
  expect(JSON.parse(readFileSync(file("run/labels.json"), "utf8"))).toMatchObject({
    labels: ["收购", "任职", "合作", "unknown"],
    noRelation: "unknown",
  });
  writeFileSync(file("news.txt"), "远山集团收购了近水科技。王立新出任东风股份的董事长。");
  writeFileSync(file("names.csv"), "name,type\n远山集团,公司\n近水科技,公司\n东风股份,公司\n王立新,人物\n");
  const graph = await cre(
    ["extract", file("run"), file("news.txt"), "--entities", file("names.csv"), "--output", file("graph")],
    { env: { CRE_BACKEND: "" } },
  );
  expect(graph.code, graph.stderr).toBe(0);
  const triples = readFileSync(file("graph/triples.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const found = triples.map(({ head, relation, tail }) => `${head.text} ${relation} ${tail.text}`);
  expect(found).toContain("远山集团 收购 近水科技");
  expect(found).toContain("王立新 任职 东风股份");
});
