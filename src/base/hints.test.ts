import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openToRead, readLines, readTextFile } from "./files.ts";
import { gitLfsHint } from "./hints.ts";

const POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 13476838000\n";
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "cre-hints-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function linesOf(file: string): Promise<void> {
  for await (const _ of readLines(file, { maxLineBytes: 1000 }));
}

describe("a Git LFS pointer", () => {
  it("is known by its beginning", () => {
    for (const start of [POINTER, Buffer.from(POINTER)]) expect(gitLfsHint(start)).toContain("git lfs pull");
    for (const start of ["", "version 1", Buffer.from("GGUF")]) expect(gitLfsHint(start)).toBe(null);
  });

  it.each([
    ["readTextFile", (file: string) => readTextFile(file, "the labels", 1e6), "expected the labels."],
    ["openToRead", (file: string) => openToRead(file, "weights"), "expected weights."],
    ["readLines", linesOf, "expected its rows."],
  ])("is refused by %s with its name", async (_, read, expected) => {
    const file = join(root, "file");
    await writeFile(file, POINTER);
    await expect(read(file)).rejects.toMatchObject({
      message: `${file}: is a Git LFS pointer, ${expected}`,
      hint: expect.stringContaining("git lfs pull"),
    });
  });
});
