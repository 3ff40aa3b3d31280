import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import picocolors from "picocolors";
import { UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { columnsOf, grid, padded, wrapped } from "../base/text-layout.ts";
import { hasFastBackend } from "../compute/open.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { readJsonl } from "../data/jsonl.ts";
import { parseLabelsJson } from "../data/label-set.ts";
import { mirrored } from "../extract/extractor.ts";
import type { PromptAttention } from "../models/spec.ts";
import { type ExplainedQuestion, explainQuestion } from "../prompts/explain.ts";
import { resolveRecipe } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { labelsFile, openRenderer } from "../runs/open.ts";
import { openRunFolder, type RunFolder, runFolder } from "../runs/run-folder.ts";
import { wholeNumber } from "./options.ts";
import { print, printText } from "./terminal.ts";

const MAX_LABELS_BYTES = 4_000_000;
const DEFAULT_COLUMNS = 100;
const LEAST_COLUMNS = 40;

interface PromptOptions {
  row: number;
  data?: string;
  json?: boolean;
}

export function addPromptCommand(program: Command): void {
  program
    .command("prompt")
    .description("show what the model reads for a row: text, token ids, and the answer of each label")
    .argument("<run>", "run folder or recipe file")
    .argument("[rows]", "JSONL file of {sentence, head, tail}; - reads standard input (default: the training rows)")
    .option("--row <n>", "which row, counted from 1", wholeNumber, 1)
    .option("--data <dir>", "data folder for labels and training rows (default: the recipe's)")
    .option("--json", "print JSON")
    .action(showPrompt);
}

/** What the command shows; `--json` prints it. */
export interface PromptReport {
  row: { source: string; number: number; example: Example };
  style: string;
  template: string;
  attention: PromptAttention;
  maxPromptTokens: number;
  maxAnswerTokens: number;
  question: ExplainedQuestion;
  /** The question from tail to head, when decode.bothDirections asks it too. */
  mirror: ExplainedQuestion | null;
}

async function showPrompt(run: string, rows: string | undefined, options: PromptOptions): Promise<void> {
  const report = await promptReport(run, rows, options);
  const isTerminal = process.stdout.isTTY;
  const columns = isTerminal ? Math.max(LEAST_COLUMNS, process.stdout.columns) : DEFAULT_COLUMNS;
  if (options.json) await print(`${JSON.stringify(report, null, 2)}\n`);
  else await printText(`${promptText(report, columns)}\n`);
}

/** Renders one row with the prompt of a run or a recipe; reads no weights. Throws a UserError. */
export async function promptReport(
  run: string,
  rows: string | undefined,
  options: PromptOptions,
): Promise<PromptReport> {
  if (options.row < 1) throw new UserError(`--row ${options.row}: expected 1 or more, rows are counted from 1.`);
  const opened = await openPrompt(run, options.data);
  const { recipe, tokenizer, renderer } = await openRenderer(opened.recipe, opened.labels);
  const row = await chosenRow(rows, options.row, opened);
  const { style, template, attention = "causal", maxPromptTokens, maxAnswerTokens } = recipe.prompt;
  const asksBoth = recipe.decode.bothDirections && recipe.decode.method === "labels";
  return {
    row,
    ...{ style, template, attention, maxPromptTokens, maxAnswerTokens },
    question: explainQuestion(renderer, tokenizer, row.example),
    mirror: asksBoth ? explainQuestion(renderer, tokenizer, mirroredGold(row.example, opened.labels)) : null,
  };
}

/** The example from tail to head; of its relations those with a declared inverse. */
function mirroredGold(example: Example, { noRelation, inverses }: LabelSet): Example {
  const inverseOf = (label: string) => (label === noRelation ? label : inverses.get(label));
  return { ...mirrored(example), relations: example.relations?.flatMap((label) => inverseOf(label) ?? []) };
}

interface OpenedPrompt {
  recipe: Recipe;
  labels: LabelSet;
  /** The data of the recipe or of --data; opened when it is needed. */
  dataset: () => Promise<Dataset>;
}

async function openPrompt(run: string, dataPath: string | undefined): Promise<OpenedPrompt> {
  const isRun = existsSync(runFolder(run).recipe) || !/\.ya?ml$/.test(run);
  if (isRun) {
    const { folder, recipe: own } = await openRunFolder(run);
    const recipe = withOwnModel(own, folder);
    const dataset = () => datasetOf(recipe, dataPath, run);
    const file = labelsFile(folder);
    if (dataPath !== undefined || !existsSync(file)) return { recipe, labels: (await dataset()).labels, dataset };
    return {
      recipe,
      labels: parseLabelsJson(await readTextFile(file, "the run's labels", MAX_LABELS_BYTES), file),
      dataset,
    };
  }
  const { recipe } = await resolveRecipe({ file: run, dataPath, isFast: hasFastBackend() });
  const dataset = () => datasetOf(recipe, dataPath, run);
  return { recipe, labels: (await dataset()).labels, dataset };
}

/** A run that holds a whole model has its tokenizer there; the one it started from may be gone. */
function withOwnModel(recipe: Recipe, folder: RunFolder): Recipe {
  if (!existsSync(join(folder.model, "config.json"))) return recipe;
  return { ...recipe, model: { path: folder.model, storage: recipe.model.storage } };
}

async function datasetOf(recipe: Recipe, dataPath: string | undefined, where: string): Promise<Dataset> {
  const path = dataPath ?? recipe.data.path;
  if (path === undefined) throw new UserError(`${where}: names no data, expected --data DIR for labels and rows.`);
  if (!existsSync(path)) {
    throw new UserError(`${path}: does not exist, expected the data folder.`, {
      hint: "Give --data DIR, or of a run with labels.json a JSONL file of rows.",
    });
  }
  return openDataset(path, { format: recipe.data.format, normalize: recipe.data.normalize });
}

async function chosenRow(rows: string | undefined, wanted: number, opened: OpenedPrompt): Promise<PromptReport["row"]> {
  if (rows === undefined) {
    const dataset = await opened.dataset();
    const { examples } = await dataset.split("train", { onBadRow: "skip" });
    if (wanted > examples.length) throw tooFew(`${dataset.directory}, split train`, wanted, examples.length);
    return { source: `${dataset.directory}, split train`, number: wanted, example: examples[wanted - 1] };
  }
  if (rows !== "-" && !existsSync(rows)) throw new UserError(`${rows}: does not exist, expected JSONL rows.`);
  const source = rows === "-" ? "standard input" : rows;
  const { normalize } = opened.recipe.data;
  let number = 0;
  for await (const { line, example, problem } of readJsonl(rows === "-" ? process.stdin : rows, { normalize })) {
    if (++number < wanted) continue;
    if (example === null) throw new UserError(`${source}, line ${line}: ${problem}.`);
    return { source, number, example };
  }
  throw tooFew(source, wanted, number);
}

function tooFew(source: string, wanted: number, count: number): UserError {
  return new UserError(`${source}: has ${count} rows, expected at least ${wanted} (--row ${wanted}).`);
}

/** The report as lines of at most `columns` columns, where the text of the prompt allows it. */
export function promptText(report: PromptReport, columns: number): string {
  const { row, style, template, attention, question, mirror } = report;
  const { sentence, head, tail, relations } = row.example;
  const fields = [
    ["sentence", sentence],
    ["head", head],
    ["tail", tail],
    ...(relations === undefined ? [] : [["gold", relations.join(", ")]]),
  ];
  const lines = [
    picocolors.bold(`${row.source}, row ${row.number}`),
    ...fields.map(([name, text]) => `${picocolors.dim(padded(name, 9))} ${visible(text)}`),
    `${picocolors.dim(padded("prompt", 9))} style ${style}, template ${template}, attention ${attention}`,
    "",
    ...questionLines(question, report, columns),
  ];
  if (mirror) {
    lines.push("", picocolors.bold("The question from tail to head (decode.bothDirections)"), "");
    lines.push(...questionLines(mirror, report, columns));
  }
  return lines.join("\n");
}

function questionLines(question: ExplainedQuestion, report: PromptReport, columns: number): string[] {
  const { prompt, answers } = question;
  const size = `${prompt.tokens.length} tokens of at most ${report.maxPromptTokens}`;
  const fit = prompt.truncated ? picocolors.yellow("sentence shortened to fit") : "not shortened";
  const bar = picocolors.dim("│");
  const textLines = prompt.text.split("\n").map(visible);
  const cells = prompt.tokens.map(({ id, piece }) => `${id} ${visible(piece)}`);
  return [
    `${picocolors.cyan("Prompt")}  ${size}, ${fit}`,
    ...textLines.map((line, i) => `${bar} ${line}${i < textLines.length - 1 ? picocolors.dim("⏎") : ""}`),
    "",
    `${picocolors.cyan("Tokens")}  id and piece`,
    ...grid(cells, columns - 2).map((line) => `  ${line}`),
    "",
    `${picocolors.cyan("Answers")}  ${answers.length} labels with text and ids${answers.some(({ isGold }) => isGold) ? "; ● gold" : ""}`,
    ...answerLines(answers, columns),
  ];
}

function answerLines(answers: ExplainedQuestion["answers"], columns: number): string[] {
  const widest = (texts: readonly string[]) => texts.reduce((width, text) => Math.max(width, columnsOf(text)), 0);
  const labelWidth = widest(answers.map(({ label }) => label));
  const textWidth = widest(answers.map(({ text }) => text));
  return answers.flatMap(({ label, isGold, text, tokens }) => {
    const ids = tokens.map(({ id }) => id).join(" ");
    const start = `${padded(label, labelWidth)}  `;
    const mark = isGold ? picocolors.green("●") : " ";
    const beside = `${padded(text, textWidth)}  `;
    const left = columns - 2 - columnsOf(start) - columnsOf(beside);
    if (columnsOf(ids) <= left) return [`${mark} ${start}${beside}${picocolors.dim(ids)}`];
    const indent = " ".repeat(2 + columnsOf(start));
    const below = wrapped(ids, Math.max(20, columns - columnsOf(indent)));
    return [`${mark} ${start}${text}`, ...below.map((line) => `${indent}${picocolors.dim(line)}`)];
  });
}

/** Text on one line with control characters as their escapes: data must not steer the terminal. */
function visible(piece: string): string {
  return piece.replace(/\p{Cc}/gu, (character) => JSON.stringify(character).slice(1, -1));
}
