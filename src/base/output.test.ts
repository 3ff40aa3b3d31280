import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "./errors.ts";
import { copyFileAtomic } from "./files.ts";
import {
  checkOutputFile,
  checkOutputFolder,
  expectNotRead,
  isSamePath,
  makeFolder,
  namingFile,
  outputTarget,
  writeOutput,
} from "./output.ts";

let folder: string;
const path = (name: string) => join(folder, name);
const text = (name: string) => readFileSync(path(name), "utf8");
const write = (file: string, content: string) => writeOutput(file, (handle) => handle.writeFile(content));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cre-output-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function isPossible(command: readonly string[]): boolean {
  try {
    execFileSync(command[0], command.slice(1), { stdio: "pipe" });
    return true;
  } catch {
    return false;
  }
}

describe("writeOutput", () => {
  it("follows links to a file, over several links, and to a name that is free", async () => {
    mkdirSync(path("real"));
    writeFileSync(path("real/a"), "old");
    symlinkSync("real/a", path("one"));
    symlinkSync("one", path("two"));
    symlinkSync("real/new", path("free"));
    // A link's text is relative to where the link really is.
    symlinkSync("real", path("folder"));
    symlinkSync("../b", path("real/up"));
    await write(path("two"), "new");
    await write(path("free"), "free");
    await write(path("folder/up"), "up");
    expect([text("real/a"), text("real/new"), text("b")]).toEqual(["new", "free", "up"]);
    expect(["one", "two", "free", "real/up"].map((name) => lstatSync(path(name)).isSymbolicLink())).not.toContain(
      false,
    );
    expect(readlinkSync(path("two"))).toBe("one");
    expect(readdirSync(path("real")).sort()).toEqual(["a", "new", "up"]);
  });

  it("ends at links that lead in a circle", async () => {
    symlinkSync("b", path("a"));
    symlinkSync("a", path("b"));
    await expect(write(path("a"), "x")).rejects.toThrow(`${path("a")}: is a link that leads to itself.`);
  });

  it("keeps the permissions of the file that it replaces", async () => {
    writeFileSync(path("secret"), "old");
    chmodSync(path("secret"), 0o600);
    await write(path("secret"), "new");
    expect(statSync(path("secret")).mode & 0o777).toBe(0o600);
    expect(text("secret")).toBe("new");
  });

  it("writes to a FIFO, which stays one", async (context) => {
    if (!isPossible(["mkfifo", path("fifo")])) return context.skip();
    const reader = spawn("cat", [path("fifo")]);
    let got = "";
    reader.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      got += chunk;
    });
    const closed = new Promise((resolve) => reader.on("close", resolve));
    await write(path("fifo"), "through");
    await closed;
    expect(got).toBe("through");
    expect(lstatSync(path("fifo")).isFIFO()).toBe(true);
    expect(readdirSync(folder)).toEqual(["fifo"]);
  });

  it("writes to devices, also through a link, and says when one is full", async (context) => {
    if (!isPossible(["mknod", path("null"), "c", "1", "3"])) return context.skip();
    execFileSync("mknod", [path("full"), "c", "1", "7"]);
    symlinkSync("null", path("link"));
    for (const name of ["null", "link"]) await write(path(name), "gone");
    expect(lstatSync(path("null")).isCharacterDevice()).toBe(true);
    expect(lstatSync(path("link")).isSymbolicLink()).toBe(true);
    const failing = write(path("full"), "x");
    await expect(failing).rejects.toThrow(/full: cannot be written \(ENOSPC/);
    await expect(failing).rejects.toMatchObject({ hint: expect.stringContaining("Free some space") });
    expect(lstatSync(path("full")).isCharacterDevice()).toBe(true);
  });

  it.skipIf(process.platform !== "linux")("appends to an open file that a path under /proc names", async () => {
    writeFileSync(path("log"), "before ");
    const descriptor = openSync(path("log"), "r+");
    const { ino } = statSync(path("log"));
    await write(`/proc/self/fd/${descriptor}`, "after");
    closeSync(descriptor);
    expect(text("log")).toBe("before after");
    expect(statSync(path("log")).ino).toBe(ino);
  });

  it("writes a file with the longest name there is", async () => {
    const name = "n".repeat(255);
    await write(path(name), "x");
    expect(readdirSync(folder)).toEqual([name]);
  });

  it("copies a file as it writes one", async () => {
    writeFileSync(path("from"), "copied");
    writeFileSync(path("target"), "old");
    symlinkSync("target", path("to"));
    await copyFileAtomic(path("from"), path("to"));
    expect(text("target")).toBe("copied");
    expect(lstatSync(path("to")).isSymbolicLink()).toBe(true);
    await copyFileAtomic(path("from"), path("from"));
    expect(text("from")).toBe("copied");
    await expect(copyFileAtomic(path("none"), path("x"))).rejects.toThrow("none: cannot be read");
    expect(existsSync(path("x"))).toBe(false);
  });
});

describe("checks before work begins", () => {
  const CHECKS = [checkOutputFile, checkOutputFolder];

  beforeEach(() => {
    mkdirSync(path("folder"));
    writeFileSync(path("file"), "kept");
    symlinkSync(path("nowhere"), path("gone"));
  });

  it("leave nothing behind, whether an output is possible or not", async () => {
    for (const name of ["new", "a/b/c", "folder/x"]) {
      await checkOutputFile(path(name));
      await checkOutputFolder(path(name));
    }
    await checkOutputFile(path("file"));
    await checkOutputFile(path("gone"));
    await checkOutputFolder(path("folder"));
    expect(readdirSync(folder).sort()).toEqual(["file", "folder", "gone"]);
    expect(readdirSync(path("folder"))).toEqual([]);
    expect(text("file")).toBe("kept");
  });

  it("refuse what no file can be written to, by the path that was given", async () => {
    await expect(checkOutputFile(path("folder"))).rejects.toThrow(`${path("folder")}: is a folder, expected a file`);
    await expect(checkOutputFolder(path("file"))).rejects.toThrow(`${path("file")}: is a file, expected a folder`);
    for (const name of ["file/x", "file/x/y", "gone/x", "n".repeat(300)]) {
      for (const check of CHECKS) {
        const refused = check(path(name));
        await expect(refused).rejects.toThrow(UserError);
        await expect(refused).rejects.toThrow(path(name));
      }
    }
    for (const check of CHECKS) {
      await expect(check(path("file/x/y"))).rejects.toThrow(`cannot be made (${path("file")} is a file, not a folder)`);
    }
    await expect(checkOutputFolder(path("gone"))).rejects.toThrow("is a link to");
    for (const check of CHECKS) await expect(check("")).rejects.toThrow("is empty, expected");
    expect(readdirSync(folder).sort()).toEqual(["file", "folder", "gone"]);
  });

  it.skipIf(process.platform !== "linux")("end where a folder answers that it does not exist", async () => {
    for (const check of [...CHECKS, makeFolder]) {
      await expect(check("/proc/here/x")).rejects.toThrow(/\/proc\/here.*cannot be made/);
    }
  });

  it("refuse a folder that cannot be written", async (context) => {
    chmodSync(path("folder"), 0o555);
    // Root may write there.
    if (process.getuid?.() === 0) return context.skip();
    for (const check of CHECKS) await expect(check(path("folder/x"))).rejects.toThrow(/folder\/x: cannot be .*EACCES/);
  });
});

describe("makeFolder", () => {
  it("tells which folders it made, outermost first", async () => {
    expect(await makeFolder(path("a/b"))).toEqual([path("a"), path("a/b")]);
    expect(await makeFolder(path("a/b"))).toEqual([]);
    symlinkSync("a", path("link"));
    expect(await makeFolder(path("link/c"))).toEqual([path("link/c")]);
  });
});

describe("inputs that are outputs", () => {
  it("are known by any of their names", async () => {
    writeFileSync(path("in"), "x");
    symlinkSync("in", path("link"));
    expect(await isSamePath(path("in"), path("link"))).toBe(true);
    expect(await isSamePath(path("in"), path("none"))).toBe(false);
    await expect(expectNotRead(path("link"), [path("in")])).rejects.toThrow("link: is read by this command");
    await expectNotRead(path("new"), [path("in")]);
    await expectNotRead("/dev/null", ["/dev/null"]);
  });
});

describe("outputTarget and namingFile", () => {
  it("tell files from special ones, and name the file of a system's error", async () => {
    writeFileSync(path("file"), "x");
    expect(await outputTarget(path("file"))).toMatchObject({ kind: "file", path: path("file") });
    expect(await outputTarget(path("new"))).toEqual({ kind: "file", path: path("new"), mode: null });
    expect(await outputTarget("/dev/null")).toEqual({ kind: "special", path: "/dev/null" });
    const refused = () => Promise.reject(Object.assign(new Error("EIO: i/o error, write"), { syscall: "write" }));
    await expect(namingFile("x.log", refused)).rejects.toThrow("x.log: cannot be written (EIO: i/o error, write).");
    await expect(namingFile("x.log", () => Promise.reject(new TypeError("ours")))).rejects.toThrow(TypeError);
  });
});
