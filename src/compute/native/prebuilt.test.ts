import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { LEVELS } from "./levels.ts";
import { findPrebuilt, PREBUILT, packageOf, platformOf } from "./prebuilt.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-prebuilt-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("the packages of compiled addons", () => {
  it("are one for each system, processor and C library", () => {
    const found = (os: string, cpu: string, libc: "glibc" | "musl" = "glibc") => platformOf(os, cpu, () => libc)?.name;
    expect(found("linux", "x64")).toBe("linux-x64-gnu");
    expect(found("linux", "x64", "musl")).toBe("linux-x64-musl");
    expect(found("linux", "arm64")).toBe("linux-arm64-gnu");
    expect(found("linux", "arm64", "musl")).toBeUndefined();
    expect(found("darwin", "arm64")).toBe("darwin-arm64");
    expect(found("darwin", "x64")).toBe("darwin-x64");
    expect(found("win32", "x64")).toBe("win32-x64");
    expect(found("win32", "arm64")).toBeUndefined();
    expect(found("aix", "ppc64")).toBeUndefined();
    for (const { levels } of PREBUILT) expect(LEVELS.filter((level) => levels.includes(level))).toEqual(levels);
  });

  it("do not ask for the C library where there is one", () => {
    const libc = vi.fn(() => "glibc" as const);
    platformOf("win32", "x64", libc);
    platformOf("aix", "ppc64", libc);
    expect(libc).not.toHaveBeenCalled();
  });

  it("are used in exactly this version", () => {
    const [platform] = PREBUILT;
    const own = join(folder, packageOf(platform));
    const file = join(own, "package.json");
    mkdirSync(own);
    const find = () => findPrebuilt("1.2.3", platform, ((name: string) => join(folder, name)) as NodeJS.RequireResolve);
    writeFileSync(file, '{"version": "1.2.3"}');
    expect(find()).toEqual({ folder: own, problem: null });
    writeFileSync(file, '{"version": "1.2.4"}');
    expect(find()).toEqual({ folder: null, problem: "cre-llm-linux-x64-gnu is version 1.2.4, expected 1.2.3" });
    writeFileSync(file, '{"version"');
    expect(find().problem).toBe("cre-llm-linux-x64-gnu is version unknown, expected 1.2.3");
  });

  it("may be absent", () => {
    expect(findPrebuilt("1.2.3")).toEqual({ folder: null, problem: null });
    expect(findPrebuilt("1.2.3", undefined)).toEqual({ folder: null, problem: null });
  });
});
