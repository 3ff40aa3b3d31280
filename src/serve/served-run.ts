import { basename, resolve } from "node:path";
import { UserError } from "../base/errors.ts";
import { runFingerprint } from "../runs/fingerprint.ts";
import type { OpenOptions } from "../runs/open.ts";
import { openRun, type Run } from "../runs/run.ts";
import { createSharedBases } from "../runs/shared-bases.ts";
import { createExtractLane, createMentionLane, type ExtractLane, type MentionLane } from "./extract-lane.ts";

/** A run to serve, under the name that requests use. */
export interface NamedRun {
  name: string;
  directory: string;
  /** The absolute path of the folder that the server was started with: another one than that of the run after a switch. */
  given: string;
  /** The retraining that it is of after a switch; null for a run as given. */
  retraining: string | null;
}

/** A run that the server answers with. */
export interface ServedRun extends NamedRun {
  run: Run;
  fingerprint: string;
  /** Seconds since 1970. */
  openedAt: number;
  pairs: ExtractLane;
  /** Null for a run that was not trained to find mentions. */
  mentions: MentionLane | null;
}

/** The runs of a server; adapters on one base model share its weights. */
export interface ServedRuns {
  all(): readonly ServedRun[];
  get(name: string): ServedRun | undefined;
  /** Base models in memory that adapters share. */
  readonly sharedBases: number;
  /** Opens one more run, or another one under a name that is served; requests in progress end with the earlier one. */
  open(named: NamedRun): Promise<ServedRun>;
  close(): Promise<void>;
}

const NAME = /^[\p{L}\p{N}][\p{L}\p{N}._-]{0,99}$/u;

/** The name of a run and its folder: NAME=DIR, or a folder whose last part is the name. Throws UserErrors. */
export function namedRuns(given: readonly string[]): { name: string; directory: string }[] {
  const runs = given.map((text) => {
    const [, ownName, rest] = /^([^=/\\]+)=(.+)$/s.exec(text) ?? [];
    const directory = rest ?? text;
    const name = ownName ?? basename(resolve(directory));
    if (NAME.test(name)) return { name, directory };
    throw new UserError(`${text}: "${name}" is no name for requests, expected letters, digits, ".", "_" and "-".`, {
      hint: "Give it one: NAME=DIR",
    });
  });
  const twice = runs.find(({ name }, i) => runs.findIndex((one) => one.name === name) < i);
  if (twice === undefined) return runs;
  throw new UserError(`two runs have the name "${twice.name}", expected different names.`, {
    hint: "Give one of them another name: NAME=DIR",
  });
}

/** Opens runs. Throws a UserError for one that cannot be used. */
export async function openServedRuns(given: readonly NamedRun[], options: OpenOptions): Promise<ServedRuns> {
  const bases = createSharedBases();
  const opened = new Map<string, ServedRun>();
  const replaced: ServedRun[] = [];
  const runs: ServedRuns = {
    all: () => [...opened.values()],
    get: (name) => opened.get(name),
    get sharedBases() {
      return bases.size;
    },
    async open(named) {
      const { name, directory } = named;
      const isThis = (one: ServedRun) => one.name === name && resolve(one.directory) === resolve(directory);
      const current = opened.get(name);
      if (current && isThis(current)) return current;
      const place = (served: ServedRun) => {
        const before = opened.get(name);
        if (before) replaced.push(before);
        opened.set(name, served);
        return served;
      };
      // A run that was switched away from is still in memory.
      const known = replaced.findIndex(isThis);
      if (known >= 0) return place(replaced.splice(known, 1)[0]);
      const onNotice = (line: string) => options.onNotice?.(`${directory}: ${line}`);
      const run = await openRun(directory, { ...options, onNotice, bases });
      return place({
        ...named,
        run,
        fingerprint: await runFingerprint(run),
        openedAt: Math.floor(Date.now() / 1000),
        pairs: createExtractLane(name, run.extractor, run.recipe.prompt.maxPromptTokens),
        mentions: run.mentions && createMentionLane(name, run.mentions),
      });
    },
    async close() {
      for (const { run } of [...replaced, ...opened.values()]) await run.close();
      await bases.close();
    },
  };
  try {
    for (const one of given) await runs.open(one);
    return runs;
  } catch (error) {
    await runs.close();
    throw error;
  }
}
