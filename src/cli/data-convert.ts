import { type Command, InvalidArgumentError, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { checkOutputFolder } from "../base/output.ts";
import { type ConvertTarget, convertExamples } from "../data/convert.ts";
import { openDataset } from "../data/dataset.ts";
import { type Conversion, convertLabelled } from "../data/formats/convert-labelled.ts";
import { LABELLED_FORMAT_NAMES, type LabelledFormatName } from "../data/formats/registry.ts";
import type { SplitName } from "../data/split.ts";
import { splitSentences } from "../documents/sentences.ts";
import { alpacaRow, promptStyle } from "../prompts/relation-prompt.ts";
import { wholeNumber } from "./options.ts";
import { readSplit } from "./splits.ts";
import { print, say, warn } from "./terminal.ts";

interface ConvertOptions {
  split?: SplitName;
  format?: ConvertTarget["format"];
  prompt: string;
  skipBad?: boolean;
  from?: LabelledFormatName;
  output?: string;
  negatives: number;
  /** Commander reads "--no-relation LABEL" as the option "relation"; true without it. */
  relation?: string | boolean;
  seed: number;
  json?: boolean;
}

export function addDataConvertCommand(data: Command): void {
  data
    .command("convert")
    .description(
      "write a split in another format to standard output (--format), or labelled data of another program as a data folder (--from)",
    )
    .argument("<input>", "data folder; with --from a file or folder of that format")
    .addOption(
      new Option("--split <name>", "which split; with --from that of a file whose name says none").choices([
        "train",
        "valid",
        "test",
      ]),
    )
    .addOption(new Option("--format <name>", "format to write").choices(["alpaca", "jsonl", "chinese-nre"]))
    .option("--prompt <style>", "prompt style of alpaca rows", "paper")
    .addOption(new Option("--from <kind>", "format of the labelled data").choices(LABELLED_FORMAT_NAMES))
    .option("--output <dir>", "with --from: data folder to write")
    .option(
      "--negatives <share>",
      "with --from: share of the pairs without a label that are written as rows of no relation, 0 to 1",
      shareFrom0,
      0,
    )
    .option(
      "--no-relation <label>",
      'with --from: the label for no relation (default: the one of the data, else "unknown")',
    )
    .option("--seed <n>", "with --from: seed of the choice of those pairs", wholeNumber, 1)
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .option("--json", "with --from: print the counts as JSON")
    .action((input: string, options: ConvertOptions) =>
      options.from === undefined ? convertSplit(input, options) : convertFrom(input, options.from, options),
    );
}

function shareFrom0(text: string): number {
  const share = Number(text);
  if (text.trim() === "" || !(share >= 0 && share <= 1))
    throw new InvalidArgumentError("expected a number from 0 to 1.");
  return share;
}

async function convertSplit(directory: string, { split, format, prompt, skipBad }: ConvertOptions): Promise<void> {
  if (split === undefined || format === undefined) {
    const missing = [split === undefined ? "--split" : [], format === undefined ? "--format" : []].flat().join(" and ");
    throw new UserError(`${missing}: missing, expected the split and the format to write.`, {
      hint: "Labelled data of another program is read with --from KIND --output DIR.",
    });
  }
  const style = promptStyle(prompt);
  const dataset = await openDataset(directory);
  for (const notice of dataset.notices) warn(notice);
  const examples = await readSplit(dataset, split, skipBad ? "skip" : "stop");
  const target: ConvertTarget =
    format === "alpaca" ? { format, render: (example) => alpacaRow(style, example) } : { format };
  for await (const line of convertExamples(examples, target)) await print(`${line}\n`);
}

async function convertFrom(input: string, from: LabelledFormatName, options: ConvertOptions): Promise<void> {
  const { output, split, negatives, relation, seed, skipBad, format } = options;
  if (output === undefined) throw new UserError("--output: missing, expected the data folder to write.");
  if (format !== undefined) {
    throw new UserError("--from writes a data folder, expected no --format.", {
      hint: `Then: cre data convert ${output} --split train --format ${format}`,
    });
  }
  await checkOutputFolder(output);
  const conversion = await convertLabelled(input, from, output, {
    ...{ split, negatives, seed, noRelation: typeof relation === "string" ? relation : undefined },
    onBadRow: skipBad ? "skip" : "stop",
    sentencesOf: (text) => splitSentences(text, { maxCharacters: Number.MAX_SAFE_INTEGER }),
  });
  if (options.json) await print(`${JSON.stringify(conversion, null, 2)}\n`);
  tell(conversion, output);
}

const MAX_SHOWN = 20;

function tell({ splits, labels, noRelation, badRows }: Conversion, output: string): void {
  let left = 0;
  for (const { split, counts } of splits) {
    const { rows, labelled, unlabelled, negatives, problems, dropped } = counts;
    left += unlabelled - negatives;
    say(`${split}: ${rows} rows, ${labelled} labelled pairs, ${negatives} of ${unlabelled} pairs without a label.`);
    for (const [kind, number] of Object.entries(dropped)) warn(`${split}: ${number} ${kind} were left out.`);
    if (problems > 0) warn(`${split}: ${problems} bad rows or parts of rows were left out:`);
  }
  for (const { file, line, problem } of badRows.slice(0, MAX_SHOWN)) say(`  ${file}, line ${line}: ${problem}`);
  const none = noRelation === null ? "none of them means no relation" : `"${noRelation}" means no relation`;
  say(`${output} has ${labels.length} labels; ${none}. Inverse labels are not guessed: declare them in labels.json.`);
  if (left > 0 && splits.every(({ counts }) => counts.negatives === 0)) {
    warn(
      "a model that never saw a pair without a relation finds one in every pair; --negatives 0.5 writes half of them, train.negatives in a recipe draws some while training.",
    );
  }
}
