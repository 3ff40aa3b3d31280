import { readdir, rm, rmdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { UserError } from "../base/errors.ts";
import { namingFile } from "../base/output.ts";
import { holdRun, LEFTOVER, LOCK, runFolder } from "./run-folder.ts";

/** The files of a model or an adapter with its tokenizer. */
const MODEL_FILE = String.raw`[^/]+\.(safetensors|json|model|gguf|bin|py)|merges\.txt|chat_template\.jinja`;
const ADAPTER_FILE = String.raw`adapter_(config\.json|model\.safetensors)`;

/** Files that trainings, evaluations, exports and hand-overs write into a run, by their paths in it. */
const MADE = [
  /^(recipe\.yaml|log\.jsonl|test-looks\.jsonl|report\.html|adapter_model\.safetensors|companion\.bin)$/,
  /^(base|labels|done|metrics|adapter_config|checksums|calibration|companion|engine)\.json$/,
  new RegExp(`^(checkpoints|model)/(${MODEL_FILE})$`),
  new RegExp(String.raw`^export/[^/]+/(${MODEL_FILE}|README\.md|SERVING\.md|Modelfile)$`),
  // What PyTorch is handed, and what its trainer makes of it (engines/torch/train.py).
  /^hand-over\/(hand-over\.json|(rows|examples|steps)\.jsonl|recipe\.yaml|axolotl\.yaml|train\.py|requirements\.txt|trainer\.log)$/,
  new RegExp(`^hand-over/base/(${MODEL_FILE})$`),
  new RegExp(String.raw`^hand-over/(adapter|out/kept/step-\d{8})/${ADAPTER_FILE}(\.part)?$`),
  /^hand-over\/out\/(log\.jsonl|result\.json|train\.lock|state\.safetensors)(\.(part|new|previous))?$/,
  /^predictions\/(train|valid|test|rows)-[0-9a-f]{8}\.(jsonl|json)$/,
  LEFTOVER,
];

/**
 * Empties the folder of a run that no process works in. `own` are further files that may be removed. Throws a UserError, and removes nothing,
 * when the run is in use or has a file that this program did not make.
 */
export async function removeRun(directory: string, own: readonly string[]): Promise<void> {
  const release = await holdRun(runFolder(directory));
  try {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    const pathOf = (entry: { parentPath: string; name: string }) =>
      relative(directory, join(entry.parentPath, entry.name)).replaceAll("\\", "/");
    const folders = entries.filter((entry) => entry.isDirectory()).map(pathOf);
    const files = entries.filter((entry) => !entry.isDirectory());
    const isOurs = (path: string) => path === LOCK || own.includes(path) || MADE.some((pattern) => pattern.test(path));
    const foreign = files.find((entry) => !entry.isFile() || !isOurs(pathOf(entry)));
    if (foreign) {
      throw new UserError(
        `${directory}: is not replaced, since ${pathOf(foreign)} in it was not made by this program.`,
        {
          hint: "Move that file away, or give another folder with --run DIR.",
        },
      );
    }
    await namingFile(directory, async () => {
      for (const file of files) if (pathOf(file) !== LOCK) await rm(join(directory, pathOf(file)));
      // Inner folders first.
      for (const folder of folders.sort().reverse()) await rmdir(join(directory, folder));
    });
  } finally {
    await release();
  }
}
