import { type Command, Option } from "commander";
import picocolors from "picocolors";
import { UserError } from "../base/errors.ts";
import { estimateFolds } from "../crossval/estimate.ts";
import type { RaceMetric } from "../crossval/race.ts";
import { planTuning, type TuneEvent, type TuneOptions, type TuneUnit, TuningStopped, tune } from "../crossval/tune.ts";
import { renderTuning } from "../crossval/tune-table.ts";
import { collect, foldCount, seedList, wholeNumber, workFolder } from "./options.ts";
import { Interrupted } from "./report.ts";
import { warnBadRows } from "./splits.ts";
import { duration, type Progress, percent, print, printText, progress, STOPPING, say, warn } from "./terminal.ts";

interface TuneCommandOptions {
  grid: string[];
  folds: number;
  seeds: number[];
  foldSeed: number;
  metric: RaceMetric;
  drop: boolean;
  data?: string;
  set: string[];
  run?: string;
  dryRun?: boolean;
  skipBad?: boolean;
  json?: boolean;
}

export function addTuneCommand(program: Command): void {
  program
    .command("tune")
    .description("choose values of a recipe by cross-validation over the training rows; repeat the command to continue")
    .argument("[recipe]", "recipe file; without it the defaults for --data")
    .option(
      "--grid <key=values>",
      "values to try, for example train.learningRate=1e-4,3e-4; several times: all combinations",
      collect,
      [],
    )
    .option("--folds <n>", "folds; the rows of a sentence are in one", foldCount, 5)
    .option("--seeds <list>", "seeds that each value is trained with, with commas between", seedList, [1])
    .option("--fold-seed <n>", "seed of the division into folds and of the intervals", wholeNumber, 1)
    .addOption(new Option("--metric <name>", "F1 that decides").choices(["micro", "paper"]).default("micro"))
    .option("--no-drop", "train every candidate on all folds")
    .option("--data <dir>", "data folder, instead of the recipe's data.path")
    .option("--set <key=value>", "replace one value of the recipe for all candidates", collect, [])
    .option("--run <dir>", "folder of the work (default: runs/tune-NAME of the recipe or data)")
    .option("--dry-run", "print the plan and the estimated time, and train nothing")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .option("--json", "print JSON")
    .action(tuneRecipe);
}

async function tuneRecipe(recipe: string | undefined, options: TuneCommandOptions): Promise<void> {
  const { data, grid } = options;
  if (recipe === undefined && data === undefined) {
    throw new UserError("cre tune: got neither a recipe nor data, expected one of them.", {
      hint: "For example: cre tune --data DIR --grid train.epochs=4,8",
    });
  }
  if (grid.length === 0) {
    throw new UserError("cre tune: got no --grid, expected values to try.", {
      hint: "For example: --grid train.learningRate=1e-4,3e-4",
    });
  }
  const { folds, seeds, foldSeed, metric, set } = options;
  const run = options.run ?? workFolder("tune", recipe ?? (data as string));
  const badRows = options.skipBad ? "skip" : undefined;
  const settings: TuneOptions = {
    ...{ run, recipe, overrides: set, data, badRows, grid, folds, seeds, foldSeed, metric, dropLosers: options.drop },
  };
  if (options.dryRun) return showPlan(settings, options);
  const printer = tuningPrinter();
  const result = await tune({ ...settings, onEvent: printer.onEvent, onSignal: printer.onSignal })
    .catch((error: unknown) => {
      printer.close();
      if (!(error instanceof TuningStopped)) throw error;
      throw new Interrupted("what is finished is kept. Repeat the same command to continue.", error.signal);
    })
    .finally(printer.close);
  if (options.json) await print(`${JSON.stringify(result, null, 2)}\n`);
  else await printText(renderTuning(result, process.stdout.isTTY));
  say(`the best recipe: ${result.best}; cre train ${result.best} trains it on all training rows`);
}

async function showPlan(settings: TuneOptions, { json }: TuneCommandOptions): Promise<void> {
  const plan = await planTuning({
    ...settings,
    onEvent: (event) => void (event.kind === "data" && warnBadRows(event)),
  });
  for (const text of plan.notices) warn(text);
  const { seeds = [1] } = settings;
  say("timing a few steps …");
  const estimate = await estimateFolds(plan, seeds);
  const { trainings, finished, seconds } = estimate;
  const { data, examples } = plan.rows;
  const candidates = plan.candidates.map(({ name }) => name);
  const [{ train, held }] = plan.folds;
  if (json) {
    const rows = { training: examples.length, perFold: { train: train.length, held: held.length } };
    const summary = { data, rows, candidates, folds: plan.folds.length, seeds, trainings, finished, seconds };
    return print(`${JSON.stringify(summary, null, 2)}\n`);
  }
  const count = (n: number, name: string) => `${n} ${name}${n === 1 ? "" : "s"}`;
  const lines = [
    `${data}: ${examples.length} training rows; a fold trains on about ${train.length} and is scored on ${held.length}`,
    ...candidates.map((name) => `  ${name}`),
    `${count(candidates.length, "candidate")}, ${count(plan.folds.length, "fold")}, ${count(seeds.length, "seed")}: ${count(trainings, "training")}, ${finished} finished`,
    `about ${duration(seconds)} on this machine as busy as it is now; less where losers are dropped`,
  ];
  await printText(`${lines.join("\n")}\n`);
}

function tuningPrinter() {
  const notices = new Set<string>();
  let bar: Progress | null = null;
  let at = { done: 0, what: "" };
  const tell = (line: string) => (bar?.line ?? say)(line);
  const nameOf = ({ candidates, seed, fold }: TuneUnit, seeds: number) => {
    const more = candidates.length > 1 ? ` and ${candidates.length - 1} more` : "";
    return `${candidates[0]}${more}, ${seeds > 1 ? `seed ${seed} ` : ""}fold ${fold}`;
  };
  let seeds = 1;
  const onEvent = (event: TuneEvent): void => {
    if (event.kind === "data") warnBadRows(event);
    else if (event.kind === "notice") warn(event.text);
    else if (event.kind === "plan") {
      seeds = event.seeds.length;
      say(`${event.candidates.length} candidates, ${event.trainings} trainings at most`);
      bar = progress("tune", event.trainings);
    } else if (event.kind === "unit") {
      at = { done: event.done, what: nameOf(event.unit, seeds) };
      bar?.update(at.done, at.what);
    } else if (event.kind === "rows") bar?.update(at.done, `${at.what}: row ${event.done}/${event.total}`);
    else if (event.kind === "score") {
      const where = `${seeds > 1 ? `seed ${event.seed} ` : ""}fold ${event.fold}`;
      tell(`  ${event.candidate}  ${where}: micro F1 ${percent(event.micro)}, paper F1 ${percent(event.paper)}`);
    } else if (event.kind === "dropped") {
      tell(`  ${picocolors.yellow("dropped")} ${event.candidate}: ${percent(-event.behind)} behind the best`);
    } else onTraining(event.event);
  };
  let steps = 0;
  const onTraining = (event: Extract<TuneEvent, { kind: "training" }>["event"]): void => {
    if (event.kind === "start") steps = event.totalSteps;
    else if (event.kind === "step") bar?.update(at.done, `${at.what}: step ${event.step}/${steps}`);
    else if (event.kind === "notice" && !notices.has(event.text)) {
      notices.add(event.text);
      tell(`${picocolors.yellow("note:")} ${event.text}`);
    }
  };
  return { onEvent, onSignal: () => tell(STOPPING), close: () => bar?.stop() };
}
