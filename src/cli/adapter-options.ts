import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import type { AdapterSource, RunSource } from "../runs/given-adapter.ts";

/** The options of an adapter that another program made, in the place of a run. */
export interface AdapterOptions {
  adapter?: string;
  base?: string;
  labels?: string;
  recipe?: string;
}

/** Adds the options that name an adapter made elsewhere to a command that otherwise takes a run. */
export function addAdapterOptions(command: Command): void {
  command
    .addOption(new Option("--adapter <dir>", "PEFT folder of an adapter made elsewhere, instead of a run"))
    .addOption(
      new Option(
        "--base <dir>",
        "with --adapter: folder of its base model (default: the recipe's); with --endpoint: of the model's tokenizer",
      ),
    )
    .addOption(
      new Option(
        "--labels <path>",
        "with --adapter or --endpoint: labels.json, relation2id.txt, a JSON list or a data folder",
      ),
    )
    .addOption(new Option("--recipe <file>", "with --adapter or --endpoint: recipe for prompt and decoding"));
}

/** The adapter that the options name; null for a run. Throws a UserError for both, none, or options that go with an adapter only. */
export function adapterOf(run: string | undefined, options: AdapterOptions, command: string): AdapterSource | null {
  const { adapter, base, labels, recipe } = options;
  if (adapter !== undefined) {
    if (run === undefined) return { adapter, base, labels, recipe };
    throw new UserError(`cre ${command}: got the run ${run} and --adapter ${adapter}, expected one of them.`);
  }
  const lost = Object.entries({ base, labels, recipe }).find(([, value]) => value !== undefined);
  if (lost)
    throw new UserError(`cre ${command}: --${lost[0]} goes with --adapter or --endpoint only: a run has its own.`);
  if (run === undefined) {
    throw new UserError(`cre ${command}: missing required argument 'run'.`, {
      hint: "Give a run folder, or --adapter DIR --base DIR --labels FILE for an adapter made elsewhere.",
    });
  }
  return null;
}

/** A run by its folder, or an adapter made elsewhere. */
export const sourceOf = (run: string | undefined, options: AdapterOptions, command: string): RunSource =>
  adapterOf(run, options, command) ?? (run as string);
