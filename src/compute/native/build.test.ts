import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type BuildOptions, buildNative, exitCodeOf } from "./build.ts";
import { BF16_LEVELS, packageRoot, runnableLevels } from "./levels.ts";

const isInstalled = (compiler: string) => spawnSync(compiler, ["--version"]).status === 0;
const hasCompiler = isInstalled("g++");
if (!hasCompiler) console.warn("building is not tested: there is no g++");
const clang = ["clang++", "clang++-19"].find(isInstalled);

describe.skipIf(!hasCompiler)("building the native backend", () => {
  let folder: string;
  let sources: string;
  let output: string;
  let lines: string[];
  const compilers = ["no-such-compiler", "g++"];
  const build = (options: BuildOptions = {}) => {
    lines = [];
    return buildNative({
      sources,
      output,
      compilers,
      cxx: "",
      architecture: "riscv64", // of which only the portable level is known
      levels: "all",
      print: (line) => lines.push(line),
      ...options,
    });
  };
  const write = (name: string, text: string) => writeFileSync(join(sources, name), text);
  const addons = () => readdirSync(output).filter((name) => name.endsWith(".node"));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "build-native-"));
    sources = join(folder, "native");
    output = join(folder, "build");
    mkdirSync(join(sources, "binding"), { recursive: true });
    write("number.h", "#pragma once\nint number();\n");
    write("number.cpp", '#include "number.h"\nint number() { return 7; }\n');
    write("binding/binding.cpp", '#include "number.h"\n#include <node_api.h>\nint twice() { return 2 * number(); }\n');
    write("alone.cpp", "const char* level() { return CRE_LEVEL; }\n");
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("compiles only what changed", async () => {
    expect(await build()).toEqual({ levels: ["portable"], compiled: 3, problem: null });
    expect(existsSync(join(output, "cre-portable.node"))).toBe(true);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^native backend: compiling 3 files for portable with /);
    expect(lines[1]).toMatch(/^native backend: portable built in [\d.]+ s\.$/);

    expect(await build()).toEqual({ levels: ["portable"], compiled: 0, problem: null });
    expect(lines).toEqual([]);

    write("number.h", "#pragma once\nint number();\nint other();\n");
    expect(await build()).toMatchObject({ compiled: 2, problem: null });
    expect(readdirSync(join(output, "objects")).length).toBe(3);
  });

  it("removes what a stopped build left, but not what another build is making", async () => {
    await build();
    const objects = join(output, "objects");
    mkdirSync(join(objects, "precompiled-old"));
    mkdirSync(join(objects, "precompiled-new"));
    utimesSync(join(objects, "precompiled-old"), 1000, 1000);
    await build();
    expect(readdirSync(objects).filter((name) => !name.endsWith(".o"))).toEqual(["precompiled-new"]);
  });

  it("reports its progress file by file", async () => {
    const seen: string[] = [];
    await build({ progress: (done, total) => seen.push(`${done}/${total}`) });
    expect(seen).toEqual(["0/3", "1/3", "2/3", "3/3"]);
  });

  it("compiles nothing in a copy of the checkout at another place", async () => {
    await build();
    const moved = join(folder, "moved");
    cpSync(sources, join(moved, "native"), { recursive: true });
    renameSync(output, join(moved, "build"));
    const report = await build({ sources: join(moved, "native"), output: join(moved, "build") });
    expect(report).toEqual({ levels: ["portable"], compiled: 0, problem: null });
  });

  it.each([
    ["g++", /-include \S*first\.h -Wno-psabi .*-c .*kernel\d\.cpp/],
    [clang ?? "clang++", /-include-pch \S*first\.h\.pch -c .*kernel\d\.cpp/],
  ])("precompiles a header that many files share, with %s", async (compiler, use) => {
    if (!isInstalled(compiler)) return console.warn(`not tested: there is no ${compiler}`);
    mkdirSync(join(sources, "runtime"));
    write("runtime/vector.h", "#pragma once\ninline int shared() { return 5; }\n");
    for (let i = 0; i < 4; i++) {
      write(`kernel${i}.cpp`, `#include "runtime/vector.h"\nint kernel${i}() { return shared() + ${i}; }\n`);
    }
    const log = join(folder, "calls");
    const spy = join(folder, "spy");
    writeFileSync(spy, `#!/bin/sh\necho "$*" >> ${log}\nexec ${compiler} "$@"\n`);
    chmodSync(spy, 0o755);
    expect(await build({ compilers: [spy] })).toMatchObject({ compiled: 7, problem: null });
    const calls = readFileSync(log, "utf8").split("\n");
    expect(calls.filter((line) => line.includes("-x c++-header"))).toHaveLength(1);
    expect(calls.filter((line) => use.test(line))).toHaveLength(4);
    expect(readdirSync(join(output, "objects")).every((name) => name.endsWith(".o"))).toBe(true);
  });

  it.skipIf(process.arch !== "x64")("compiles kernels once per level and the binding once for all", async () => {
    write("products_bf16.cpp", "int products() { return 1; }\n");
    write("binding/binding.cpp", "#include <napi.h>\nint twice() { return 14; }\n");
    const report = await build({ architecture: "x64" });
    expect(report.levels).toContain("avx2");
    const inBf16 = report.levels.filter((level) => BF16_LEVELS.includes(level)).length;
    expect(report.compiled).toBe(2 * report.levels.length + inBf16 + 1);
    expect(addons()).toEqual(report.levels.map((level) => `cre-${level}.node`).sort());
  });

  it.skipIf(process.arch !== "x64")("builds only the best level of this processor unless told otherwise", async () => {
    for (const name of ["binding/cpu_addon.cpp", "runtime/cpu.cpp", "runtime/cpu.h"]) {
      cpSync(join(packageRoot, "native", name), join(sources, name));
    }
    const all = await build({ architecture: "x64" });
    const best = await build({ architecture: "x64", levels: "best" });
    const expected = runnableLevels(output).filter((level) => all.levels.includes(level));
    expect(best).toEqual({ levels: expected.slice(-1), compiled: 0, problem: null });
    expect(addons()).toEqual([`cre-${best.levels[0]}.node`, "cre-cpu.node"]);

    expect((await build({ architecture: "x64", levels: "portable,avx2" })).levels).toEqual(["portable", "avx2"]);
    expect(addons()).toEqual(["cre-avx2.node", "cre-cpu.node", "cre-portable.node"]);
    expect((await build({ levels: "avx3" })).problem).toMatch(
      /CRE_LEVELS is "avx3", expected "best", "all" or some of portable,avx2,avx512,avx512bf16,amx/,
    );
  });

  it.skipIf(process.arch !== "x64")("leaves out levels whose flags the compiler does not know", async () => {
    const old = join(folder, "old-compiler");
    writeFileSync(old, '#!/bin/sh\ncase "$*" in *-mamx-tile*|*-mavx512f*) exit 1 ;; esac\nexec g++ "$@"\n');
    chmodSync(old, 0o755);
    const report = await build({ architecture: "x64", compilers: [old] });
    expect(report).toMatchObject({ levels: ["portable", "avx2"], problem: null });
    expect(lines.filter((line) => line.includes("is left out"))).toHaveLength(3);
    expect(lines.join("\n")).toMatch(/does not know .*-mamx-tile.*level amx is left out/);
  });

  it("builds the level neon on 64-bit Arm", async () => {
    const report = await build({ architecture: "arm64" });
    expect(report).toEqual({ levels: ["portable", "neon"], compiled: 5, problem: null });
    expect(addons()).toEqual(["cre-neon.node", "cre-portable.node"]);
  });

  it("says first that there is no compiler and what to install", async () => {
    const report = await build({ compilers: ["no-such-compiler"] });
    expect(report.levels).toEqual([]);
    expect(lines).toEqual([report.problem]);
    const [first, second] = (report.problem ?? "").split("\n");
    expect(first).toMatch(/^native backend: no C\+\+17 compiler found \(no-such-compiler\)\. Install /);
    expect(second).toBe("The slower WebAssembly backend is used.");
  });

  it("uses no other compiler than the one that CXX names", async () => {
    const report = await build({ cxx: "no-such-compiler" });
    expect(report.problem).toMatch(/^native backend: CXX is "no-such-compiler", which does not compile C\+\+17/);
    expect(existsSync(output)).toBe(false);
  });

  it("names a broken file and the log, and takes the old addon away", async () => {
    await build();
    write("number.cpp", "int number() { return seven; }\n");
    const report = await build();
    expect(report.levels).toEqual([]);
    expect(report.problem).toMatch(/'?seven.?'? was not declared/);
    expect(report.problem).toContain(`number.cpp could not be compiled (whole output: ${join(output, "build.log")})`);
    expect(readFileSync(join(output, "build.log"), "utf8")).toContain("seven");
    expect(existsSync(join(output, "cre-portable.node"))).toBe(false);
  });

  it("is an error only where the addons are required", () => {
    const broken = { levels: [], compiled: 0, problem: "no compiler" };
    expect(exitCodeOf(broken, undefined)).toBe(0);
    expect(exitCodeOf(broken, "require")).toBe(1);
    expect(exitCodeOf({ ...broken, problem: null }, "require")).toBe(0);
  });
});
