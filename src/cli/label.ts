import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../base/files.ts";
import { expectUnlocked, holdLock } from "../base/lock.ts";
import { checkOutputFolder, makeFolder } from "../base/output.ts";
import { DATASET_FORMATS } from "../data/dataset.ts";
import type { LabelSet } from "../data/example.ts";
import { withTypes } from "../data/label-set.ts";
import { openEntities, parseEntitySource } from "../documents/entities.ts";
import { emptyReadCounts } from "../documents/read/format.ts";
import { DOCUMENT_FORMAT_NAMES, type DocumentFormatName } from "../documents/read/formats.ts";
import { readDocuments } from "../documents/read/read-documents.ts";
import { type AskText, createAskText } from "../endpoint/chat.ts";
import { type EndpointClient, EndpointError } from "../endpoint/client.ts";
import { openGivenLabels } from "../runs/given-adapter.ts";
import { watchForStop } from "../runs/stop-signals.ts";
import { exportedRows } from "../serve/review/exported-rows.ts";
import { type AnswerJournal, JOURNAL_FILE, openAnswerJournal } from "../teaching/answer-journal.ts";
import type { AskSettings } from "../teaching/ask-annotator.ts";
import { estimateLabelling } from "../teaching/estimate.ts";
import {
  COMBINE_WAYS,
  type CombineWay,
  type LabelledQuestion,
  type LabelOutcome,
  type LabelWork,
  labelQuestions,
} from "../teaching/label-questions.ts";
import { labelledRow, writeLabelled, writeList } from "../teaching/labelled-folder.ts";
import { chosenQuestions, type Questions, type RowFormat, readDocumentPairs, readRows } from "../teaching/questions.ts";
import { leastCertain, type ReviewedRows, readReviewed } from "../teaching/review.ts";
import { addConnectionOptions, type ConnectionOptions, clientOf } from "./endpoint-options.ts";
import { DOCUMENT_OPTIONS, type DocumentOptions } from "./extract-documents.ts";
import { estimateText, outcomeText, questionsText } from "./label-text.ts";
import { collect, parseCount, parseShare, wholeNumber } from "./options.ts";
import { Interrupted } from "./report.ts";
import { print, progress, say, warn } from "./terminal.ts";

/** Documents need these, rows do not. */
const PAIR_OPTIONS = ["entities", "window", "maxPairs", "overlap", "types", "textField"];
/** Longer sentences of documents are cut. */
const MAX_SENTENCE_CHARS = 400;
const MAX_TYPES_BYTES = 1_000_000;
/** With several answers to a row they are drawn; one is the most probable. */
const SEVERAL_TEMPERATURE = 0.7;
const DEFAULT_CONCURRENCY = 8;

interface LabelOptions extends ConnectionOptions, Omit<DocumentOptions, "format"> {
  labels: string;
  output: string;
  answers: number;
  temperature?: number;
  seed: number;
  maxAnswerTokens: number;
  completion?: boolean;
  probabilities: boolean;
  maxTokensTotal?: number;
  rows?: number;
  combine: CombineWay;
  minAgreement: number;
  review?: number;
  reviewed: string[];
  dryRun?: boolean;
  priceIn?: number;
  priceOut?: number;
  skipBad?: boolean;
  json?: boolean;
  format?: string;
}

export function addLabelCommand(program: Command): void {
  const command = program
    .command("label")
    .description(
      "let a large model behind a server label pairs that nobody has labelled; the folder trains a small model: cre train --data DIR",
    )
    .argument("<input>", "rows of pairs (JSONL, or --format), a data folder, or with --entities documents")
    .requiredOption("--labels <path>", "labels.json with definitions and examples, a JSON list, or a data folder")
    .requiredOption("--output <dir>", "data folder to write; repeat the command to continue it")
    .option("--answers <n>", "answers to each row; what they agree on becomes its soft labels", parseCount, 1)
    .option("--temperature <t>", "default: 0 for one answer, 0.7 for several", temperature)
    .option("--seed <n>", "seed of the first answer and of --rows", wholeNumber, 1)
    .option("--max-answer-tokens <n>", "longest answer; a model that thinks needs thousands", parseCount, 64)
    .option("--completion", "ask for the continuation of a text, for a model without a chat template")
    .option("--no-probabilities", "do not ask for probabilities of tokens")
    .option("--max-tokens-total <n>", "stop before more tokens of prompts and answers are spent", parseCount)
    .option("--rows <n>", "label only some of the rows, chosen by the seed", parseCount)
    .addOption(
      new Option(
        "--combine <way>",
        "several answers become soft labels by how often answers are right, or by their mean",
      )
        .choices(COMBINE_WAYS)
        .default("model"),
    )
    .option("--min-agreement <p>", "leave out rows on which a smaller share of the answers agrees", parseShare, 0)
    .option("--review <n>", "write the least certain rows for a person, for Label Studio too", parseCount)
    .option("--reviewed <file>", "JSONL rows that a person has labelled; they replace the model's", collect, [])
    .option("--dry-run", "estimate requests and tokens, ask nothing")
    .option("--price-in <n>", "price of a million tokens of prompts, for estimates", price)
    .option("--price-out <n>", "price of a million tokens of answers", price)
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .option("--json", "print the counts as JSON")
    .action(label);
  addConnectionOptions(command);
  for (const option of DOCUMENT_OPTIONS) {
    if (PAIR_OPTIONS.includes(option.attributeName())) command.addOption(option);
  }
  const formats = [...new Set<string>([...DATASET_FORMATS, ...DOCUMENT_FORMAT_NAMES])];
  command.addOption(new Option("--format <name>", "format of the rows (default: jsonl) or documents").choices(formats));
}

function temperature(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 2))
    throw new InvalidArgumentError("expected a number from 0 to 2.");
  return value;
}

function price(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && Number.isFinite(value)))
    throw new InvalidArgumentError("expected a number.");
  return value;
}

async function label(input: string, options: LabelOptions, command: Command): Promise<void> {
  expectOptions(options, command);
  const { output, answers, seed, maxAnswerTokens, reviewed: reviewedFiles } = options;
  const labels = await labelsOf(options);
  const reviewed = await readReviewed(reviewedFiles, labels);
  const journalFile = join(output, JOURNAL_FILE);
  if (!existsSync(journalFile) && existsSync(join(output, "train.jsonl"))) {
    throw new UserError(`${output}: holds data that cre label did not write; it is left as it is.`, {
      hint: "Give another folder with --output.",
    });
  }
  const read = await questionsOf(input, options, labels);
  for (const line of questionsText(read, input)) say(line);
  for (const problem of read.problems) warn(problem);
  const settings: AskSettings = {
    ...{ answers, seed, maxAnswerTokens, probabilities: options.probabilities },
    temperature: options.temperature ?? (answers > 1 ? SEVERAL_TEMPERATURE : 0),
    form: options.completion ? "completion" : "chat",
  };
  const { combine } = options;
  const work = { questions: read.questions, labels, model: options.model as string, settings, combine };
  if (options.dryRun) return dryRun(work, options, existsSync(journalFile));
  const client = await clientOf(options);
  await checkOutputFolder(output);
  await makeFolder(output);
  const release = await holdLock(join(output, "label.lock"), output);
  try {
    const journal = await openAnswerJournal(output);
    const ask = askOnceThere(client);
    try {
      await labelWith({ ...work, journal, ask }, options, { read, reviewed });
    } finally {
      await journal.close();
    }
  } finally {
    await release();
  }
}

/** Asks nothing before the server has answered at all: one that is not there is told within seconds, not after the attempts of a question. */
function askOnceThere(client: EndpointClient): AskText {
  const ask = createAskText(client, warn);
  let there: Promise<unknown> | null = null;
  const refusesKey = (error: unknown) => error instanceof EndpointError && [401, 403].includes(error.status ?? 0);
  return async (question, options) => {
    there ??= client.models().catch((error: unknown) => {
      // Some servers list no models.
      if (!(error instanceof EndpointError) || error.status === null || refusesKey(error)) throw error;
    });
    await there;
    return ask(question, options);
  };
}

function expectOptions({ entities, endpoint, model, temperature: t, answers }: LabelOptions, command: Command): void {
  if (entities === undefined) {
    for (const name of PAIR_OPTIONS) {
      if (command.getOptionValueSource(name) !== "cli") continue;
      const { long } = DOCUMENT_OPTIONS.find((option) => option.attributeName() === name) as Option;
      throw new UserError(`${long}: belongs to documents, expected --entities with it.`);
    }
  }
  if (endpoint === undefined && command.getOptionValue("dryRun") !== true) {
    throw new UserError("--endpoint: is missing, expected the address of a server.", {
      hint: "For example: --endpoint http://127.0.0.1:8000/v1 --model NAME. An estimate needs none: --dry-run.",
    });
  }
  if (model === undefined) throw new UserError("--model: is missing, expected the model's name at the server.");
  if (answers > 1 && t === 0) warn("with --temperature 0 all answers to a row are the same, unless the server draws.");
}

async function labelsOf({ labels: path, types }: LabelOptions): Promise<LabelSet> {
  const { labels } = await openGivenLabels({ adapter: "cre label", labels: path }, undefined);
  if (types === undefined) return labels;
  return withTypes(labels, await readTextFile(types, "type constraints", MAX_TYPES_BYTES), types);
}

async function questionsOf(input: string, options: LabelOptions, labels: LabelSet): Promise<Questions> {
  const { entities: sources, format, rows, seed, skipBad, window, maxPairs, overlap, textField } = options;
  let read: Questions;
  if (sources === undefined) {
    if (format !== undefined && !DATASET_FORMATS.some((one) => one === format)) {
      throw new UserError(`--format ${format}: is a format of documents, expected --entities with it.`);
    }
    read = await readRows(input, format as RowFormat | undefined, labels, skipBad ? "skip" : "stop");
  } else {
    if (format !== undefined && !DOCUMENT_FORMAT_NAMES.some((one) => one === format)) {
      throw new UserError(
        `--format ${format}: is a format of rows, expected one of ${DOCUMENT_FORMAT_NAMES.join(", ")}.`,
      );
    }
    const entities = await openEntities(sources.map(parseEntitySource), overlap, warn);
    if (entities.fromModel) {
      throw new UserError("--entities model: cre label has no run that finds entities, expected names or expressions.");
    }
    const counts = emptyReadCounts();
    const documents = readDocuments([input], {
      ...{ format: format as DocumentFormatName | undefined, textField, counts, onNotice: warn },
    });
    const bar = progress("pairs", null);
    const pairing = { window, maxPairs, maxCharacters: MAX_SENTENCE_CHARS };
    read = await readDocumentPairs(documents, entities.finder, labels, pairing, (done, pairs) =>
      bar.update(done, `${pairs} pairs`),
    ).finally(bar.stop);
  }
  return rows === undefined ? read : chosenQuestions(read, rows, seed);
}

type EstimatedWork = Pick<LabelWork, "questions" | "labels" | "model" | "settings" | "combine">;

async function dryRun(work: EstimatedWork, options: LabelOptions, isBegun: boolean): Promise<void> {
  const { output, maxTokensTotal = Number.POSITIVE_INFINITY, priceIn, priceOut, json } = options;
  if (isBegun) await expectUnlocked(join(output, "label.lock"), output);
  const journal: AnswerJournal | null = isBegun ? await openAnswerJournal(output) : null;
  const hasPrice = priceIn !== undefined || priceOut !== undefined;
  const prices = hasPrice ? { input: priceIn ?? 0, output: priceOut ?? 0 } : null;
  const estimate = estimateLabelling(work, journal, maxTokensTotal, prices);
  const spent = journal?.spent ?? 0;
  await journal?.close();
  if (json) await print(`${JSON.stringify({ ...estimate, spent }, null, 2)}\n`);
  for (const line of estimateText(estimate, spent, options.maxTokensTotal)) say(line);
}

async function labelWith(
  work: EstimatedWork & Pick<LabelWork, "journal" | "ask">,
  options: LabelOptions,
  { read, reviewed }: { read: Questions; reviewed: ReviewedRows },
): Promise<void> {
  const { output, concurrency = DEFAULT_CONCURRENCY, maxTokensTotal = Number.POSITIVE_INFINITY } = options;
  const { journal, labels } = work;
  if (journal.lost > 0) {
    warn(`${journal.lost} requests of a killed call had no answer yet; their reserved tokens count as spent.`);
  }
  // A person has labelled the others.
  const asked = read.questions.filter(({ example }) => reviewed.of(example) === null);
  const bar = progress("label", asked.length * work.settings.answers);
  const stop = watchForStop({
    onSignal: () => bar.line("stopping after the requests in progress; Ctrl-C again stops at once"),
  });
  let outcome: LabelOutcome;
  try {
    outcome = await labelQuestions({
      ...{ ...work, questions: asked, concurrency, maxTokensTotal, signal: stop.signal },
      onProgress: ({ done, spent, unreadable }) => bar.update(done, `${spent} tokens  ${unreadable} unreadable`),
    });
  } finally {
    bar.stop();
    stop.close();
  }
  const { left } = outcome;
  if (stop.signal.aborted && left.answers > 0) {
    throw new Interrupted(`${left.answers} answers are left. Repeat the same command to resume.`, stop.by);
  }
  if (outcome.labelled.length === 0 && left.answers > 0) {
    throw new UserError(`--max-tokens-total ${maxTokensTotal}: is spent before one row had all of its answers.`, {
      hint: `${outcome.counts.spent} tokens are spent. Give more; --dry-run estimates how much.`,
    });
  }
  const labelled = inOrder(read, outcome.labelled, reviewed);
  const counts = await writeLabelled(output, labelled, labels, { leastAgreement: options.minAgreement, reviewed });
  const review = await writeReview(output, labelled, labels, reviewed, options.review);
  const { answerModel } = outcome;
  const rightAnswers = answerModel && { share: rounded(answerModel.accuracy), spread: rounded(answerModel.spread) };
  const summary = {
    ...{
      model: options.model,
      settings: work.settings,
      combine: work.combine,
      rightAnswers,
      ...counts,
      left,
      isBudgetSpent: outcome.isBudgetSpent,
    },
    ...{ requests: outcome.counts, input: read.counts },
  };
  await writeFileAtomic(join(output, "labelling.json"), `${JSON.stringify(summary, null, 2)}\n`);
  if (options.json) await print(`${JSON.stringify(summary, null, 2)}\n`);
  for (const line of outcomeText({ output, counts, outcome, answers: options.answers, review, maxTokensTotal }))
    say(line);
}

const rounded = (value: number) => Number(value.toFixed(4));

/** The labelled questions and those that a person has labelled, in the order of the input. */
function inOrder(
  { questions }: Questions,
  labelled: readonly LabelledQuestion[],
  reviewed: ReviewedRows,
): LabelledQuestion[] {
  const done = new Map(labelled.map((one) => [one.question, one]));
  return questions.flatMap((question) => {
    if (reviewed.of(question.example) !== null) return { question, answers: [], verdict: null };
    return done.get(question) ?? [];
  });
}

/** Writes the least certain rows as rows and for Label Studio; removes those of an earlier call where none are wanted. */
async function writeReview(
  output: string,
  labelled: readonly LabelledQuestion[],
  labels: LabelSet,
  reviewed: ReviewedRows,
  wanted = 0,
): Promise<number> {
  const least = leastCertain(labelled, wanted, reviewed);
  const rows = least.map((one) => labelledRow(one, labels));
  await writeList(join(output, "review.jsonl"), rows);
  const { text } = exportedRows(rows as unknown as Parameters<typeof exportedRows>[0], "label-studio");
  const tasks = join(output, "review.label-studio.json");
  if (rows.length > 0) await writeFileAtomic(tasks, `${text}\n`);
  else await rm(tasks, { force: true });
  return rows.length;
}
