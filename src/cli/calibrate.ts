import { type Command, Option } from "commander";
import type { SplitName } from "../data/split.ts";
import { thresholdFor } from "../evaluate/certainty.ts";
import { calibrateRun } from "../runs/calibrate.ts";
import { showLoading } from "./loading.ts";
import { warnBadRows } from "./splits.ts";
import { type Progress, print, progress, say, warn } from "./terminal.ts";

interface CalibrateCliOptions {
  data?: string;
  split?: SplitName;
  skipBad?: boolean;
  json?: boolean;
}

export function addCalibrateCommand(program: Command): void {
  program
    .command("calibrate")
    .description(
      "fit again how a finished run decodes, on labelled rows that it has not learnt: probabilities, thresholds, companion",
    )
    .argument("<run>", "run folder")
    .option("--data <dir>", "data folder (default: the one that the run was trained on)")
    .addOption(
      new Option("--split <name>", "which split (default: valid, or the rows held out in training)").choices([
        "train",
        "valid",
        "test",
      ]),
    )
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .option("--json", "print the result as JSON")
    .action(calibrate);
}

async function calibrate(directory: string, options: CalibrateCliOptions): Promise<void> {
  const { data, split, skipBad, json } = options;
  let bar: Progress | null = null;
  let shown = "";
  const result = await calibrateRun(directory, {
    data,
    split,
    onBadRow: skipBad ? "skip" : undefined,
    onNotice: warn,
    onLoad: showLoading(),
    onEvent(event) {
      if (event.kind === "data") return warnBadRows(event);
      if (shown !== event.kind) {
        bar?.stop();
        bar = progress(event.kind, event.total);
        shown = event.kind;
      }
      bar?.update(event.done);
    },
  }).finally(() => bar?.stop());
  if (json) return print(`${JSON.stringify(result, null, 2)}\n`);
  const { rows, calibration, companion, calibrationError } = result;
  const { model, mixed } = calibration.noRelationWeight;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  say(`${directory}: calibrated on ${rows} rows`);
  say(
    `  expected calibration error on these rows ${percent(calibrationError.before)} → ${percent(calibrationError.after)}`,
  );
  say(
    `  weight of "no relation" ${model.toFixed(2)}${mixed === null ? "" : `, mixed with the companion ${mixed.toFixed(2)}`}`,
  );
  if (companion) {
    const use = companion.gains ? "mixed in" : "not mixed in";
    say(`  companion: weight ${companion.mixture.weight.toFixed(2)}, ${use}`);
  }
  const { pairs } = calibration;
  const { scale } = calibration;
  const used = scale && (companion?.gains ? scale.mixed : scale.model);
  if (used)
    say(`  temperature ${used.temperature.toFixed(2)}, probability of "no relation" × ${used.noRelation.toFixed(2)}`);
  if (pairs) say(`  all ${pairs.pairs} pairs of entities of ${pairs.sentences} sentences, as documents ask them:`);
  for (const precision of [0.8, 0.9, 0.95]) {
    const threshold = thresholdFor(pairs?.all ?? [], precision);
    const text = threshold === null ? "never reached" : `from a probability of ${threshold.toFixed(3)} on`;
    say(`  precision ${precision}: ${text}`);
  }
  if (calibration.mentions)
    say(`  entities: F1 ${percent(calibration.mentions.f1)} on ${calibration.mentions.sentences} sentences`);
}
