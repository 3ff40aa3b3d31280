import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkModelFolder, holdingFolder } from "./output-folder.ts";

const root = mkdtempSync(join(tmpdir(), "cre-output-folder-"));
const path = (name: string) => join(root, name);
beforeAll(() => {
  for (const name of ["model", "tokenizer", "notes"]) mkdirSync(path(name));
  writeFileSync(path("model/model.safetensors"), "x");
  writeFileSync(path("tokenizer/tokenizer.model"), "x");
  writeFileSync(path("notes/notes.txt"), "x");
  symlinkSync("notes", path("link"));
});
afterAll(() => rmSync(root, { recursive: true }));

describe("checkModelFolder", () => {
  const check = (name: string, writes: "tokenizer" | "weights" | "model", overwrite = false, read: string[] = []) =>
    checkModelFolder(path(name), { overwrite, read, writes });

  it("refuses to replace a model or a tokenizer without leave", async () => {
    await expect(check("model", "model")).rejects.toThrow(`${path("model")}: already has model.safetensors.`);
    await expect(check("tokenizer", "tokenizer")).rejects.toThrow("already has tokenizer.model");
    await check("model", "tokenizer");
    await check("tokenizer", "weights");
    await check("notes", "model");
    await check("new/folder", "model");
    await check("model", "model", true);
    expect(readdirSync(root).sort()).toEqual(["link", "model", "notes", "tokenizer"]);
  });

  it("never writes into a folder that is read, by whatever name", async () => {
    await expect(check("notes", "model", true, [path("link")])).rejects.toThrow("is read by this command");
  });

  it("refuses a path that is no folder", async () => {
    await expect(check("notes/notes.txt", "model", true)).rejects.toThrow("is a file, expected a folder");
  });
});

describe("holdingFolder", () => {
  it("lets one process write into a folder at a time", async () => {
    const inner = () => holdingFolder(path("held"), async () => {});
    await expect(holdingFolder(path("held"), inner)).rejects.toThrow(`${path("held")} is in use`);
    expect(readdirSync(path("held"))).toEqual([]);
    await inner();
  });
});
