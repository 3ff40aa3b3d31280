import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PREBUILT } from "../../src/compute/native/prebuilt.ts";
import { ROOT, temporaryFolder } from "../e2e/support.ts";
import { ended } from "./installed.ts";

// What a release consists of. Addons are compiled by `npm run release`, which takes too long for a test; those that it left in build/release are
// inspected here.

const RELEASE = join(ROOT, "scripts", "release");
const folder = temporaryFolder("release");
afterAll(() => folder.remove());

/** @see scripts/release/inspect.mjs */
type ProblemsOf = (needs: object, platform: { os: string; cpu: string; libc: string | null }) => string[];
const { problemsOf } = (await import(pathToFileURL(join(RELEASE, "inspect.mjs")).href)) as { problemsOf: ProblemsOf };
const inspect = (file: string) => ended(process.execPath, [join(RELEASE, "inspect.mjs"), file], { cwd: folder.path });

describe("the main package of a release", () => {
  beforeAll(async () => {
    const words = [join(RELEASE, "release.mjs"), "--only-main", "--unpacked", "--folder", folder.path];
    const { code, stderr } = await ended(process.execPath, words, { cwd: ROOT });
    expect(code, stderr).toBe(0);
  }, 180_000);

  it("names the package of every platform as an optional dependency of its own version", () => {
    const { version, dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const packed = JSON.parse(readFileSync(join(folder.path, "main", "package.json"), "utf8"));
    const names = PREBUILT.map(({ name }) => `cre-llm-${name}`);
    expect(packed.optionalDependencies).toEqual(Object.fromEntries(names.map((name) => [name, version])));
    expect(packed.dependencies).toEqual(dependencies);
    // An installation runs no scripts.
    expect(packed.scripts).toBeUndefined();
    expect(existsSync(join(folder.path, "main", "dist", "cli.js"))).toBe(true);
  });

  it("is not what the checkout installs", () => {
    for (const file of ["package.json", "package-lock.json"]) {
      expect(readFileSync(join(ROOT, file), "utf8")).not.toContain("cre-llm-linux");
    }
  });

  it("is checked together with the archives of the platforms: a missing one, another system, a file that is no addon", async () => {
    const words = ["pack", "--ignore-scripts", "--silent", "--pack-destination"];
    const packages = join(folder.path, "packages");
    mkdirSync(packages, { recursive: true });
    const pack = (from: string) => ended("npm", [...words, packages], { cwd: join(folder.path, from) });
    const check = async () => {
      const platforms = ["--platforms", "linux-x64-gnu,win32-x64", "--folder", folder.path];
      const { code, stdout, stderr } = await ended(
        process.execPath,
        [join(RELEASE, "release.mjs"), "--check", ...platforms],
        { cwd: ROOT },
      );
      return { code, made: stdout.trimEnd().split("\n"), problems: stderr.trimEnd().split("\n") };
    };
    await pack("main");
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const archive = (name: string) => `${name}-${version}.tgz`;
    const alone = await check();
    expect(alone.code).toBe(1);
    expect(alone.made).toEqual([expect.stringMatching(/^cre-llm-\S+\.tgz: \d+\.\d MB, main package, fits$/)]);
    const [linux, windows] = ["cre-llm-linux-x64-gnu", "cre-llm-win32-x64"];
    expect(alone.problems).toEqual([`${archive(linux)}: is missing`, `${archive(windows)}: is missing`]);

    const own = { name: windows, version, os: ["win32"], cpu: ["arm64"] };
    mkdirSync(join(folder.path, "other"));
    writeFileSync(join(folder.path, "other", "package.json"), JSON.stringify(own));
    for (const name of ["cre-cpu.node", "cre-portable.node", "cre-amx.node"]) {
      writeFileSync(join(folder.path, "other", name), "MZ");
    }
    await pack("other");
    const of = archive(windows);
    expect((await check()).problems).toEqual([
      `${archive(linux)}: is missing`,
      `${of}: package.json: cpu is ["arm64"], expected ["x64"]`,
      `${of}: has cre-amx.node, cre-cpu.node, cre-portable.node, expected cre-cpu.node, cre-portable.node`,
      ...["amx", "cpu", "portable"].map((name) => `${of}: cre-${name}.node is no 64-bit ELF, PE or Mach-O file.`),
      `${of}: lacks the levels avx2, avx512, avx512bf16`,
    ]);
  }, 180_000);

  it("is refused by name for a platform that does not exist", async () => {
    const { code, stderr } = await ended(process.execPath, [join(RELEASE, "release.mjs"), "--platforms", "vax"], {
      cwd: ROOT,
    });
    expect(code).toBe(1);
    expect(stderr).toContain("--platforms names vax.");
  });
});

describe("what an addon needs", () => {
  it("is read from no other file", async () => {
    const file = join(folder.path, "text.node");
    for (const content of ["", "no library", "x".repeat(500), "MZ".padEnd(64, "\0"), "\x7fELF".padEnd(64, "\xff")]) {
      writeFileSync(file, content, "latin1");
      const { code, stderr } = await inspect(file);
      expect(code).toBe(1);
      expect(stderr).toMatch(/is no 64-bit ELF, PE or Mach-O file|ERR_OUT_OF_RANGE|is no 64-bit PE/);
    }
  });

  it("is refused where its system does not have it", () => {
    const entry = ["napi_register_module_v1"];
    const needs = { libraries: [], symbols: ["memcpy"], versions: [], exports: entry, anywhere: [], signed: true };
    const linux = { ...needs, format: "elf", cpu: "x64", oldestSystem: null };
    const onLinux = { os: "linux", cpu: "x64", libc: "musl" };
    expect(problemsOf(linux, onLinux)).toEqual([]);
    expect(problemsOf({ ...linux, symbols: ["_ZdlPv", "__cxa_finalize"] }, onLinux)).toEqual([
      "needs _ZdlPv of a C++ library",
    ]);
    const mac = { ...needs, format: "mach-o", cpu: "arm64", oldestSystem: "13.0" };
    const onMac = { os: "darwin", cpu: "arm64", libc: null };
    expect(problemsOf(mac, onMac)).toEqual([]);
    const newer = {
      ...mac,
      symbols: ["memcpy", "of_macos_14"],
      anywhere: ["napi_throw", "memcpy"],
      oldestSystem: "14.0",
    };
    expect(problemsOf(newer, onMac)).toEqual([
      "looks up memcpy in the whole process",
      "needs of_macos_14, which is not in macos-13.txt",
      "needs macOS 14.0",
    ]);
  });

  it.for(PREBUILT)("fits $name", async ({ name, os, cpu, libc, levels }, test) => {
    const files = levels.map((level) => join(ROOT, "build", "release", name, "package", `cre-${level}.node`));
    const file = files.find((one) => existsSync(one)) ?? "";
    test.skip(file === "", `${name}: \`npm run release\` has not compiled it here`);
    const { code, stdout, stderr } = await inspect(file);
    expect(code, stderr).toBe(0);
    const needs = JSON.parse(stdout);
    expect(problemsOf(needs, { os, cpu, libc })).toEqual([]);
    expect(needs.cpu).toBe(cpu);
    expect(needs.exports).toContain("napi_register_module_v1");
    const nodeApi = needs.symbols.filter((symbol: string) => /(^|!)napi_/.test(symbol));
    expect(nodeApi.length).toBeGreaterThan(20);
    if (os === "linux") {
      const newest = needs.versions.map((version: string) => Number(/^GLIBC_2\.(\d+)/.exec(version)?.[1]));
      if (libc === "musl") expect(newest).toEqual([]);
      else expect(Math.max(...newest)).toBeLessThanOrEqual(28);
    } else if (os === "win32") {
      expect(needs.libraries).toContain("node.exe");
      expect(nodeApi.every((symbol: string) => symbol.startsWith("node.exe!"))).toBe(true);
      // The linker writes a node.lib next to cre-cpu.node: this one must not be replaced before the next addon is linked.
      const library = readFileSync(join(ROOT, "build", "release", name, "node-api", "node.lib"), "latin1");
      for (const symbol of nodeApi) expect(library).toContain(symbol.slice("node.exe!".length));
    } else {
      expect(needs.libraries).toEqual(["/usr/lib/libSystem.B.dylib"]);
      expect(needs.oldestSystem).toBe("13.0");
      // Node-API is the program's; all else is in macOS 13's own library.
      expect(needs.anywhere).toEqual(nodeApi);
      if (cpu === "arm64") expect(needs.signed).toBe(true);
    }
  });
});
