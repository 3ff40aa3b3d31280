import { describe, expect, it } from "vitest";
import { type Folder, readFolderBytes, readFolderText } from "./folder.ts";

/** A folder with one file whose bytes come in parts of at most three; `claimed` is the size that it gives. */
function folderOf(content: string, claimed?: number): Folder & { closed: number } {
  const all = new TextEncoder().encode(content);
  const folder = {
    directory: "d",
    closed: 0,
    path: (name: string) => `d/${name}`,
    has: () => true,
    open: async () => ({
      sizeBytes: claimed ?? all.length,
      handle: {
        async read(bytes: Uint8Array, offset: number, length: number, position: number) {
          const part = all.subarray(position, position + Math.min(3, length));
          bytes.set(part, offset);
          return { bytesRead: part.length };
        },
        async close() {
          folder.closed++;
        },
      },
    }),
  };
  return folder;
}

describe("a file of a folder", () => {
  it("is read whole, in parts, and closed", async () => {
    const folder = folderOf("\ufeff关系抽取\n");
    expect(await readFolderText(folder, "a.txt", "a text", 100)).toBe("关系抽取\n");
    expect(folder.closed).toBe(1);
  });

  it.each([
    ["is longer than allowed", folderOf("0123456789"), "d/a: has 10 bytes, expected a text of at most 9 bytes."],
    ["ends early", folderOf("0123", 5), "d/a: ends at byte 4, expected 5."],
  ])("that %s is refused and closed", async (_, folder, message) => {
    await expect(readFolderBytes(folder, "a", "a text", 9)).rejects.toThrow(message);
    expect(folder.closed).toBe(1);
  });

  it("that is a Git LFS pointer, or no UTF-8, is named", async () => {
    const pointer = folderOf("version https://git-lfs.github.com/spec/v1\n");
    await expect(readFolderBytes(pointer, "a", "a text", 99)).rejects.toThrow(
      "d/a: is a Git LFS pointer, expected a text.",
    );
    const cut: Folder = { ...folderOf("关", 2) };
    await expect(readFolderText(cut, "a", "a text", 99)).rejects.toThrow("d/a, line 1: is not valid UTF-8.");
  });
});
