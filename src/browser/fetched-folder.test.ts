import { mkdirSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serveFolder } from "../../test/browser/server.ts";
import { temporaryFolder } from "../../test/e2e/support.ts";
import { readFolderText } from "../base/folder.ts";
import { fetchedFolder } from "./fetched-folder.ts";

const folder = temporaryFolder("fetched");
let server: Server;
let address: string;

beforeAll(async () => {
  mkdirSync(join(folder.path, "run"));
  writeFileSync(join(folder.path, "run", "labels.json"), "{}\n");
  ({ server, address } = await serveFolder(folder.path, false));
});
afterAll(() => {
  server.close();
  folder.remove();
});

const open = (files: Record<string, number>, onBytes?: (bytes: number) => void) =>
  fetchedFolder(`${address}run/`, { files, onBytes });

describe("a fetched folder", () => {
  it("gives its files and tells how many bytes have come", async () => {
    let bytes = 0;
    const run = open({ "labels.json": 3 }, (more) => {
      bytes += more;
    });
    expect(run.has("labels.json")).toBe(true);
    expect(run.has("toString")).toBe(false);
    expect(await readFolderText(run, "labels.json", "labels", 100)).toBe("{}\n");
    expect(bytes).toBe(3);
  });

  it("gives parts of a file, and none behind its end", async () => {
    const { handle, sizeBytes } = await open({ "labels.json": 3 }).open("labels.json", "labels");
    const bytes = new Uint8Array(4);
    expect(sizeBytes).toBe(3);
    expect(await handle.read(bytes, 2, 2, 1)).toEqual({ bytesRead: 2 });
    expect([...bytes]).toEqual([0, 0, 125, 10]);
    expect(await handle.read(bytes, 0, 4, 3)).toEqual({ bytesRead: 0 });
  });

  it.each([
    ["longer", { "labels.json": 2 }, "it has more than 2 bytes"],
    ["shorter", { "labels.json": 4 }, "has 3 bytes, expected 4: labels"],
  ])("refuses a file that is %s than expected", async (_, files, message) => {
    await expect(open(files).open("labels.json", "labels")).rejects.toThrow(message);
  });

  it("names a file that is not there", async () => {
    await expect(open({ "recipe.yaml": 9 }).open("recipe.yaml", "a recipe")).rejects.toThrow(
      "run/recipe.yaml: cannot be read (status 404), expected a recipe.",
    );
    await expect(open({}).open("recipe.yaml", "a recipe")).rejects.toThrow("is not in the list of files");
  });

  it("refuses a text that is too long", async () => {
    await expect(readFolderText(open({ "labels.json": 3 }), "labels.json", "labels", 2)).rejects.toThrow(
      "has 3 bytes, expected labels of at most 2 bytes",
    );
  });
});
