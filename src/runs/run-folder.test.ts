import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { appendLog, expectFreeFolder, type LogLine, readLog, runFolder, truncateLog } from "./run-folder.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cre-run-folder-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("expectFreeFolder", () => {
  it("accepts a new folder, an empty one, and one with the lock of its run", async () => {
    await expectFreeFolder(join(directory, "a", "b"));
    await expectFreeFolder(directory);
    writeFileSync(join(directory, "run.lock"), "");
    await expectFreeFolder(directory);
  });

  it("tells a run from other files, and a file from a folder", async () => {
    writeFileSync(join(directory, "notes.txt"), "");
    await expect(expectFreeFolder(directory)).rejects.toThrow(`${directory}: is not empty (it has "notes.txt")`);
    await expect(expectFreeFolder(join(directory, "notes.txt"))).rejects.toThrow("is a file, expected a folder");
    writeFileSync(join(directory, "recipe.yaml"), "");
    await expect(expectFreeFolder(directory)).rejects.toThrow(`${directory}: already holds a run.`);
  });
});

describe("the log", () => {
  const lines: LogLine[] = [1, 2, 3].map((step) => ({ kind: "step", step, loss: step / 10 }));

  it.each<[string, Buffer]>([
    ["NUL bytes", Buffer.alloc(4096)],
    ["NUL bytes and a line end", Buffer.concat([Buffer.alloc(100), Buffer.from("\n")])],
    ["half a line", Buffer.from('{"kind":"step","step":999,"lo')],
    ["a number that began a line", Buffer.from("12\n")],
    ["half a character", Buffer.from([0xe6, 0x94])],
  ])("is read and cut without %s at its end", async (_, tail) => {
    const folder = runFolder(directory);
    for (const line of lines) await appendLog(folder, line);
    appendFileSync(folder.log, tail);
    expect(await readLog(folder)).toEqual(lines);
    await truncateLog(folder, 2);
    expect(readFileSync(folder.log, "utf8")).toBe(
      '{"kind":"step","step":1,"loss":0.1}\n{"kind":"step","step":2,"loss":0.2}\n',
    );
  });

  it("names a line in the middle that is not JSON, and a log that cannot be written", async () => {
    const folder = runFolder(directory);
    await appendLog(folder, lines[0]);
    appendFileSync(folder.log, "{spoilt\n");
    await appendLog(folder, lines[1]);
    await expect(readLog(folder)).rejects.toThrow(`${folder.log}, line 2: is not JSON.`);
    rmSync(folder.log);
    mkdirSync(folder.log);
    await expect(appendLog(folder, lines[0])).rejects.toThrow(`${folder.log}: cannot be written (EISDIR`);
  });
});
