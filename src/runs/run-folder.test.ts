import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { appendLog, isFinished, type LogLine, readLog, runFolder, truncateLog } from "./run-folder.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-run-folder-"));
afterAll(() => rmSync(directory, { recursive: true }));

const LINES: LogLine[] = [1, 2, 3].map((step) => ({ kind: "step", step, loss: 1 / step }));

async function folderWithLog() {
  const folder = runFolder(mkdtempSync(join(directory, "run-")));
  for (const line of LINES) await appendLog(folder, line);
  return folder;
}

describe("the log of a run", () => {
  it.each<[string, Buffer]>([
    ["nothing", Buffer.alloc(0)],
    ["NUL bytes", Buffer.alloc(5000)],
    ["NUL bytes and a line end", Buffer.from("\0\0\0\n")],
    ["half a line", Buffer.from('{"kind":"step","st')],
    ["half a line, NUL bytes and a line end", Buffer.from('{"kind":"st\0\0\0\n\0\n')],
    ["half a character", Buffer.from([0x7b, 0xe6, 0x94])],
  ])("is read without %s at its end, and cut there when training resumes", async (_, tail) => {
    const folder = await folderWithLog();
    appendFileSync(folder.log, tail);
    expect(await readLog(folder)).toEqual(LINES);
    await truncateLog(folder, 2);
    expect(readFileSync(folder.log, "utf8")).toBe(
      LINES.slice(0, 2)
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(""),
    );
  });

  it("is refused where a line in the middle is lost", async () => {
    const folder = await folderWithLog();
    appendFileSync(folder.log, `\0\0\n${JSON.stringify(LINES[0])}\n`);
    await expect(readLog(folder)).rejects.toThrow(`${folder.log}, line 4: is not JSON.`);
  });
});

describe("a run", () => {
  it("is finished once done.json says so, not when a power failure lost its content", async () => {
    const folder = runFolder(join(directory, "done"));
    mkdirSync(folder.directory);
    expect(await isFinished(folder)).toBe(false);
    writeFileSync(folder.done, Buffer.alloc(40));
    expect(await isFinished(folder)).toBe(false);
    writeFileSync(folder.done, '{"steps": 3}\n');
    expect(await isFinished(folder)).toBe(true);
  });
});
