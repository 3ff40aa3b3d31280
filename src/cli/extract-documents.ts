import { stat } from "node:fs/promises";
import { type Command, Option } from "commander";
import picocolors from "picocolors";
import { nearestName, UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import type { LabelSet } from "../data/example.ts";
import { withTypes } from "../data/label-set.ts";
import { type Entities, type EntitySource, openEntities, parseEntitySource } from "../documents/entities.ts";
import type { OverlapPolicy } from "../documents/mention.ts";
import { emptyReadCounts, type KeptFiles, type ReadCounts } from "../documents/read/format.ts";
import { DOCUMENT_FORMAT_NAMES, type DocumentFormatName } from "../documents/read/formats.ts";
import { inputFiles, openInputs } from "../documents/read/inputs.ts";
import { READ_LIMITS } from "../documents/read/limits.ts";
import { readDocuments } from "../documents/read/read-documents.ts";
import type { DocumentCounts } from "../extract/document-corpus.ts";
import type { MentionModel } from "../extract/mention-finder.ts";
import { withModelMentions } from "../extract/model-mentions.ts";
import { checkGraphOutput, extractGraph, type GraphResult } from "../graph/extract-graph.ts";
import { GRAPH_FORMATS, type GraphFormat } from "../graph/write.ts";
import { thresholdsFor } from "../runs/calibration.ts";
import { runFingerprint } from "../runs/fingerprint.ts";
import type { Run } from "../runs/run.ts";
import { watchForStop } from "../runs/stop-signals.ts";
import { parseCount, parseShare } from "./options.ts";
import { Interrupted } from "./report.ts";
import { duration, progress, say, warn } from "./terminal.ts";

/** Options of `cre extract` that belong to documents. */
export interface DocumentOptions {
  entities?: string[];
  to?: GraphFormat[];
  window: number;
  maxPairs: number;
  overlap: OverlapPolicy;
  types?: string;
  format?: DocumentFormatName;
  textField?: string;
  precision?: number;
}

/** The options that need `--entities`. */
export const DOCUMENT_OPTIONS: readonly Option[] = [
  new Option(
    "--entities <source>",
    "read documents, with entities from names.csv, pattern:FILE, column:NAME or model (found by the run); repeatable",
  )
    .argParser((source: string, earlier: string[] = []) => [...earlier, source])
    .helpGroup("Documents:"),
  new Option("--to <formats>", `what to write into the folder --output: ${GRAPH_FORMATS.join(",")}`)
    .argParser(parseFormats)
    .default(["jsonl"], "jsonl")
    .helpGroup("Documents:"),
  new Option("--window <n>", "sentences that a pair may extend over")
    .argParser(parseCount)
    .default(1)
    .helpGroup("Documents:"),
  new Option("--max-pairs <n>", "most pairs of a sentence, the nearest first")
    .argParser(parseCount)
    .default(100)
    .helpGroup("Documents:"),
  new Option(
    "--precision <p>",
    "leave out relations below the probability that had this precision on the validation rows (cre calibrate)",
  )
    .argParser(parseShare)
    .helpGroup("Documents:"),
  new Option("--overlap <policy>", "names inside of names: longest, or all")
    .choices(["longest", "all"])
    .default("longest")
    .helpGroup("Documents:"),
  new Option("--types <file>", 'types that a relation holds between, as JSON: {"LABEL": [["HEAD", "TAIL"]]}').helpGroup(
    "Documents:",
  ),
  new Option("--format <name>", "format of the documents (default: by the ending of the name)")
    .choices(DOCUMENT_FORMAT_NAMES)
    .helpGroup("Documents:"),
  new Option("--text-field <name>", "field of CSV, JSONL and Parquet rows that has the text").helpGroup("Documents:"),
];

function parseFormats(text: string): GraphFormat[] {
  return text.split(",").map((name) => {
    const format = GRAPH_FORMATS.find((one) => one === name.trim());
    if (format) return format;
    const nearest = nearestName(name, GRAPH_FORMATS);
    const advice = nearest ? `did you mean ${nearest}?` : `expected some of ${GRAPH_FORMATS.join(", ")}.`;
    throw new UserError(`--to ${name}: no such format, ${advice}`);
  });
}

/** What is checked and read before the model is loaded. */
export interface PreparedDocuments {
  input: string;
  output: string;
  replace: boolean;
  sources: EntitySource[];
  entities: Entities;
  /** Files of the input; null when it is standard input. */
  files: number | null;
  types: { text: string; file: string } | null;
}

const MAX_TYPES_BYTES = 1_000_000;

/** Checks input, output and sources of entities. Throws UserErrors. */
export async function prepareDocuments(
  input: string,
  output: string | undefined,
  replace: boolean,
  options: DocumentOptions,
): Promise<PreparedDocuments> {
  if (output === undefined) {
    throw new UserError("Documents need --output, expected a folder for the graph.");
  }
  if (input === "-") {
    throw new UserError(
      "Documents cannot come from standard input, which cannot be read again after an interruption.",
      {
        hint: "Save them to a file or a folder first.",
      },
    );
  }
  const sources = (options.entities ?? []).map(parseEntitySource);
  await checkGraphOutput(output, [input], replace);
  const files = await countFiles(input);
  const types =
    options.types === undefined
      ? null
      : { text: await readTextFile(options.types, "type constraints", MAX_TYPES_BYTES), file: options.types };
  const started = performance.now();
  const entities = await openEntities(sources, options.overlap, warn);
  if (entities.dictionary) tellDictionary(entities.dictionary, (performance.now() - started) / 1000);
  return { input, output, replace, sources, entities, files, types };
}

async function countFiles(input: string): Promise<number> {
  let files = 0;
  const counts = emptyReadCounts();
  for await (const _ of inputFiles(await openInputs([input]), { counts, limits: READ_LIMITS })) files++;
  return files;
}

function tellDictionary({ counts, problems }: NonNullable<Entities["dictionary"]>, seconds: number): void {
  const { rows, badRows, names, entities, ambiguous } = counts;
  const parts = [`${rows} rows: ${names} names of ${entities} entities`];
  if (badRows > 0) parts.push(`${badRows} bad rows`);
  if (ambiguous > 0) parts.push(`${ambiguous} names of several entities`);
  say(`dictionary: ${parts.join(", ")}; ${seconds.toFixed(1)} s`);
  for (const { file, line, problem } of problems) warn(`${file}, line ${line}: ${problem}`);
  const more = badRows + ambiguous - problems.length;
  if (more > 0) warn(`… and ${more} more rows of this kind`);
}

/** What documents are extracted with: a run, or the same of a model on a server with its own fingerprint. */
export type DocumentRun = Pick<Run, "calibration" | "folder" | "mentions" | "labels" | "extractor" | "recipe"> & {
  fingerprint?: string;
};

/** Extracts documents into a folder and tells the outcome. Throws an Interrupted after a signal. */
export async function extractDocumentsWith(
  run: DocumentRun,
  { input, output, entities, files, types }: PreparedDocuments,
  options: DocumentOptions & { minProbability: number; strict: boolean; replace: boolean },
): Promise<void> {
  const thresholds =
    options.precision === undefined ? null : thresholdsFor(run.calibration, options.precision, run.folder.directory);
  const finder = entities.fromModel ? withModelMentions(entities, expectMentions(run)) : undefined;
  const labels: LabelSet = types ? withTypes(run.labels, types.text, types.file) : run.labels;
  const started = performance.now();
  const readCounts = emptyReadCounts();
  const bar = progress("extract", files !== null && files > 1 ? files : null);
  const stop = watchForStop({ onSignal: () => {} });
  let done: Readonly<DocumentCounts> | null = null;
  try {
    const documents = (kept: KeptFiles) =>
      readDocuments([input], {
        format: options.format,
        textField: options.textField,
        counts: readCounts,
        kept,
        onNotice: (notice) => bar.line(`${picocolors.yellow("note:")} ${notice}`),
      });
    const result = await extractGraph(run.extractor, documents, entities, output, {
      window: options.window,
      maxPairs: options.maxPairs,
      maxCharacters: run.recipe.prompt.maxPromptTokens,
      minProbability: options.minProbability,
      thresholds,
      finder,
      keepMentions: entities.fromModel,
      run: run.fingerprint ?? (await runFingerprint(run)),
      labels,
      formats: options.to ?? ["jsonl"],
      replace: options.replace,
      readCounts,
      signal: stop.signal,
      onNotice: warn,
      onBadDocument: ({ id, reason }) => bar.line(`bad document, ${id}: ${reason}`),
      onBadPair: (document, problem) => bar.line(`bad pair, ${document}: ${problem}`),
      onProgress(now) {
        done = now;
        // Files are read ahead of their pairs.
        const share = (now.documents + now.badDocuments) / Math.max(1, readCounts.documents + readCounts.bad);
        bar.update(
          files !== null && files > 1 ? Math.floor(readCounts.files * share) : now.documents,
          detail(now, started),
        );
      },
      onWriting: () => bar.update(readCounts.files, "writing the graph"),
    });
    bar.stop();
    for (const line of summary(result, readCounts, entities, (performance.now() - started) / 1000)) say(line);
    const bad = result.counts.badDocuments;
    if (options.strict && bad > 0) throw new UserError(`${bad} documents were bad.`);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    bar.stop();
    const documents = (done as Readonly<DocumentCounts> | null)?.documents ?? 0;
    throw new Interrupted(`after ${documents} documents. Repeat the same command to resume.`, stop.by);
  } finally {
    bar.stop();
    stop.close();
  }
}

function expectMentions({ mentions, folder }: DocumentRun): MentionModel {
  if (mentions) return mentions;
  throw new UserError(`--entities model: ${folder.directory} was not trained to find entities.`, {
    hint: "Train one with tasks: [relations, mentions] in the recipe, or give a file of names.",
  });
}

function detail(now: Readonly<DocumentCounts>, started: number): string {
  const asked = now.pairs - now.resumed;
  const rate = Math.round(asked / ((performance.now() - started) / 1000));
  return `${now.documents} documents  ${now.triples} triples  ${rate} pairs/s  ${now.badDocuments} bad`;
}

function summary({ counts, graph }: GraphResult, read: ReadCounts, entities: Entities, seconds: number): string[] {
  const some = (count: number, text: string) => (count > 0 ? [`${count} ${text}`] : []);
  const skipped = Object.entries(read.skipped).map(([reason, count]) => `${count} ${reason}`);
  const dropped = Object.entries(read.dropped).map(([what, count]) => `${count} ${what}`);
  const documents = [
    `${counts.documents} documents`,
    ...some(counts.badDocuments, "bad"),
    ...some(read.empty, "without text"),
    ...some(counts.withoutPairs, "without a pair"),
    ...(skipped.length > 0 ? [`files left out: ${skipped.join(", ")}`] : []),
    ...(dropped.length > 0 ? [`parts left out: ${dropped.join(", ")}`] : []),
  ];
  const pairs = [
    `${counts.sentences} sentences, ${counts.mentions} mentions, ${counts.pairs} pairs`,
    ...some(counts.cutByType, "pairs excluded by types"),
    ...some(counts.cutByCap, "over --max-pairs"),
    ...some(counts.repeated, "repeated in their sentence"),
    ...some(counts.crossing, "mentions across sentences"),
    ...some(counts.truncated, "sentences shortened"),
    ...some(counts.badPairs, "pairs that do not fit"),
    ...some(counts.resumed, "pairs done before"),
  ];
  const found = [
    `${graph.triples} triples: ${graph.edges} relations of ${graph.nodes} entities`,
    ...some(counts.below, "below the least probability"),
    ...some(counts.opposed, "in the less probable direction"),
    ...some(counts.none, "answers of no relation"),
  ];
  const columns = entities.columns.flatMap(({ column, counts: { without, absent, unusable } }) => {
    const parts = [
      ...some(without, "documents without it"),
      ...some(absent, "names not in their text"),
      ...some(unusable, "values that are no names"),
    ];
    return parts.length > 0 ? [`column ${column}: ${parts.join(", ")}`] : [];
  });
  return [documents.join(", "), ...columns, pairs.join(", "), `${found.join(", ")}; ${duration(seconds)}`];
}

/** Throws a UserError for an option of documents without `--entities`. */
export function expectNoDocumentOptions(command: Command): void {
  for (const option of DOCUMENT_OPTIONS) {
    if (command.getOptionValueSource(option.attributeName()) !== "cli") continue;
    throw new UserError(`${option.long}: belongs to documents, expected --entities with it.`);
  }
}

/** Throws a UserError for a folder without `--entities`: it has no rows of pairs. */
export async function expectRows(input: string): Promise<void> {
  const info = await stat(input).catch(() => null);
  if (!info?.isDirectory()) return;
  throw new UserError(`${input}: is a folder, expected a file of JSONL rows with sentence, head and tail.`, {
    hint: "To read documents, say where their entities come from: --entities names.csv",
  });
}
