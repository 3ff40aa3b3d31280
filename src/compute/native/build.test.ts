import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { buildNative, exitCodeOf } from "./build.ts";

const hasCompiler = (() => {
  try {
    execFileSync("g++", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    console.warn("building is not tested: there is no g++");
    return false;
  }
})();

describe.skipIf(!hasCompiler)("building the native backend", () => {
  let folder: string;
  let sources: string;
  let output: string;
  let lines: string[];
  const compilers = ["no-such-compiler", "g++"];
  const build = (options: { compilers?: string[]; architecture?: string } = {}) => {
    lines = [];
    return buildNative({
      sources,
      output,
      compilers,
      architecture: "arm64",
      print: (line) => lines.push(line),
      ...options,
    });
  };
  const write = (name: string, text: string) => writeFileSync(join(sources, name), text);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "build-native-"));
    sources = join(folder, "native");
    output = join(folder, "build");
    mkdirSync(sources);
    write("number.h", "#pragma once\nint number();\n");
    write("number.cpp", '#include "number.h"\nint number() { return 7; }\n');
    write("binding.cpp", '#include "number.h"\n#include <napi.h>\nint twice() { return 2 * number(); }\n');
    write("alone.cpp", "const char* level() { return CRE_LEVEL; }\n");
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("compiles only what changed", async () => {
    expect(await build()).toEqual({ levels: ["portable"], compiled: 3, problem: null });
    expect(existsSync(join(output, "cre-portable.node"))).toBe(true);
    expect(lines[0]).toMatch(/compiling 3 files/);

    expect(await build()).toEqual({ levels: ["portable"], compiled: 0, problem: null });
    expect(lines).toEqual([]);

    write("number.h", "#pragma once\nint number();\nint other();\n");
    expect(await build()).toMatchObject({ compiled: 2, problem: null });
    expect(readdirSync(join(output, "objects")).length).toBe(3);
  });

  it.skipIf(process.arch !== "x64")("compiles kernels once per level and the binding once for all", async () => {
    const report = await build({ architecture: "x64" });
    expect(report.levels).toContain("avx2");
    expect(report.compiled).toBe(2 * report.levels.length + 1);
    for (const level of report.levels) expect(existsSync(join(output, `cre-${level}.node`))).toBe(true);
  });

  it.skipIf(process.arch !== "x64")("leaves out levels whose flags the compiler does not know", async () => {
    const old = join(folder, "old-compiler");
    writeFileSync(old, '#!/bin/sh\ncase "$*" in *-mamx-tile*|*-mavx512f*) exit 1 ;; esac\nexec g++ "$@"\n');
    chmodSync(old, 0o755);
    const report = await build({ architecture: "x64", compilers: [old] });
    expect(report).toMatchObject({ levels: ["portable", "avx2"], problem: null });
    expect(lines.filter((line) => line.includes("is left out"))).toHaveLength(2);
    expect(lines.join("\n")).toMatch(/does not know .*-mamx-tile.*level amx is left out/);
  });

  it("says in one line that there is no compiler", async () => {
    const report = await build({ compilers: ["no-such-compiler"] });
    expect(report.levels).toEqual([]);
    expect(lines).toEqual([report.problem]);
    expect(report.problem).toMatch(/no C\+\+17 compiler found .* the slow reference backend is used/);
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
