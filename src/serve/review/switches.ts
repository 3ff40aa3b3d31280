import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { UserError } from "../../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../../base/files.ts";
import type { NamedRun } from "../served-run.ts";

/** A switch: a retrained run is served in the place of a given one. */
export interface Switch {
  /** The retraining, and the folder of its run. */
  retraining: string;
  directory: string;
  /** The folder that the server was started with; another one under this name is served as given. */
  given: string;
  /** ISO 8601. */
  at: string;
}

/** The switches of a server by the name of the run, kept in a file over restarts. */
export interface Switches {
  get(name: string): Switch | undefined;
  /** Both resolve when the change is on the disk. */
  set(name: string, one: Omit<Switch, "at">): Promise<void>;
  remove(name: string): Promise<boolean>;
}

const MAX_BYTES = 1_000_000;

/** Opens the file, which need not exist. Throws a UserError for one that is damaged. */
export async function openSwitches(file: string): Promise<Switches> {
  const switches = new Map<string, Switch>(existsSync(file) ? Object.entries(await readSwitches(file)) : []);
  const save = (next: ReadonlyMap<string, Switch>) =>
    writeFileAtomic(file, `${JSON.stringify(Object.fromEntries(next), null, 2)}\n`);
  let writing: Promise<void> = Promise.resolve();
  const change = (apply: (next: Map<string, Switch>) => void): Promise<void> => {
    const written = writing.then(async () => {
      const next = new Map(switches);
      apply(next);
      await save(next);
      apply(switches);
    });
    writing = written.catch(() => {});
    return written;
  };
  return {
    get: (name) => switches.get(name),
    set: (name, one) => change((next) => next.set(name, { ...one, at: new Date().toISOString() })),
    async remove(name) {
      if (!switches.has(name)) return false;
      await change((next) => next.delete(name));
      return true;
    },
  };
}

async function readSwitches(file: string): Promise<Record<string, Switch>> {
  const damaged = (what: string) =>
    new UserError(`${file}: ${what}, expected the switches of cre serve.`, {
      hint: "Remove it to serve the runs as they are given.",
    });
  const text = await readTextFile(file, "the switches of a server", MAX_BYTES);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged("is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged("is no object");
  for (const [name, one] of Object.entries(value)) {
    const isSwitch = ["retraining", "directory", "given"].every((key) => typeof one?.[key] === "string");
    if (!isSwitch) throw damaged(`has no switch in ${JSON.stringify(name.slice(0, 100))}`);
  }
  return value as Record<string, Switch>;
}

/**
 * The runs that a server serves: for each given one the run that it was last switched to. Throws a UserError for a switch whose run is gone.
 */
export function switchedRuns(
  named: readonly { name: string; directory: string }[],
  switches: Pick<Switches, "get"> | null,
  log: (line: string) => void,
): NamedRun[] {
  return named.map(({ name, directory }) => {
    const own: NamedRun = { name, directory, given: resolve(directory), retraining: null };
    const found = switches?.get(name);
    if (found === undefined || resolve(directory) === resolve(found.directory)) return own;
    if (own.given !== found.given) {
      log(`${name} is ${directory} as given; it was switched from ${found.given} to ${found.directory}`);
      return own;
    }
    if (!existsSync(found.directory)) {
      throw new UserError(`${found.directory}: is not there, expected the run that ${name} was switched to.`, {
        hint: "Put it back, or serve the runs as they are given: --forget-switches.",
      });
    }
    log(`${name} is ${found.directory} since a switch at ${found.at}; to serve ${directory}: --forget-switches`);
    return { ...own, directory: found.directory, retraining: found.retraining };
  });
}
