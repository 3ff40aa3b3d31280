import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT, temporaryFolder } from "../e2e/support.ts";
import { ended, installPackage } from "./installed.ts";

const MARK = "<!-- test:api-example -->";
const folder = temporaryFolder("tarball");
const inFolder = (...names: string[]) => join(folder.path, ...names);
const installed = (...names: string[]) => inFolder("node_modules", "cre-llm", ...names);

/** Runs a command in the temporary folder, on the reference backend. */
const run = (command: string, words: readonly string[]) =>
  ended(command, words, { cwd: folder.path, env: { CRE_BACKEND: "reference" } });

/** The code of README.md that follows the mark. */
function exampleOfReadme(): string {
  const text = readFileSync(join(ROOT, "README.md"), "utf8");
  const code = text.slice(text.indexOf(MARK)).match(/^<!--.*-->\s+```js\n([\s\S]*?)```/)?.[1];
  if (code === undefined) throw new Error(`README.md has no js block after ${MARK}.`);
  return code;
}

describe("the packed tarball, installed in an empty folder", () => {
  let problem: string | null = null;
  beforeAll(async () => {
    problem = await installPackage(folder.path);
    if (problem !== null) console.warn(`the tarball is not tested: its dependencies cannot be installed (${problem})`);
  }, 300_000);
  afterAll(() => folder.remove());

  it("has the files that its user needs, no tests and no source maps", (test) => {
    test.skip(problem !== null, problem ?? "");
    const needed = [
      "README.md",
      "LICENSE",
      "dist/index.d.ts",
      "native/binding",
      "models/base-zh",
      "recipes/demo.yaml",
      "dist/serve/page/index.html",
    ];
    // A bundler finds the kernels and their worker next to the code that names them.
    const ofBrowser = [
      "index.js",
      ...["kernels.wasm", "kernels-relaxed.wasm", "browser-worker.js"].map((name) => `../compute/wasm/${name}`),
    ];
    const paths = ofBrowser.map((name) => `dist/browser/${name}`);
    for (const name of [...needed, ...paths, "demo/train.jsonl", "demo/labels.json"]) {
      expect(existsSync(installed(name)), name).toBe(true);
    }
    const names = readdirSync(installed(), { recursive: true, encoding: "utf8" });
    expect(names.filter((name) => /\.(test|contract|map)\b|^(src|test|bench)\b/.test(name))).toEqual([]);
  });

  it("runs the example of README.md: trains on forty rows, extracts, prints", async (test) => {
    test.skip(problem !== null, problem ?? "");
    const code = exampleOfReadme();
    writeFileSync(inFolder("example.js"), code);
    const { code: exit, stdout, stderr } = await run(process.execPath, ["example.js"]);
    expect(exit, stderr).toBe(0);
    expect(stdout).toMatch(/^\[ \{ relation: '.+', probability: 0\.\d+ \} \]\n$/);
    const log = readFileSync(inFolder("runs", "first", "log.jsonl"), "utf8")
      .trimEnd()
      .split("\n");
    const losses = log.map((line) => JSON.parse(line).loss);
    // The defaults of few rows: 30 epochs of two steps, 32 rows and 8.
    expect(losses).toHaveLength(60);
    expect(losses.at(-1)).toBeLessThan(losses[0] / 2);
  }, 180_000);

  it("has complete types", async (test) => {
    test.skip(problem !== null, problem ?? "");
    const program = `
      import { type Extraction, openRun, RunStopped, score, train, UserError, type Run, type TrainingEvent } from "cre-llm";
      import { type Extractor, fetchedFolder, findNames, findRelations, openBrowserRun, openBrowserWasm } from "cre-llm/browser";
      const run: Run = await openRun("runs/first", { storage: "int8", decode: { method: "generate" } });
      const one: Extraction = await run.extract({ sentence: "甲在乙", head: "甲", tail: "乙" });
      const many: Extraction[] = await run.extract([{ sentence: "甲在乙", head: "甲", tail: "乙" }]);
      for await (const result of run.stream([])) if ("problem" in result) console.log(result.problem);
      const f1: number = (await run.evaluate({ split: "valid" })).metrics.conventions.micro.f1;
      const losses: number[] = [];
      const onEvent = (event: TrainingEvent) => void (event.kind === "step" && losses.push(event.loss));
      try {
        await train({ run: "r", recipe: "recipe.yaml", data: "data", signal: AbortSignal.timeout(1000), onEvent });
      } catch (error) {
        if (error instanceof RunStopped) console.log(error.step, error.signal);
        if (error instanceof UserError) console.log(error.message, error.hint);
      }
      console.log(one, many, f1, (await score("found.jsonl", { gold: "demo" })).matching.missing);
      const found: number[] = [];
      const extractor: Extractor = await openBrowserRun({
        run: fetchedFolder("/run/", { files: { "recipe.yaml": 1 } }),
        model: fetchedFolder("/model/", { files: {} }),
        backend: await openBrowserWasm({ threads: 0 }),
      });
      for await (const { relations } of findRelations(extractor, "甲在乙。", findNames("甲在乙。", ["甲", "乙"])))
        for (const { probability } of relations) found.push(probability);
      // @ts-expect-error: no such method
      await run.extracts([]);
    `;
    writeFileSync(inFolder("types.ts"), program);
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const types = ["--typeRoots", join(ROOT, "node_modules", "@types"), "--types", "node"];
    const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", ...types];
    const { code, stdout } = await run(process.execPath, [tsc, ...options, "types.ts"]);
    expect(code, stdout).toBe(0);
  }, 180_000);

  it("does not let a program import its inner files", async (test) => {
    test.skip(problem !== null, problem ?? "");
    const inner = await run(process.execPath, ["--input-type=module", "-e", `await import("cre-llm/dist/cli.js")`]);
    expect(inner.code).toBe(1);
    expect(inner.stderr).toContain("ERR_PACKAGE_PATH_NOT_EXPORTED");
    const version = `import p from "cre-llm/package.json" with { type: "json" }; console.log(p.name)`;
    const own = await run(process.execPath, ["--no-warnings", "--input-type=module", "-e", version]);
    expect(own.stdout, own.stderr).toBe("cre-llm\n");
  });
});
