import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";

// The peers of bench/compare.mjs are not installed where the tests run: what can be checked without them is their options.
const BENCH = join(import.meta.dirname, "..", "bench");
// Scripts, without types of their own.
const { contenderLines, quartiles, ratioLines } = await import(pathToFileURL(join(BENCH, "compare", "table.mjs")).href);
const PYTHON = "python3";
const hasPython = spawnSync(PYTHON, ["--version"]).status === 0;
if (!hasPython) console.warn("compare-bench.test.ts: skipped the peers in Python, no python3");

function ended(program: string, ...options: string[]) {
  const { status, stdout, stderr } = spawnSync(program, options, { encoding: "utf8", timeout: 60_000 });
  return { status, stdout, stderr };
}

describe.skipIf(!hasPython)("the peers in Python", () => {
  it.each([
    ["hf_generate.py", "--dtype", "float64"],
    ["peft_trainer.py", "--dtype", "float64"],
    ["torch_step.py", "--mode", "float64"],
    ["compare_train_step.py", "--modes", "float64"],
  ])("%s parses its options", (script, option, wrong) => {
    const file = join(BENCH, "peers", script);
    expect(ended(PYTHON, file, "--help")).toMatchObject({ status: 0, stderr: "" });
    expect(ended(PYTHON, file, "--help").stdout).toContain(option);
    const refused = ended(PYTHON, file, option, wrong);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toMatch(/float64/);
    expect(ended(PYTHON, file, "--threads", "0").stderr).toMatch(/0 is not a whole number from 1/);
  });

  it("torch_step.py has a float32 mode", () => {
    expect(ended(PYTHON, join(BENCH, "peers", "torch_step.py"), "--help").stdout).toMatch(/sdpa-float32/);
  });
});

describe("bench/compare.mjs", () => {
  const compare = (...options: string[]) => ended(process.execPath, join(BENCH, "compare.mjs"), ...options);

  it("lists its contenders, and what is not installed", () => {
    const { status, stdout, stderr } = compare("--list", "--python", "no-such-python", "--llama-cpp", "no-such-folder");
    expect([status, stderr]).toEqual([0, ""]);
    const lines = stdout.trimEnd().split("\n");
    expect(lines.map((line) => line.split(/\s/)[0])).toEqual([
      ...["cre-labels", "cre-generate", "cre-marked", "cre-marked-int8", "hf-float32", "hf-bfloat16"],
      ...["llama-cpp-F16", "llama-cpp-Q8_0", "llama-cpp-Q8_0-8"],
      ...["cre-train-paper", "cre-train-marked", "peft-float32", "peft-bfloat16"],
    ]);
    expect(lines.filter((line) => line.includes("no-such-python is not there"))).toHaveLength(4);
    expect(lines.filter((line) => line.includes("no-such-folder has no node-llama-cpp"))).toHaveLength(3);
  });

  it.each([
    [["--turns", "0"], '--turns is "0", expected a whole number from 1.'],
    [["--only", "cre-labels,hf"], '--only names "hf", expected some of cre-labels'],
    [["--only", "cre-labels"], "--data is missing"],
    [["--rounds", "3"], "Unknown option '--rounds'"],
    [["--data", ".", "--only", "hf-float32", "--python", "no-such-python"], "none of the contenders is installed."],
  ])("refuses %j in one line", (options, message) => {
    const { status, stderr } = compare(...options);
    expect(status).toBe(1);
    expect(stderr.trimEnd().split("\n").at(-1)).toContain(`error: ${message}`);
  });

  it("the processes of its own and of llama.cpp refuse what is missing", () => {
    const own = join(BENCH, "compare", "ours.mjs");
    expect(ended(process.execPath, own)).toMatchObject({ status: 1, stderr: "error: --work is missing.\n" });
    const llama = join(BENCH, "peers", "llama_cpp.mjs");
    const given = ["--work", "work.json", "--model", "model-F16.gguf", "--package", "no-such-folder"];
    expect(ended(process.execPath, llama, "--work", "w").stderr).toBe("error: --model is missing.\n");
    expect(ended(process.execPath, llama, ...given).stderr).toMatch(
      /no-such-folder: has no node_modules\/node-llama-cpp/,
    );
    expect(ended(process.execPath, llama, ...given, "--sequences", "x").stderr).toMatch(/--sequences is "x", expected/);
  });

  it("takes ratios within turns, and counts equal labels", () => {
    expect(quartiles([4, 1, 3, 2])).toEqual([1.75, 2.5, 3.25]);
    const turn = (seconds: number) => ({ rows: 10, seconds, processorSeconds: 2 * seconds, peakResidentBytes: 5e6 });
    const common = { task: "extraction", failed: null, ready: { precision: "float32" } };
    const own = {
      ...common,
      name: "cre",
      isOurs: true,
      isReference: false,
      labels: ["a", "b"],
      turns: [1, 2, 4].map(turn),
    };
    const peer = {
      ...common,
      name: "hf",
      isOurs: false,
      isReference: true,
      labels: ["a", "c"],
      turns: [3, 8, 16].map(turn),
    };
    const broken = {
      ...common,
      name: "broken",
      isOurs: false,
      isReference: false,
      labels: null,
      failed: "why",
      turns: [],
    };
    expect(contenderLines([own, peer, broken])).toEqual([
      "| contender | task | precision | rows/s | quartiles | rows a processor second | tokens computed a row | peak memory | labels as hf |",
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
      "| cre | extraction | float32 | 5.0 | 3.8 – 7.5 | 2.5 |  | 5 MB | 50.0 % |",
      "| hf | extraction | float32 | 1.3 | 0.9 – 2.3 | 0.6 |  | 5 MB | 100.0 % |",
      "| broken | extraction | – | – | – | – | – | – | failed: why |",
    ]);
    expect(ratioLines([own, peer, broken])).toEqual([
      "| ratio of rows/s, within turns | median | quartiles | by processor time | quartiles |",
      "| --- | --- | --- | --- | --- |",
      "| cre ÷ hf | 4.00× | 3.50 – 4.00 | 4.00× | 3.50 – 4.00 |",
    ]);
  });
});
