import type { Dirent } from "node:fs";
import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { basename, join, relative, resolve, sep } from "node:path";
import { messageOf, UserErrors } from "../../base/errors.ts";
import type { BadDocument } from "../document.ts";
import { addTo, emptyReadCounts, type ReadCounts } from "./format.ts";
import type { ReadLimits } from "./limits.ts";

/** A file to read. */
export interface InputFile {
  /** Relative to its input, or below it when there are several; with "/" on every system. */
  id: string;
  path: string;
  /** Whether it was named itself; a file that a folder or a pattern has may be of another kind. */
  isNamed: boolean;
}

/** One argument: a file, a folder, or a pattern below a folder. */
type Input =
  | { kind: "file"; given: string }
  | { kind: "folder"; given: string }
  | { kind: "pattern"; given: string; folder: string; pattern: RegExp };

const PATTERN = /[*?{[]/;

/** Finds out what the inputs are. Throws UserErrors that name every one that is missing. */
export async function openInputs(inputs: readonly string[]): Promise<Input[]> {
  const found: Input[] = [];
  const problems: string[] = [];
  for (const given of inputs) {
    const info = await stat(given).catch((error: unknown) => messageOf(error));
    if (typeof info !== "string") {
      found.push({ kind: info.isDirectory() ? "folder" : "file", given });
    } else if (PATTERN.test(given)) {
      const parts = given.split("/");
      const first = parts.findIndex((part) => PATTERN.test(part));
      const folder = parts.slice(0, first).join("/") || (given.startsWith("/") ? "/" : ".");
      const isFolder = await stat(folder).then(
        (one) => one.isDirectory(),
        () => false,
      );
      if (isFolder) found.push({ kind: "pattern", given, folder, pattern: globPattern(parts.slice(first).join("/")) });
      else problems.push(`${given}: ${folder} is no folder, expected one in which files match the pattern`);
    } else problems.push(`${given}: cannot be read (${info}), expected a file, a folder or a pattern`);
  }
  if (problems.length > 0) throw new UserErrors("The documents cannot be read:", problems);
  return found;
}

/** A glob as a pattern of a relative path: * and ? inside a name, ** over folders, {a,b}, [abc]. */
export function globPattern(glob: string): RegExp {
  let source = "";
  let depth = 0;
  for (let i = 0; i < glob.length; i++) {
    const character = glob[i];
    if (glob.startsWith("**/", i)) {
      source += "(?:[^/]+/)*";
      i += 2;
    } else if (glob.startsWith("**", i)) {
      source += ".*";
      i++;
    } else if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "{" && glob.includes("}", i)) {
      source += "(?:";
      depth++;
    } else if (character === "}" && depth > 0) {
      source += ")";
      depth--;
    } else if (character === "," && depth > 0) source += "|";
    else if (character === "[" && glob.indexOf("]", i + 2) > 0) {
      const end = glob.indexOf("]", i + 2);
      const inside = glob.slice(i + 1, end).replace(/[\\^[\]]/g, "\\$&");
      source += inside.startsWith("!") ? `[^/${inside.slice(1)}]` : `[${inside}]`;
      i = end;
    } else source += character.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  }
  return new RegExp(`^${source}${")".repeat(depth)}$`, "u");
}

interface Walk {
  counts: ReadCounts;
  limits: ReadLimits;
}

/**
 * The files of all inputs, sorted in each folder. Hidden files are left out; so are links to folders and links that lead out of the folder.
 * All of them are counted. A folder that cannot be read is a bad document.
 */
export async function* inputFiles(
  inputs: readonly Input[],
  walk: Walk,
): AsyncGenerator<InputFile | { bad: BadDocument }> {
  const isOnly = inputs.length === 1;
  const seen = new Set<string>();
  const isRepeated = async (path: string): Promise<boolean> => {
    if (isOnly) return false;
    const real = await realpath(path).catch(() => resolve(path));
    if (seen.has(real)) {
      addTo(walk.counts.skipped, "repeated");
      return true;
    }
    seen.add(real);
    return false;
  };
  for (const input of inputs) {
    if (input.kind === "file") {
      if (await isRepeated(input.given)) continue;
      yield { id: isOnly ? basename(input.given) : slashed(input.given), path: input.given, isNamed: true };
      continue;
    }
    const folder = input.kind === "folder" ? input.given : input.folder;
    const root = await realpath(folder);
    let matched = 0;
    // A pattern says what is wanted, so what it does not match is no omission.
    const own = input.kind === "folder" ? walk : { ...walk, counts: emptyReadCounts() };
    for await (const found of filesBelow(folder, root, "", 0, own)) {
      if ("bad" in found) yield found;
      else if (input.kind === "folder" || input.pattern.test(found.id)) {
        matched++;
        if (await isRepeated(found.path)) continue;
        yield isOnly ? found : { ...found, id: slashed(join(folder, found.id)) };
      }
    }
    if (matched === 0) yield { bad: { id: input.given, reason: "has no files, expected documents" } };
  }
}

const slashed = (path: string): string => path.split(sep).join("/");

async function* filesBelow(
  folder: string,
  root: string,
  prefix: string,
  depth: number,
  walk: Walk,
): AsyncGenerator<InputFile | { bad: BadDocument }> {
  const { counts, limits } = walk;
  if (depth > limits.folderDepth) {
    const reason = `is ${depth} folders deep, expected at most ${limits.folderDepth} (limit folderDepth)`;
    yield { bad: { id: prefix.slice(0, -1), reason } };
    return;
  }
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    yield { bad: { id: prefix.slice(0, -1) || folder, reason: `cannot be read (${messageOf(error)})` } };
    return;
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const entry of entries) {
    const [path, id] = [join(folder, entry.name), `${prefix}${entry.name}`];
    if (entry.name.startsWith(".")) addTo(counts.skipped, "hidden");
    else if (entry.isDirectory()) yield* filesBelow(path, root, `${id}/`, depth + 1, walk);
    else if (entry.isFile()) yield { id, path, isNamed: false };
    else if (entry.isSymbolicLink() && (await isFileInside(path, root))) yield { id, path, isNamed: false };
    else addTo(counts.skipped, entry.isSymbolicLink() ? "link" : "no regular file");
  }
}

/** Whether a link leads to a file below the root. */
async function isFileInside(link: string, root: string): Promise<boolean> {
  try {
    const target = await realpath(link);
    const way = relative(root, target);
    return !way.startsWith("..") && resolve(root, way) === target && (await lstat(target)).isFile();
  } catch {
    return false;
  }
}
