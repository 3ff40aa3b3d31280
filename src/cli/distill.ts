import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { UserError } from "../base/errors.ts";
import { type DistillEvent, type DistillStop, distill } from "../ensemble/distill.ts";
import { collect, workFolder } from "./options.ts";
import { Interrupted } from "./report.ts";
import { eachOnce, runsOf } from "./run-list.ts";
import { type Progress, progress, say, warn } from "./terminal.ts";
import { trainingPrinter } from "./train.ts";

const STOPPING_TEACHERS = "stopping after these rows, which are kept; Ctrl-C again stops at once";

interface DistillCommandOptions {
  folds?: string;
  into?: string;
  data?: string;
  rows: string[];
  set: string[];
  run?: string;
  resume?: boolean;
  skipBad?: boolean;
}

export function addDistillCommand(program: Command): void {
  program
    .command("distill")
    .description("train one run on the mean label probabilities of finished runs; Ctrl-C stops, --resume continues")
    .argument("[runs...]", "folders of the runs to learn from")
    .option(
      "--folds <dir>",
      "folder of a finished cre tune in the place of runs: each row is asked of runs that did not see it",
    )
    .option("--into <recipe>", "recipe file of the new run; without it the defaults for --data")
    .option("--data <dir>", "data folder, instead of the recipe's data.path")
    .option("--rows <file>", "JSONL of {sentence, head, tail} to learn from without labels; several times", collect, [])
    .option("--set <key=value>", "replace one value of the recipe, for example distill.temperature=2", collect, [])
    .option("--run <dir>", "run folder (default: runs/distill-NAME of the recipe or data)")
    .option("--resume", "continue from the last answers of the teachers, or from the last checkpoint")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .action(distillRuns);
}

async function distillRuns(lists: readonly string[], options: DistillCommandOptions): Promise<void> {
  const run = folderOf(options);
  const printer = distillPrinter(run);
  const given = options.resume ? resumed(lists, options) : begun(lists, options);
  const stop = await distill({ ...given, run, onEvent: printer.onEvent, onSignal: printer.onSignal }).finally(
    printer.close,
  );
  if (stop) throw new Interrupted(`${stopped(stop)}. Resume with: cre distill --resume --run ${run}`, stop.signal);
  if (!printer.hasTrained()) say(`${run}: training is finished already.`);
}

function folderOf({ run, into, data }: DistillCommandOptions): string {
  const source = into ?? data;
  if (run !== undefined) return run;
  if (source === undefined) {
    throw new UserError("cre distill: got neither a recipe nor data, expected one of them.", {
      hint: "For example: cre distill runs/a runs/b --into recipes/finre-base-all.yaml --data DIR",
    });
  }
  return workFolder("distill", basename(resolve(source)));
}

function resumed(lists: readonly string[], { folds, into, data, rows, set, skipBad }: DistillCommandOptions) {
  if (lists.length > 0 || folds || into || data || rows.length > 0 || set.length > 0 || skipBad) {
    throw new UserError("--resume uses the run's own teachers, recipe and rows; give only --run DIR.");
  }
  return { resume: true };
}

function begun(lists: readonly string[], { folds, into, data, rows, set, skipBad }: DistillCommandOptions) {
  if (lists.length > 0 && folds !== undefined) {
    throw new UserError("cre distill: got runs and --folds, expected one of both.");
  }
  if (lists.length === 0 && folds === undefined) {
    throw new UserError("cre distill: got no run, expected at least one finished run to learn from.", {
      hint: "For example: cre distill runs/a runs/b --into recipes/finre-base-all.yaml --data DIR",
    });
  }
  if (into === undefined && data === undefined) {
    throw new UserError("cre distill: got neither a recipe nor data, expected one of them.", {
      hint: "Give the recipe of the new run (--into RECIPE) or the data (--data DIR).",
    });
  }
  const teachers = eachOnce(lists.flatMap(runsOf), "cre distill");
  return {
    teachers,
    folds,
    recipe: into,
    data,
    rows,
    overrides: set,
    badRows: skipBad ? ("skip" as const) : undefined,
  };
}

function stopped({ phase, step }: DistillStop): string {
  return phase === "teachers" ? "while the teachers answered" : `after step ${step}`;
}

function distillPrinter(directory: string) {
  const training = trainingPrinter(directory, () => {});
  let bar: { teacher: number; bar: Progress } | null = null;
  let hasTrained = false;
  const onEvent = (event: DistillEvent): void => {
    if (event.kind === "teacher") {
      const { teacher, teachers, run, done, total } = event;
      if (bar?.teacher !== teacher) {
        bar?.bar.stop();
        bar = { teacher, bar: progress(`teacher ${teacher}/${teachers}`, total) };
      }
      bar.bar.update(done, run);
      return;
    }
    if (event.kind === "notice") {
      if (bar) bar.bar.line(`note: ${event.text}`);
      else warn(event.text);
      return;
    }
    bar?.bar.stop();
    bar = null;
    if (event.kind === "start") hasTrained = true;
    training.onEvent(event);
  };
  return {
    onEvent,
    onSignal: () => (bar ? bar.bar.line(STOPPING_TEACHERS) : training.onSignal()),
    hasTrained: () => hasTrained,
    close() {
      bar?.bar.stop();
      training.close();
    },
  };
}
