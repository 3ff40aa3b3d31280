import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { saveLora } from "../../src/adapters/lora-files.ts";
import { attachLora, loraWeights } from "../../src/adapters/lora-weights.ts";
import { createRandom } from "../../src/base/random.ts";
import { openReference } from "../../src/compute/reference/backend.ts";
import { openCheckpoint } from "../../src/models/checkpoint.ts";
import { loadDecoder } from "../../src/models/load.ts";
import { writeToyBase, writeToyLora } from "../toy-runs.ts";
import { buildCli, cre, jsonl, temporaryFolder, toyRows, writeToyData } from "./support.ts";

// Adapters that were made elsewhere, from outside.

const temporary = temporaryFolder("cli-adapter");
const file = (...names: string[]) => join(temporary.path, ...names);
const ADAPTER = () => ["--adapter", file("adapter"), "--base", file("base"), "--recipe", file("recipe.yaml")];

beforeAll(async () => {
  await buildCli();
  await writeToyBase(file("base"));
  writeToyData(file("data"));
  writeToyLora(file("recipe.yaml"), file("data"), file("base"), { decode: { companion: "none" } });
  const backend = openReference({ precision: "float32" });
  const { source, ...checkpoint } = await openCheckpoint(file("base"));
  const model = await loadDecoder(backend, { source, ...checkpoint }, { storage: "float32", trainable: false });
  await source.close();
  const settings = { rank: 3, alpha: 6, dropout: 0, targets: ["q_proj", "v_proj"] };
  attachLora(model, settings, 1);
  const random = createRandom(2);
  for (const weight of loraWeights(model)) {
    const values = Float32Array.from({ length: weight.rows * weight.columns }, () => 0.2 * random.normal());
    backend.writeWeight(weight, values);
  }
  await saveLora(model, settings, file("adapter"), "org/base");
  await backend.close();
  writeFileSync(file("rows.jsonl"), jsonl(toyRows(3, 9)));
}, 300_000);
afterAll(() => temporary.remove());

describe("an adapter made elsewhere", () => {
  it("is evaluated and extracts, and its folder stays as it is", async () => {
    const before = readdirSync(file("adapter")).sort();
    const evaluated = await cre(["evaluate", ...ADAPTER(), "--json", "-", "--report", file("report")]);
    expect(evaluated.code, evaluated.stderr).toBe(0);
    expect(readdirSync(file("report")).sort()).toEqual(["metrics.json", "report.html"]);
    expect(JSON.parse(readFileSync(file("report", "metrics.json"), "utf8"))).toEqual(JSON.parse(evaluated.stdout));
    expect(readFileSync(file("report", "report.html"), "utf8")).toContain("on data, test");
    expect(JSON.parse(evaluated.stdout)).toMatchObject({ data: "data", split: "test", counts: { rows: 8 } });
    const extract = ["extract", ...ADAPTER(), "--labels", file("data", "labels.json"), file("rows.jsonl")];
    const printed = await cre(extract);
    expect(printed.code, printed.stderr).toBe(0);
    expect(printed.stdout.trim().split("\n")).toHaveLength(3);
    const written = await cre([...extract, "--output", file("out.jsonl")]);
    expect(written.code, written.stderr).toBe(0);
    expect(readFileSync(file("out.jsonl"), "utf8")).toBe(printed.stdout);
    expect(readdirSync(file("adapter")).sort()).toEqual(before);
  });

  it("is exported, and trained further in a run of its own", async () => {
    const base = ["--base-name", "org/base"];
    const exported = await cre(["export", ...ADAPTER(), "--to", "peft", ...base, "--output", file("peft")]);
    expect(exported.code, exported.stderr).toBe(0);
    expect(readFileSync(file("peft", "README.md"), "utf8")).toContain("An adapter for relation extraction on org/base");
    const train = ["train", file("recipe.yaml"), "--adapter", file("adapter"), "--run", file("run")];
    const trained = await cre([...train, "--set", "train.epochs=0.5"]);
    expect(trained.code, trained.stderr).toBe(0);
    expect(readFileSync(file("run", "recipe.yaml"), "utf8")).toContain(`start: ${file("adapter")}`);
    const again = await cre(["export", file("run"), "--to", "hf-peft", "--output", file("again")]);
    expect(again.code, again.stderr).toBe(0);
    for (const name of ["README.md", "adapter_config.json"]) {
      expect(readFileSync(file("again", name), "utf8")).not.toContain(temporary.path);
    }
    const config = JSON.parse(readFileSync(file("run", "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ r: 3, lora_alpha: 6, target_modules: ["q_proj", "v_proj"] });
  });

  it("is refused in one line, and so are options without it", async () => {
    mkdirSync(file("other"));
    for (const name of readdirSync(file("adapter"))) cpSync(file("adapter", name), file("other", name));
    const config = JSON.parse(readFileSync(file("adapter", "adapter_config.json"), "utf8"));
    writeFileSync(file("other", "adapter_config.json"), JSON.stringify({ ...config, use_qalora: true }));
    const mistakes: [string[], string][] = [
      [
        ["evaluate", "--adapter", file("other"), "--base", file("base"), "--data", file("data")],
        '"use_qalora" is true',
      ],
      [["evaluate", "--adapter", file("adapter"), "--data", file("data")], "needs the folder of its base model"],
      [["extract", "--adapter", file("adapter"), "--base", file("base"), file("rows.jsonl")], "--labels FILE"],
      [["export", "--adapter", file("adapter"), "--base", file("base"), "--to", "merged"], "needs --output DIR"],
      [["export", file("run"), "--to", "merged", "--base-name", "x"], "--base-name does not go with --to merged"],
      [["evaluate", file("run"), "--labels", "x"], "--labels goes with --adapter or --endpoint only"],
      [["evaluate", file("run"), "--report", file("x")], "--report goes with --adapter or --endpoint"],
      [["evaluate", ...ADAPTER(), "--report", file("adapter")], "is read by this command"],
      [["evaluate", ...ADAPTER(), "--report", file("run")], "is a run, whose own report would be written over"],
      [["export", ...ADAPTER(), "--to", "hf", "--output", file("x"), "--base-name", "x"], "does not go with --to hf"],
      [["evaluate", file("run"), ...ADAPTER()], "expected one of them"],
    ];
    for (const [command, message] of mistakes) {
      const { code, stderr } = await cre(command);
      expect(code, command.join(" ")).toBe(1);
      expect(stderr.split("\n")[0]).toContain(message);
    }
    expect(existsSync(file("merged"))).toBe(false);
  });
});
