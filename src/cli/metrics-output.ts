import { writeFileAtomic } from "../base/files.ts";
import { print, printText } from "./terminal.ts";

/** Writes the metrics as JSON to a file for `--json FILE`, then prints the tables, or the JSON for `--json -`. */
export async function writeMetrics(target: string | undefined, metrics: object, tables: () => string): Promise<void> {
  const json = `${JSON.stringify(metrics, null, 2)}\n`;
  if (target === "-") return print(json);
  if (target !== undefined) await writeFileAtomic(target, json);
  await printText(`${tables()}\n`);
}
