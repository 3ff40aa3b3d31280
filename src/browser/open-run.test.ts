import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { temporaryFolder } from "../../test/e2e/support.ts";
import { filesUnder, ROOT } from "../../test/source-tree.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openWasm } from "../compute/wasm/open.ts";
import type { Example } from "../data/example.ts";
import { openTrained } from "../runs/open.ts";
import { openBrowserRun } from "./open-run.ts";

const RUN = join(ROOT, "docs", "demo", "run");
const MODEL = join(ROOT, "models", "base-zh");
const EXAMPLES: Example[] = readFileSync(join(ROOT, "demo", "fresh.jsonl"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));

const folder = temporaryFolder("browser-run");
afterAll(() => folder.remove());

/** A copy of the run, changed. */
function changedRun(name: string, change: (directory: string) => void): string {
  const directory = join(folder.path, name);
  cpSync(RUN, directory, { recursive: true });
  change(directory);
  return directory;
}

const replaceIn = (file: string, from: string, to: string) => {
  const text = readFileSync(file, "utf8");
  expect(text).toContain(from);
  writeFileSync(file, text.replace(from, to));
};

/** The message when a run is opened; the reference backend is never reached by a pass. */
async function problemOf(run: string, model = MODEL): Promise<string> {
  const backend = openReference();
  try {
    await openBrowserRun({ run: nodeFolder(run), model: nodeFolder(model), backend });
    return "none";
  } catch (error) {
    return (error as Error).message;
  } finally {
    await backend.close();
  }
}

describe("the demonstration's run as a browser opens it", () => {
  it("answers as on Node", async () => {
    vi.stubEnv("CRE_BACKEND", "wasm");
    const run = await openTrained(RUN);
    const wanted = await run.extractor.extract(EXAMPLES);
    await run.close();
    vi.unstubAllEnvs();
    const backend = openWasm({ isAlone: true });
    const steps: number[] = [];
    const extractor = await openBrowserRun({
      run: nodeFolder(RUN),
      model: nodeFolder(MODEL),
      backend,
      onLoad: (done) => steps.push(done),
    });
    const found = await extractor.extract(EXAMPLES);
    await backend.close();
    expect(found.map(({ predictions }) => predictions[0].relation)).toEqual(
      wanted.map(({ predictions }) => predictions[0].relation),
    );
    for (const [i, { probabilities }] of found.entries()) {
      for (const [j, probability] of probabilities.entries()) {
        expect(probability, `example ${i}, label ${j}`).toBeCloseTo(wanted[i].probabilities[j], 5);
      }
    }
    expect(steps.length).toBeGreaterThan(50);
    expect(extractor.settings).toEqual(run.extractor.settings);
  });

  it("is small enough to be kept here", () => {
    const bytes = filesUnder("docs/demo/run").map((file) => readFileSync(join(ROOT, file)).length);
    expect(bytes.reduce((sum, one) => sum + one, 0)).toBeLessThan(4e6);
  });
});

describe("a run that cannot be opened", () => {
  it("names a damaged file", async () => {
    const run = changedRun("damaged", (directory) => replaceIn(join(directory, "labels.json"), "收购", "收買"));
    expect(await problemOf(run)).toMatch(/labels\.json: is damaged or was changed/);
  });

  it("names a method that browsers do not have, and a recipe that is none", async () => {
    const other = changedRun("prefix", (directory) =>
      replaceIn(join(directory, "recipe.yaml"), "method: lora", "method: prefix"),
    );
    expect(await problemOf(other)).toMatch(/adapter\.method is prefix, expected one of lora, dora, full, freeze/);
    const broken = changedRun("recipe", (directory) => writeFileSync(join(directory, "recipe.yaml"), "- 1\n"));
    expect(await problemOf(broken)).toMatch(/is not a recipe, expected keys model, data, prompt, adapter, decode/);
    const wrong = changedRun("style", (directory) =>
      replaceIn(join(directory, "recipe.yaml"), "maxPromptTokens: 320", "maxPromptTokens: 0"),
    );
    expect(await problemOf(wrong)).toMatch(/prompt\.maxPromptTokens/);
  });

  it("names another base model, and an adapter that is missing", async () => {
    const run = changedRun("base", (directory) =>
      replaceIn(join(directory, "base.json"), '"model.embed_tokens.weight":"', '"model.embed_tokens.weight":"0'),
    );
    expect(await problemOf(run)).toMatch(/model\.embed_tokens\.weight" is damaged/);
    const bare = changedRun("bare", (directory) => rmSync(join(directory, "adapter_model.safetensors")));
    expect(await problemOf(bare)).toMatch(/has no adapter_model\.safetensors/);
  });
});
