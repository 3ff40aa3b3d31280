import { UserError } from "../base/errors.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import type { AnnotatedSentence } from "../data/mentions-file.ts";
import type { OnBadRow, SplitName } from "../data/split.ts";
import { readFolderSums } from "../formats/folder-sums.ts";
import { writeFolderSums } from "../formats/folder-sums-write.ts";
import { calibrationWith, saveCalibration } from "./calibration.ts";
import { CALIBRATION_FILE, type Calibration } from "./calibration-read.ts";
import { saveCompanion } from "./companion.ts";
import { COMPANION_FILES } from "./companion-read.ts";
import { type CompanionValidation, validateDecoding } from "./companion-scores.ts";
import { fitMentions } from "./fit-mentions.ts";
import { annotatedOf, holdOut } from "./held-out.ts";
import { type DataEvent, readLabelledSplit } from "./labelled-rows.ts";
import type { OpenOptions } from "./open.ts";
import { chosenSentences, scorePairs } from "./pair-scores.ts";
import { openRun, type Run } from "./run.ts";
import { holdRun, openRunFolder, type RunFolder } from "./run-folder.ts";

export interface CalibrateOptions extends Pick<OpenOptions, "onNotice" | "onLoad"> {
  /** Data folder; default: the one that the run was trained on. */
  data?: string;
  split?: SplitName;
  onBadRow?: OnBadRow;
  onEvent?: (event: DataEvent | { kind: "rows" | "pairs"; done: number; total: number }) => void;
}

export interface CalibrateResult {
  rows: number;
  calibration: Calibration;
  /** Of the mixture with the companion; null without one. */
  companion: CompanionValidation | null;
  /** Expected calibration error on these rows before and after. */
  calibrationError: { before: number; after: number };
}

/**
 * Fits again how a finished run decodes, on labelled rows that it has not learnt: the mixture with its companion, the weight of "no relation",
 * the scale of its probabilities, the precision of its predictions for rows and for all pairs of their sentences, and the scale of mentions. Saves it in the run. By default the rows are those that the run was validated on. Throws a
 * UserError for a run with `decode.method: generate` and for data without such rows.
 */
export async function calibrateRun(directory: string, options: CalibrateOptions = {}): Promise<CalibrateResult> {
  const { onEvent = () => {}, onNotice, onLoad } = options;
  const { folder } = await openRunFolder(directory);
  const release = await holdRun(folder);
  let run: Run | null = null;
  try {
    run = await openRun(directory, { onNotice, onLoad });
    const { recipe, labels, extractor } = run;
    if (recipe.decode.method !== "labels") {
      throw new UserError(
        `${directory}: decodes with the method generate, whose text has no probabilities to calibrate.`,
      );
    }
    const { rows, annotated } = await rowsOf(run, options);
    const evaluation = await run.evaluate({
      data: rows,
      bootstrap: null,
      onEvent: (event) => {
        if (event.kind === "rows") onEvent(event);
      },
    });
    const { examples, extractions } = evaluation;
    const own = extractions.map(({ modelProbabilities }) => modelProbabilities);
    const found = validateDecoding(run.companion?.model ?? null, recipe, labels, examples, own);
    const sentences = chosenSentences(examples, annotated, labels, recipe.seed);
    const pairs = await scorePairs(extractor, sentences, found.decoding, (done, total) =>
      onEvent({ kind: "pairs", done, total }),
    );
    const mentions = run.mentions ? await fitMentions(run.mentions, examples) : null;
    const calibration = calibrationWith(found.calibration, pairs, mentions);
    // A process that is killed between two files leaves a run that opens.
    await writeSums(folder, false);
    if (run.companion) await saveCompanion(folder, { ...run.companion, validation: found.companion });
    await saveCalibration(folder, calibration);
    await writeSums(folder, true);
    return {
      rows: examples.length,
      calibration,
      companion: found.companion,
      calibrationError: {
        before: evaluation.certainty.calibrationError,
        after: found.certainty.calibrationError,
      },
    };
  } finally {
    await run?.close();
    await release();
  }
}

async function rowsOf(
  { recipe, labels, folder }: Pick<Awaited<ReturnType<typeof openRun>>, "recipe" | "labels" | "folder">,
  { data = recipe.data.path, split, onBadRow = recipe.data.badRows, onEvent = () => {} }: CalibrateOptions,
): Promise<{ rows: readonly Example[]; annotated: readonly AnnotatedSentence[] }> {
  if (data === undefined) {
    throw new UserError(`${folder.directory}: does not know where its data is.`, { hint: "Give it with --data DIR." });
  }
  const dataset = await openDataset(data, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
  const isOwn = data === recipe.data.path;
  if (split === undefined && isOwn && !dataset.splitNames.includes("valid")) {
    const train = await readLabelledSplit(dataset, "train", onBadRow, onEvent);
    const { valid } = holdOut(recipe, { train });
    if (valid.length > 0) return { rows: valid, annotated: annotatedOf(valid, await dataset.mentions("train")) };
    throw new UserError(
      `${folder.directory}: was trained on all rows of ${data}, expected rows that it has not learnt.`,
      {
        hint: "Give them with --data DIR, or train with train.validationShare: 0.1.",
      },
    );
  }
  const name = split ?? "valid";
  const rows = await readLabelledSplit(dataset, name, onBadRow, onEvent);
  return { rows, annotated: annotatedOf(rows, await dataset.mentions(name)) };
}

/** Writes the checksums of a run again, with or without those of the files that a calibration writes; those of the weights stay. */
async function writeSums({ directory }: RunFolder, withCalibration: boolean): Promise<void> {
  const sums = await readFolderSums(nodeFolder(directory));
  if (!sums) return;
  const own = [...COMPANION_FILES, CALIBRATION_FILE];
  const others = Object.keys(sums.files).filter((name) => !own.includes(name));
  await writeFolderSums(directory, withCalibration ? [...others, ...own] : others, sums.weights);
}
