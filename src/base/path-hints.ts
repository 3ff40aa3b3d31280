import { existsSync } from "node:fs";
import { basename, dirname, extname, isAbsolute } from "node:path";

/** "Owner/name", as the Hugging Face hub names models. */
const HUB_NAME = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;
const FILE_NAME = /^\.(json|jsonl|model|yaml|yml|txt|bin|gguf|pt|pth|safetensors)$/;

/** Why a path of a model or tokenizer may not exist: a name of the hub, or "~" that no shell replaced; undefined when nothing is known. */
export function missingModelHint(path: string): string | undefined {
  return homeHint(path) ?? hubHint(path);
}

/** The hint for a path with "~", which only a shell replaces by the home folder, and only at the beginning of a word. */
export function homeHint(path: string): string | undefined {
  if (!/(^|\/)~(\/|$)/.test(path) || existsSync(path)) return undefined;
  return 'only a shell replaces "~" by the home folder, at the beginning of a word: write the whole path, or $HOME/… on the command line';
}

function hubHint(path: string): string | undefined {
  // A path of a recipe has been made absolute: then the folder "Owner" would be missing too.
  const name = isAbsolute(path) ? `${basename(dirname(path))}/${basename(path)}` : path;
  if (!HUB_NAME.test(name) || FILE_NAME.test(extname(name)) || existsSync(dirname(path))) return undefined;
  return `if "${name}" is a name of the Hugging Face hub: download the model first (git clone https://huggingface.co/${name}), then give its folder`;
}
