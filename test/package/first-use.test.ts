import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { temporaryFolder, toyRecipe, writeToyData } from "../e2e/support.ts";
import { type Ended, ended, installPackage, npmInstall } from "./installed.ts";

// A fresh installation has no addons: the first command that computes builds them where a compiler is, and says what to install where none is.

const NOBODY = 65534;
const BUILDING = "Building the native backend";
const folder = temporaryFolder("first-use");
const file = (...names: string[]) => join(folder.path, ...names);
const packageFolder = () => file("node_modules", "cre-llm");
const isRoot = process.getuid?.() === 0;
const compiler = ["g++", "clang++", "c++"].find((name) => works(name, "--version"));
/** Node's own, and others from the registry. */
const nodes: Record<string, string> = { "20": process.execPath };
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
  for (const version of ["22", "24"]) {
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

/** Trains the toy recipe in a new folder, as a user who cannot write into the package. */
function train(env: Record<string, string | undefined>, node = process.execPath): Promise<Ended> {
  const run = mkdtempSync(file("run-"));
  if (isRoot) execFileSync("chown", [String(NOBODY), run]);
  const cre = [node, join(packageFolder(), "dist", "cli.js"), "train", file("toy.yaml"), "--run", join(run, "run")];
  const asNobody = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
  const [command, ...words] = isRoot ? [...asNobody, ...cre] : cre;
  const outer = { CRE_BACKEND: undefined, CRE_NATIVE: undefined, CRE_LEVELS: undefined, CXX: undefined };
  return ended(command, words, { cwd: folder.path, env: { ...outer, HOME: "/nonexistent", ...env } });
}

function writableFolder(name: string): string {
  mkdirSync(file(name), { recursive: true });
  chmodSync(file(name), 0o777);
  return file(name);
}

const skipReason = () => problem ?? (isRoot && !works("setpriv", "--version") ? "setpriv is not installed" : null);

describe("a fresh installation", () => {
  it.for(["20", "22", "24"])(
    "trains without a compiler on Node %s, and says first what to install",
    { timeout: 120_000 },
    async (version, test) => {
      const reason = skipReason() ?? (version in nodes ? null : `Node ${version} is not there`);
      test.skip(reason !== null, reason ?? "");
      const bin = writableFolder("bin");
      const setpriv = execFileSync("sh", ["-c", "command -v setpriv || true"], { encoding: "utf8" }).trim();
      if (setpriv && !existsSync(join(bin, "setpriv"))) symlinkSync(setpriv, join(bin, "setpriv"));
      const env = { PATH: bin, XDG_CACHE_HOME: writableFolder("no-compiler") };
      const { code, stderr } = await train(env, nodes[version]);
      expect(code, stderr).toBe(0);
      expect(stderr.split("\n")[0]).toMatch(/no C\+\+17 compiler found \(g\+\+, clang\+\+, c\+\+\)\. Install /);
      expect(stderr).toContain("reference");
      expect(stderr).toContain("done");
    },
  );

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

  it("builds the addon once for two processes into the user's cache, and every Node uses it", async (test) => {
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
      const { code, stderr } = await train(env, node);
      expect(code, `Node ${name}: ${stderr}`).toBe(0);
      expect(stderr).not.toMatch(/reference|Building/);
    }
  }, 600_000);
});
