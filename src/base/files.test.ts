import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "./errors.ts";
import {
  fileSizeBytes,
  readLines,
  readTextFile,
  type TextLine,
  writeAtomic,
  writeFileAtomic,
  writeFully,
} from "./files.ts";
import { decodeUtf8 } from "./utf8.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "cre-files-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
function put(name: string, content: string | Uint8Array): string {
  writeFileSync(path(name), content);
  return path(name);
}
const bytesOf = (...parts: (string | number[])[]) =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from(part))));

describe("writing", () => {
  it("replaces a file whole and leaves nothing next to it", async () => {
    const file = join(folder, "a", "b", "c.txt");
    await writeFileAtomic(file, "one");
    await writeFileAtomic(file, new Uint8Array([116, 119, 111]));
    expect(readFileSync(file, "utf8")).toBe("two");
    expect(readdirSync(join(folder, "a", "b"))).toEqual(["c.txt"]);
  });

  it("keeps the old content and leaves nothing when writing fails", async () => {
    mkdirSync(path("failing"));
    const file = path("failing/state.json");
    await writeFileAtomic(file, "old");
    const failing = writeAtomic(file, async (handle) => {
      await handle.write("half");
      throw new Error("stopped");
    });
    await expect(failing).rejects.toThrow("stopped");
    expect(readFileSync(file, "utf8")).toBe("old");
    expect(readdirSync(path("failing"))).toEqual(["state.json"]);
  });

  it("says when the system refuses, and leaves nothing", async () => {
    mkdirSync(path("refusing/is-a-folder/full"), { recursive: true });
    const file = path("refusing/is-a-folder");
    const refused = writeFileAtomic(file, "x");
    await expect(refused).rejects.toThrow(UserError);
    await expect(refused).rejects.toThrow(`${file}: is a folder, expected a file to write.`);
    expect(readdirSync(path("refusing"))).toEqual(["is-a-folder"]);
    put("plain", "");
    await expect(writeFileAtomic(path("plain/below"), "x")).rejects.toThrow(/plain is a file, not a folder/);
  });

  it("writes on where a call took only some of the bytes", async () => {
    const file = path("short-writes");
    const handle = await open(file, "w");
    const short = {
      write: (bytes: Uint8Array, offset: number, length: number) => handle.write(bytes, offset, Math.min(7, length)),
    };
    const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
    await writeFully(short as unknown as FileHandle, bytes);
    await handle.close();
    expect(Uint8Array.from(readFileSync(file))).toEqual(bytes);
  });
});

describe("reading whole files", () => {
  it("reads UTF-8 without its byte-order mark", async () => {
    expect(await readTextFile(put("bom.txt", "\ufeff关系\r\n"), "a text", 100)).toBe("关系\r\n");
    expect(await readTextFile(put("empty.txt", ""), "a text", 100)).toBe("");
  });

  it("says what was expected where there is none", async () => {
    await expect(readTextFile(path("absent"), "a recipe", 100)).rejects.toThrow(
      /absent: cannot be read \(ENOENT.*\), expected a recipe\.$/,
    );
    await expect(readTextFile(folder, "a recipe", 100)).rejects.toThrow(`${folder}: is not a file, expected a recipe.`);
    await expect(fileSizeBytes("with\0zero", "a recipe")).rejects.toThrow(UserError);
    expect(await fileSizeBytes(put("four.txt", "四x"), "a text")).toBe(4);
  });

  it("bounds the size", async () => {
    const file = put("large.txt", "12345");
    expect(await readTextFile(file, "a recipe", 5)).toBe("12345");
    await expect(readTextFile(file, "a recipe", 4)).rejects.toThrow(
      `${file}: has 5 bytes, expected a recipe of at most 4 bytes.`,
    );
  });

  it("names the first line that is not UTF-8", () => {
    const bytes = bytesOf("一\n二\n", [0xc4, 0xe3], "\n", [0xff]);
    expect(() => decodeUtf8(bytes, "gbk.txt")).toThrow("gbk.txt, line 3: is not valid UTF-8.");
    expect(() => decodeUtf8(bytesOf("一\n", [0xe4, 0xb8]), "cut.txt")).toThrow("cut.txt, line 2: is not valid UTF-8.");
    try {
      decodeUtf8(bytes, "gbk.txt");
    } catch (error) {
      expect((error as UserError).hint).toContain("iconv -f GB18030");
    }
  });
});

async function linesOf(source: string | NodeJS.ReadableStream, maxLineBytes = 1000): Promise<TextLine[]> {
  const lines: TextLine[] = [];
  for await (const line of readLines(source, { maxLineBytes })) lines.push(line);
  return lines;
}
const textsOf = (lines: TextLine[]) => lines.map(({ text }) => text);
const inChunks = (bytes: Uint8Array, size: number) =>
  Readable.from(
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      Buffer.from(bytes.subarray(i * size, (i + 1) * size)),
    ),
  );

describe("readLines", () => {
  it("splits at LF and CRLF and numbers the lines", async () => {
    const file = put("lines.txt", "a\r\n\nb\rc\r\r\n d \n");
    expect(await linesOf(file)).toEqual([
      { number: 1, text: "a", problem: null },
      { number: 2, text: "", problem: null },
      { number: 3, text: "b\rc\r", problem: null },
      { number: 4, text: " d ", problem: null },
    ]);
  });

  it("gives a last line without a line end, and none for an empty file", async () => {
    expect(textsOf(await linesOf(put("last.txt", "a\nb")))).toEqual(["a", "b"]);
    expect(textsOf(await linesOf(put("blank.txt", "a\n\n")))).toEqual(["a", ""]);
    expect(await linesOf(put("nothing.txt", ""))).toEqual([]);
  });

  it("drops a byte-order mark at the start only", async () => {
    expect(textsOf(await linesOf(put("marks.txt", "\ufeffa\n\ufeffb\n")))).toEqual(["a", "\ufeffb"]);
  });

  it("gives the same lines whatever the chunks", async () => {
    const text = "\ufeff第一行,借壳\r\n😀 second\n\n第四行";
    const expected = ["第一行,借壳", "😀 second", "", "第四行"];
    for (let size = 1; size <= 40; size++) {
      expect(textsOf(await linesOf(inChunks(Buffer.from(text), size)))).toEqual(expected);
    }
    expect(textsOf(await linesOf(Readable.from(["第一", "行\n第", "二行"])))).toEqual(["第一行", "第二行"]);
  });

  it("reports a line that is too long or not UTF-8 and continues", async () => {
    const bytes = bytesOf("好\n", [0xb9, 0xd8], "\n", "x".repeat(11), "\n四\r\n", "y".repeat(10), "\n", [0xe4, 0xb8]);
    const expected = [
      { number: 1, text: "好", problem: null },
      { number: 2, text: null, problem: "the line is not valid UTF-8" },
      { number: 3, text: null, problem: "the line has 11 bytes, expected at most 10" },
      { number: 4, text: "四", problem: null },
      { number: 5, text: "yyyyyyyyyy", problem: null },
      { number: 6, text: null, problem: "the line is not valid UTF-8" },
    ];
    for (const size of [1, 3, 1000]) expect(await linesOf(inChunks(bytes, size), 10)).toEqual(expected);
  });

  it("keeps a line of any length out of the memory", async () => {
    const before = process.memoryUsage().arrayBuffers;
    let mostBytes = 0;
    function* chunks() {
      for (let i = 0; i < 256; i++) {
        yield Buffer.alloc(1 << 20, "x");
        mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers - before);
      }
      yield Buffer.from("\nb");
    }
    const lines = await linesOf(Readable.from(chunks()), 1_000_000);
    expect(lines).toEqual([
      { number: 1, text: null, problem: `the line has ${256 * 2 ** 20} bytes, expected at most 1000000` },
      { number: 2, text: "b", problem: null },
    ]);
    // Kept whole, the line would take 268 MB and as much again to join.
    expect(mostBytes).toBeLessThan(200_000_000);
  });

  it("says what cannot be read", async () => {
    await expect(linesOf(path("absent"))).rejects.toThrow(/absent: cannot be read \(ENOENT/);
    await expect(linesOf(folder)).rejects.toThrow(/cannot be read \(EISDIR/);
    const broken = new Readable({ read: () => broken.destroy(new Error("unplugged")) });
    await expect(linesOf(broken)).rejects.toThrow("standard input: cannot be read (unplugged).");
    await expect(linesOf(broken)).rejects.toThrow(UserError);
  });

  it("closes the file when the reader stops early", async () => {
    const stream = inChunks(Buffer.from("a\nb\nc\n"), 2);
    for await (const line of readLines(stream, { maxLineBytes: 10 })) {
      expect(line.text).toBe("a");
      break;
    }
    expect(stream.destroyed).toBe(true);
  });
});
