import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeToyBase, writeToyLora } from "../toy-runs.ts";
import { buildCli, cre, ROOT, temporaryFolder, useBestBackend, writeToyData } from "./support.ts";

const folder = temporaryFolder("cli-torch");
const path = (...parts: string[]) => join(folder.path, ...parts);
const FAKE = join(ROOT, "test", "torch", "fake-trainer.mjs");
const launch = (mode: string) => `'${process.execPath}' "${FAKE}" ${mode}`;
let recipe = "";
useBestBackend();
beforeAll(async () => {
  await buildCli();
  recipe = writeToyLora(path("toy.yaml"), writeToyData(path("data")), await writeToyBase(path("base")));
}, 300_000);
afterAll(folder.remove);

describe("cre train --engine torch", () => {
  it("hands over, and makes the run of what came back", async () => {
    const run = path("dry");
    const first = await cre([
      "train",
      recipe,
      "--run",
      run,
      "--engine",
      "torch",
      "--dry-run",
      "--launch",
      launch("train"),
    ]);
    expect(first.stderr).toContain("16 training rows; 8 steps");
    expect(first.stderr).toContain(`--output ${join(run, "hand-over", "out")} --parallel ddp`);
    expect(first.code).toBe(0);
    const early = await cre(["train", "--collect", join(run, "hand-over")]);
    expect(early.stderr).toContain("has no result.json");
    expect(early.code).toBe(1);
    const script = join(run, "hand-over", "train.py");
    const trained = spawnSync(process.execPath, [
      FAKE,
      "train",
      script,
      join(run, "hand-over"),
      "--output",
      path("out"),
      "--parallel",
      "ddp",
    ]);
    expect(trained.status).toBe(0);
    const taken = await cre(["train", "--collect", path("out"), "--run", run]);
    expect(taken.stderr).toMatch(/validation after step 8: micro F1 \d/);
    expect(taken.stderr).toContain(`8 steps; best validation at step 2: ${run}`);
    expect(taken.code).toBe(0);
    const evaluated = await cre(["evaluate", run]);
    expect(evaluated.stdout).toContain("micro");
    expect(evaluated.code).toBe(0);
    expect((await cre(["train", "--resume", "--run", run])).stderr).toContain("training is finished already");
  }, 120_000);

  it("stops and resumes with the engine that the run was begun with", async () => {
    const run = path("stopped");
    const stopped = await cre(
      ["train", recipe, "--run", run, "--engine", "torch", "--parallel", "fsdp", "--launch", launch("stop")],
      { kill: { when: (stderr) => stderr.includes("2 processes (fsdp)"), signal: "SIGTERM" } },
    );
    expect(stopped.stderr).toContain("after step 1. Resume with: cre train --resume --run");
    expect(stopped.code).toBe(143);
    const rest = await cre(["train", "--resume", "--run", run]);
    expect(rest.stderr).toContain("resuming after step 1");
    expect(rest.code).toBe(0);
    expect(existsSync(join(run, "adapter_config.json"))).toBe(true);
    expect(readFileSync(join(run, "log.jsonl"), "utf8").match(/"kind":"step"/g)).toHaveLength(8);
  }, 120_000);

  it("says which options go together", async () => {
    const alone = await cre(["train", recipe, "--dry-run"]);
    expect(alone.stderr).toContain("--dry-run is for a training elsewhere: give --engine torch too.");
    const both = await cre(["train", recipe, "--engine", "torch", "--collect", "out"]);
    expect(both.stderr).toContain("--collect trains nothing: it does not go with --engine.");
    const missing = await cre(["train", recipe, "--run", path("x"), "--engine", "torch"], {
      env: { CRE_PYTHON: "no-such-python" },
    });
    expect(missing.stderr).toContain("--engine torch: no-such-python lacks");
    expect([alone.code, both.code, missing.code]).toEqual([1, 1, 1]);
  }, 120_000);
});

describe("cre doctor", () => {
  it("prints readable lines, or JSON", async () => {
    const lines = await cre(["doctor"]);
    expect(lines.stdout).toMatch(/^ok {4}node {10}v\d+\.\d+\.\d+ on \w+-\w+$/m);
    expect(lines.stdout).toMatch(/^(ok {4}|note {2})backend {7}(native|wasm|reference) \(/m);
    expect(lines.code).toBe(0);
    const { stdout } = await cre(["doctor", "--json"]);
    const doctor = JSON.parse(stdout);
    expect(doctor.node.version).toBe(process.version);
    expect(doctor.memory.availableBytes).toBeLessThanOrEqual(doctor.memory.totalBytes);
    expect(doctor.torch).toBe(null);
  }, 60_000);

  it("ends with 1 when an engine is asked for that cannot run", async () => {
    const { stdout, stderr, code } = await cre(["doctor", "--engine", "torch", "--json"], {
      env: { CRE_PYTHON: "no-such-python" },
    });
    expect(JSON.parse(stdout).torch.requirements).toContainEqual({
      name: "peft",
      pinned: "0.21.2",
      installed: null,
      isNeeded: true,
    });
    expect(stderr).toContain("The engine torch cannot run here: no-such-python: ");
    expect(code).toBe(1);
  }, 60_000);
});
