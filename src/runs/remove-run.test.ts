import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { removeRun } from "./remove-run.ts";
import { holdRun, runFolder } from "./run-folder.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cre-remove-"));
  for (const name of MADE) put(name);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const MADE = [
  ...["recipe.yaml", "base.json", "labels.json", "log.jsonl", "metrics.json", "report.html", "done.json", "demo.json"],
  ...["adapter_config.json", "adapter_model.safetensors", "checkpoints/state.safetensors", "model/tokenizer.model"],
  ...["export/merged/model.safetensors", "checkpoints/state.safetensors.0a1b2c3d.part"],
  ...["export/hf/chat_template.jinja", "export/hf/SERVING.md", "export/gguf/Modelfile", "export/peft/README.md"],
  ...[
    "engine.json",
    "hand-over/hand-over.json",
    "hand-over/rows.jsonl",
    "hand-over/examples.jsonl",
    "hand-over/train.py",
  ],
  ...["hand-over/steps.jsonl", "hand-over/axolotl.yaml", "hand-over/requirements.txt", "hand-over/trainer.log"],
  ...["hand-over/recipe.yaml", "hand-over/base/model.safetensors", "hand-over/base/tokenizer.json"],
  ...["hand-over/adapter/adapter_config.json", "hand-over/adapter/adapter_model.safetensors"],
  ...["hand-over/out/log.jsonl", "hand-over/out/state.safetensors.previous", "hand-over/out/train.lock"],
  ...["hand-over/out/kept/step-00000020/adapter_model.safetensors", "hand-over/out/result.json"],
  ...["test-looks.jsonl", "predictions/test-0a1b2c3d.jsonl", "predictions/test-0a1b2c3d.json"],
];

function put(name: string): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), "x");
}
const names = () => readdirSync(folder, { recursive: true, encoding: "utf8" });

describe("removeRun", () => {
  it("empties a folder that has only files of a run", async () => {
    await removeRun(folder, ["demo.json"]);
    expect(names()).toEqual([]);
  });

  it.each([
    "hand-over/notes.md",
    "hand-over/out/best/model.safetensors",
    "notes.txt",
    "model/notes.txt",
    "notes/recipe.yaml",
    "export/thesis.json",
  ])("removes nothing when there is %s", async (name) => {
    put(name);
    const before = names();
    await expect(removeRun(folder, ["demo.json"])).rejects.toThrow(`since ${name} in it was not made by this program`);
    expect(names()).toEqual(before);
  });

  it("removes nothing behind a link", async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), "cre-elsewhere-"));
    writeFileSync(join(elsewhere, "model.safetensors"), "x");
    symlinkSync(elsewhere, join(folder, "export", "linked"));
    await expect(removeRun(folder, ["demo.json"])).rejects.toThrow("since export/linked in it");
    expect(existsSync(join(elsewhere, "model.safetensors"))).toBe(true);
    rmSync(elsewhere, { recursive: true });
  });

  it("removes nothing of a run that a process works in", async () => {
    const release = await holdRun(runFolder(folder));
    await expect(removeRun(folder, ["demo.json"])).rejects.toThrow(`${folder} is in use`);
    await release();
    expect(existsSync(join(folder, "recipe.yaml"))).toBe(true);
  });
});
