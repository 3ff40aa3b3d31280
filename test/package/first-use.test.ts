import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { nativeStatus } from "../../src/compute/native/addon.ts";
import { nativeFolder } from "../../src/compute/native/levels.ts";
import { PREBUILT, packageOf } from "../../src/compute/native/prebuilt.ts";
import { ROOT, temporaryFolder, toyRecipe, writeToyData } from "../e2e/support.ts";
import { type Ended, ended, installPackage, npmInstall } from "./installed.ts";

// A fresh installation has no addons: the first command that computes builds them where a compiler is, and says what to install where none is.

const NOBODY = 65534;
const BUILDING = "Building the native backend";
const folder = temporaryFolder("first-use");
const file = (...names: string[]) => join(folder.path, ...names);
const packageFolder = () => file("node_modules", "cre-llm");
const isRoot = process.getuid?.() === 0;
const compiler = ["g++", "clang++", "c++"].find((name) => works(name, "--version"));
const VERSIONS = ["20", "22", "24"];
/** This one, and others from the registry. */
const nodes: Record<string, string> = { [process.versions.node.split(".")[0]]: process.execPath };
let problem: string | null = null;

function works(command: string, ...words: string[]): boolean {
  try {
    execFileSync(command, words, { stdio: "pipe" });
    return true;
  } catch {
    return false;
  }
}

beforeAll(async () => {
  problem = await installPackage(folder.path);
  if (problem !== null)
    return console.warn(`the first use is not tested: the package cannot be installed (${problem})`);
  chmodSync(folder.path, 0o755);
  writeToyData(file("data"));
  const recipe = toyRecipe("data");
  recipe.model.tokenizer = join(packageFolder(), "models", "small-zh", "tokenizer.model");
  writeFileSync(file("toy.yaml"), stringify(recipe));
  for (const version of VERSIONS.filter((name) => !(name in nodes))) {
    mkdirSync(file(`node-${version}`));
    writeFileSync(file(`node-${version}`, "package.json"), "{}");
    // The package "node" fetches this one by a script, which is not run here.
    const name = `node-${process.platform}-${process.arch}`;
    const missing = await npmInstall(file(`node-${version}`), `${name}@${version}`);
    if (missing === null) nodes[version] = file(`node-${version}`, "node_modules", name, "bin", "node");
    else console.warn(`Node ${version} is not tested: it cannot be installed (${missing})`);
  }
  // Nobody but its owner may write into the package; root could, so the tests run as another user.
  execFileSync("chmod", ["-R", "a-w,a+rX", packageFolder()]);
}, 600_000);
afterAll(() => {
  if (existsSync(packageFolder())) execFileSync("chmod", ["-R", "u+w", packageFolder()]);
  folder.remove();
});

type Environment = Record<string, string | undefined>;

/** Runs cre in a new folder of its own, as a user who cannot write into the package; `folder` is where it ran. */
async function cre(words: readonly string[], env: Environment, node: string): Promise<Ended & { folder: string }> {
  const own = mkdtempSync(file("user-"));
  if (isRoot) execFileSync("chown", [String(NOBODY), own]);
  const call = [node, join(packageFolder(), "dist", "cli.js"), ...words];
  const asNobody = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
  const [command, ...rest] = isRoot ? [...asNobody, ...call] : call;
  const outer = { CRE_BACKEND: undefined, CRE_NATIVE: undefined, CRE_LEVELS: undefined, CXX: undefined };
  const outcome = await ended(command, rest, { cwd: own, env: { ...outer, HOME: "/nonexistent", ...env } });
  return { ...outcome, folder: own };
}

/** Trains the toy recipe. */
const train = (env: Environment, node = process.execPath) =>
  cre(["train", file("toy.yaml"), "--run", "run"], env, node);

const setting = (...values: string[]) => values.flatMap((value) => ["--set", value]);
/** The demonstration set with its first rows only. */
function fewRows(): string {
  mkdirSync(file("few"), { recursive: true });
  for (const name of ["train.jsonl", "valid.jsonl", "test.jsonl", "labels.json"]) {
    const text = readFileSync(join(packageFolder(), "demo", name), "utf8");
    writeFileSync(file("few", name), name === "labels.json" ? text : text.split("\n").slice(0, 16).join("\n"));
  }
  return file("few");
}

/** One step of the demonstration's training and few rows to evaluate on, then all that follows. */
const short = () => [...setting("train.epochs=0.02", "train.validateEvery=0"), ...setting(`data.path=${fewRows()}`)];

/** What `cre demo` shows at its very end, and leaves behind. */
function expectDemonstration({ code, stdout, stderr, folder: own }: Ended & { folder: string }): void {
  expect(code, stderr).toBe(0);
  expect(stderr).not.toMatch(/\n\s+at |This is a fault of cre-llm/);
  // The tables, then each of the fresh sentences with what was found.
  expect(stdout).toMatch(/^micro-argmax +\d/m);
  const fresh = readFileSync(join(packageFolder(), "demo", "fresh.jsonl"), "utf8")
    .trimEnd()
    .split("\n");
  expect(stdout.match(/^ {4}\(.+, .+ \d+\.\d %.*, .+\)$/gm)).toHaveLength(fresh.length);
  expect(stderr).toMatch(/Done in \d.*Next, with your own data/);
  for (const name of ["recipe.yaml", "done.json", "metrics.json", "report.html", "labels.json"]) {
    expect(existsSync(join(own, "runs", "demo", name)), name).toBe(true);
  }
}

function writableFolder(name: string): string {
  mkdirSync(file(name), { recursive: true });
  chmodSync(file(name), 0o777);
  return file(name);
}

/** A PATH with nothing but the command that changes the user. */
function pathWithoutCompiler(): string {
  const bin = writableFolder("bin");
  const setpriv = execFileSync("sh", ["-c", "command -v setpriv || true"], { encoding: "utf8" }).trim();
  if (setpriv && !existsSync(join(bin, "setpriv"))) symlinkSync(setpriv, join(bin, "setpriv"));
  return bin;
}

const skipReason = () => problem ?? (isRoot && !works("setpriv", "--version") ? "setpriv is not installed" : null);

describe("a fresh installation", () => {
  it.for(VERSIONS)(
    "demonstrates itself without a compiler on Node %s, and says first what to install",
    { timeout: 120_000 },
    async (version, test) => {
      const reason = skipReason() ?? (version in nodes ? null : `Node ${version} is not there`);
      test.skip(reason !== null, reason ?? "");
      const env = { PATH: pathWithoutCompiler(), XDG_CACHE_HOME: writableFolder("no-compiler") };
      const node = nodes[version];
      const outcome = await cre(["demo", ...short()], env, node);
      expectDemonstration(outcome);
      const [first, second] = outcome.stderr.split("\n").filter((line) => line !== "");
      expect(first).toContain("Fine-tuning the embedded base model");
      expect(second).toMatch(/no C\+\+17 compiler found \(g\+\+, clang\+\+, c\+\+\)\. Install /);
      expect(second).toContain("Computing with WebAssembly");
      expect(outcome.stderr).toMatch(/WebAssembly (relaxed )?SIMD/);
    },
  );

  it("uses the addons of this platform's package without a compiler, in its own version only", async (test) => {
    const { available, reason: missing } = nativeStatus();
    const platform = PREBUILT.find(({ os, cpu }) => os === process.platform && cpu === process.arch);
    const reason = skipReason() ?? (available ? null : missing) ?? (platform ? null : "no package for this platform");
    test.skip(reason !== null, reason ?? "");
    const { version } = JSON.parse(readFileSync(join(packageFolder(), "package.json"), "utf8"));
    const name = packageOf(platform!);
    const own = file("node_modules", name);
    mkdirSync(own);
    // Those that `npm run release` packed here, else those of the checkout.
    const archive = join(ROOT, "build", "release", "packages", `${name}-${version}.tgz`);
    if (existsSync(archive)) execFileSync("tar", ["-xzf", archive, "-C", own, "--strip-components=1"]);
    else {
      for (const addon of readdirSync(nativeFolder()).filter((one) => one.endsWith(".node"))) {
        copyFileSync(join(nativeFolder(), addon), join(own, addon));
      }
    }
    const env = { PATH: pathWithoutCompiler(), XDG_CACHE_HOME: writableFolder("prebuilt") };
    try {
      writeFileSync(join(own, "package.json"), JSON.stringify({ name, version }));
      for (const [major, node] of Object.entries(nodes)) {
        const found = await train({ ...env, CRE_BACKEND: "native" }, node);
        expect(found.code, `Node ${major}: ${found.stderr}`).toBe(0);
        expect(found.stderr).not.toContain(BUILDING);
        expect(readdirSync(file("prebuilt"))).toEqual([]);
      }
      writeFileSync(join(own, "package.json"), JSON.stringify({ name, version: "0.0.0" }));
      const other = await train(env);
      expect(other.code, other.stderr).toBe(0);
      expect(other.stderr).toContain(`${name} is version 0.0.0, expected ${version}; no C++17 compiler found`);
    } finally {
      rmSync(own, { recursive: true });
    }
  }, 120_000);

  it("names a CXX that is no compiler", async (test) => {
    const reason = skipReason();
    test.skip(reason !== null, reason ?? "");
    const { code, stderr } = await train({ CXX: "/nonexistent", XDG_CACHE_HOME: writableFolder("no-compiler") });
    expect(code, stderr).toBe(0);
    expect(stderr.split("\n")[0]).toContain('CXX is "/nonexistent", which does not compile C++17');
  }, 120_000);

  it("trains where no folder can be written, and with CRE_NATIVE=off", async (test) => {
    const reason = skipReason() ?? (compiler ? null : "there is no compiler here");
    test.skip(reason !== null, reason ?? "");
    const locked = await train({ XDG_CACHE_HOME: "/nonexistent/cache" });
    expect(locked.code, locked.stderr).toBe(0);
    expect(locked.stderr).toMatch(
      /build\/native and \/nonexistent\/cache\S* cannot be written; XDG_CACHE_HOME names another/,
    );
    const off = await train({ CRE_NATIVE: "off", XDG_CACHE_HOME: writableFolder("off") });
    expect(off.code, off.stderr).toBe(0);
    expect(off.stderr).not.toContain(BUILDING);
    expect(readdirSync(file("off"))).toEqual([]);
  }, 120_000);

  it("builds the addon once for two processes into the user's cache, and every Node demonstrates itself with it", async (test) => {
    const reason = skipReason() ?? (compiler ? null : "there is no compiler here");
    test.skip(reason !== null, reason ?? "");
    const env = { XDG_CACHE_HOME: writableFolder("cache") };
    const both = await Promise.all([train(env), train(env)]);
    for (const { code, stderr } of both) {
      expect(code, stderr).toBe(0);
      expect(stderr).not.toContain("reference");
    }
    expect(both.filter(({ stderr }) => stderr.includes(BUILDING))).toHaveLength(1);
    expect(readdirSync(packageFolder())).not.toContain("build");
    const [version] = readdirSync(file("cache", "cre-llm"));
    expect(readdirSync(file("cache", "cre-llm", version))).toContain("cre-cpu.node");
    for (const [name, node] of Object.entries(nodes)) {
      const outcome = await cre(["demo", ...short()], env, node);
      expect(outcome.stderr, `Node ${name}`).not.toMatch(/reference|Building|plain TypeScript/);
      expect(outcome.stderr).toContain("Fine-tuning the embedded base model");
      expectDemonstration(outcome);
    }
  }, 600_000);
});
