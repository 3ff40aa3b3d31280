import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readJsonObject } from "./json-file.ts";
import { CONFIG_FILE, expectReadType } from "./peft-config.ts";

/**
 * Reads the adapter_config.json of a folder. Throws a UserError for a folder without one, which names adapters in its subfolders, and for a kind
 * of adapter that is not read, before anything else of it is judged.
 */
export async function readPeftConfig(directory: string): Promise<{ file: string; raw: Record<string, unknown> }> {
  const file = join(directory, CONFIG_FILE);
  if (!existsSync(file)) await expectAdapterFolder(directory);
  const raw = await readJsonObject(file, "a PEFT adapter configuration");
  expectReadType(raw, file);
  return { file, raw };
}

/** Throws a UserError for a folder with adapters in its subfolders, as PEFT saves those that are not called "default", and for a file. */
async function expectAdapterFolder(directory: string): Promise<void> {
  const info = await stat(directory).catch(() => null);
  if (info?.isFile()) {
    throw new UserError(`${directory}: is a file, expected the folder of an adapter (with ${CONFIG_FILE}).`);
  }
  if (!info) return;
  const entries = await readdir(directory, { withFileTypes: true });
  const inside = entries
    .filter((entry) => entry.isDirectory() && existsSync(join(directory, entry.name, CONFIG_FILE)))
    .map(({ name }) => name)
    .sort();
  if (inside.length === 0) return;
  const shown = `${inside.slice(0, 5).join(", ")}${inside.length > 5 ? " …" : ""}`;
  throw new UserError(`${directory}: has no ${CONFIG_FILE}, but ${inside.length} of its folders have one (${shown}).`, {
    hint: `Give the adapter to use: ${join(directory, inside[0])}`,
  });
}
