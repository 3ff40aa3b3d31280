import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { openDataset } from "../src/data/dataset.ts";
import type { Example } from "../src/data/example.ts";
import { type ConversionOptions, convertLabelled } from "../src/data/formats/convert-labelled.ts";
import type { LabelledFormatName } from "../src/data/formats/registry.ts";

/** Converts the given files with `cre data convert --from` and reads the data folder back. */
export async function convert(
  from: LabelledFormatName,
  files: Record<string, string>,
  options: ConversionOptions & { input?: string } = {},
) {
  const folder = await mkdtemp(join(tmpdir(), "cre-labelled-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), content);
    }
    const output = join(folder, "converted");
    const input = options.input === undefined ? folder : join(folder, options.input);
    const conversion = await convertLabelled(input, from, output, options);
    const dataset = await openDataset(output);
    const examples: Record<string, Example[]> = {};
    for (const name of dataset.splitNames) examples[name] = (await dataset.split(name)).examples;
    const labels = JSON.parse(await readFile(join(output, "labels.json"), "utf8"));
    return { ...conversion, examples, labels };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** "head label,label tail" of examples, without places. */
export const triplesOf = (examples: readonly Example[] = []): string[] =>
  examples.map(({ head, tail, relations }) => `${head} ${relations?.join(",")} ${tail}`);

/** Rows one a line. */
export const lines = (...rows: unknown[]): string =>
  rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join("\n");
