import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { Readable } from "node:stream";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { type EndpointSource, openEndpoint } from "../endpoint/open-endpoint.ts";
import { identityOf, type OpenedRuns, openOne, openRuns } from "../ensemble/open-runs.ts";
import {
  type CorpusCounts,
  type CorpusOptions,
  checkExtraction,
  emptyCounts,
  extractFile,
  extractLines,
} from "../extract/corpus.ts";
import type { Extractor } from "../extract/extractor.ts";
import { keepingHead, noRows, noUsableRows } from "../extract/no-rows.ts";
import type { ModelStorage } from "../recipe/answer-schema.ts";
import { type EndpointUse, endpointLine } from "../runs/evaluation.ts";
import type { RunSource } from "../runs/given-adapter.ts";
import type { OpenOptions } from "../runs/open.ts";
import { openRun } from "../runs/run.ts";
import { watchForStop } from "../runs/stop-signals.ts";
import { type AdapterOptions, addAdapterOptions, sourceOf } from "./adapter-options.ts";
import { ASKING_OPTIONS, addConnectionOptions, clientOf, expectNoEndpointOptions } from "./endpoint-options.ts";
import { type EndpointOptions, endpointSource } from "./evaluate-endpoint.ts";
import {
  DOCUMENT_OPTIONS,
  type DocumentOptions,
  expectNoDocumentOptions,
  expectRows,
  extractDocumentsWith,
  prepareDocuments,
} from "./extract-documents.ts";
import {
  companionOption,
  type DecodeOptions,
  decodeOf,
  productsOption,
  showLoading,
  storageOption,
} from "./loading.ts";
import { parseShare } from "./options.ts";
import { Interrupted } from "./report.ts";
import { runsOf } from "./run-list.ts";
import { duration, noProgress, type Progress, print, progress, say, warn } from "./terminal.ts";

/** Bad rows that are kept until there is a good one. */
const MAX_WITHHELD = 100;

interface ExtractOptions extends DocumentOptions, AdapterOptions, DecodeOptions, EndpointOptions {
  output?: string;
  minScore?: number;
  minProbability?: number;
  storage?: ModelStorage;
  overwrite?: boolean;
  strict?: boolean;
}

export function addExtractCommand(program: Command): void {
  const command = program
    .command("extract")
    .description(
      "find relations: JSONL of {sentence, head, tail} in, the same rows with predictions out, in order; with --entities, documents in and a graph out",
    )
    .argument(
      "[run]",
      "run folder, or several with commas between: their label probabilities are averaged; none with --adapter",
    )
    .argument("[input]", "JSONL file, or documents: a file, a folder or a pattern; - or nothing reads standard input")
    .option(
      "--output <path>",
      "file to write, a folder for documents; repeat an interrupted call to continue it (default: standard output)",
    )
    .option("--overwrite", "replace an existing output")
    .option("--min-probability <p>", "leave out relations with a lower probability", parseShare)
    .addOption(new Option("--min-score <p>", "the earlier name of --min-probability").argParser(parseShare).hideHelp())
    .addOption(
      new Option("--method <name>", "how labels are chosen (default: the recipe's)").choices(["labels", "generate"]),
    )
    .addOption(companionOption())
    .addOption(storageOption("the recipe's"))
    .addOption(productsOption())
    .option("--strict", "exit with 1 when any row or document was bad")
    .action((run: string | undefined, input: string | undefined, options: ExtractOptions) => {
      if (options.endpoint !== undefined) {
        const [own, file] = input === undefined ? [undefined, run] : [run, input];
        return extract({ endpoint: endpointSource(own, "extract", options) }, file ?? "-", options, command);
      }
      expectNoEndpointOptions(command, ASKING_OPTIONS);
      // With an adapter the first argument is the input.
      const inputs = options.adapter === undefined ? [input] : [run, input].filter((one) => one !== undefined);
      if (inputs.length > 1) throw new UserError("cre extract --adapter: got a run, too, expected the input alone.");
      const source = sourceOf(options.adapter === undefined ? run : undefined, options, "extract");
      return extract(source, inputs[0] ?? "-", options, command);
    });
  addAdapterOptions(command);
  addConnectionOptions(command, ASKING_OPTIONS);
  for (const option of DOCUMENT_OPTIONS) command.addOption(option);
}

/** What answers: a run or an adapter in this process, or a model on a server. */
type AnswerSource = RunSource | { endpoint: EndpointSource };

const isEndpoint = (source: AnswerSource): source is { endpoint: EndpointSource } =>
  typeof source !== "string" && "endpoint" in source;

async function extract(source: AnswerSource, input: string, options: ExtractOptions, command: Command): Promise<void> {
  options.minScore ??= options.minProbability;
  if (options.entities) return extractGraphOf(source, input, options);
  expectNoDocumentOptions(command);
  await expectRows(input);
  if (input !== "-" && !existsSync(input)) throw new UserError(`${input}: does not exist, expected JSONL rows.`);
  const { output } = options;
  if (output !== undefined && input === "-") {
    throw new UserError("--output needs an input file, since a pipe cannot be read again after an interruption.", {
      hint: "Write to standard output instead: cre extract RUN - > OUTPUT",
    });
  }
  const replace = options.overwrite ?? false;
  if (output !== undefined) await checkExtraction(input, output, { replace });
  const opening = {
    onNotice: warn,
    onLoad: showLoading(),
    storage: options.storage,
    decode: decodeOf(options),
  };
  const run = await (isEndpoint(source) ? openServer(source.endpoint, options) : openLocal(source, opening, options));
  const started = performance.now();
  // Rows on a terminal are progress enough, and a bar would run into them.
  const bar = output === undefined && process.stdout.isTTY ? noProgress : progress("extract", null);
  const badRows = badRowPrinter(bar);
  const counts = emptyCounts();
  // Rows on standard output cannot be resumed: there a signal ends the process, also while a reader keeps it waiting.
  const stop = watchForStop(output === undefined ? {} : { onSignal: () => {} });
  const corpus: CorpusOptions = {
    minProbability: options.minScore,
    signal: stop.signal,
    replace,
    onRows: (now) => {
      Object.assign(counts, now);
      if (now.bad < now.rows) badRows.show();
      bar.update(now.rows, `${Math.round(rate(now, started))} rows/s  ${now.bad} bad`);
    },
    onBadRow: badRows.add,
    onNotice: warn,
  };
  try {
    if (output !== undefined) {
      Object.assign(counts, await extractFile(run.extractor, input, output, run.job, corpus));
    } else await printRows(run, input, counts, corpus);
    bar.stop();
    say(summary(counts, (performance.now() - started) / 1000) + tokensText(run.extractor));
    if (run.use) say(endpointLine(run.use()));
    if (options.strict && counts.bad > 0) throw new UserError(`${counts.bad} of ${counts.rows} rows were bad.`);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    bar.stop();
    throw new Interrupted(`after ${counts.rows} rows. Repeat the same command to resume.`, stop.by);
  } finally {
    bar.stop();
    stop.close();
    // After a signal the process ends, without waiting for the rows in progress.
    if (!stop.signal.aborted || run.use) await run.close();
  }
}

/** What answers rows. */
interface Answering {
  extractor: Extractor;
  /** All that decides the rows of an output, but for the input. */
  job: string;
  /** What a server was asked. */
  use?: () => EndpointUse;
  close(): Promise<void>;
}

async function openLocal(source: RunSource, opening: OpenOptions, options: ExtractOptions): Promise<Answering> {
  const run = await (typeof source === "string" ? openRuns(runsOf(source), opening) : openOne(source, opening));
  if (run.runs.length > 1) say(severalRuns(run));
  return { extractor: run.extractor, job: await jobOf(run, options), close: run.close };
}

const WITHOUT_PROBABILITIES =
  "both orders of a pair are decided by their probabilities, but the answers of this server have none.";
/** Hexadecimal digits that tell extractions apart. */
const FINGERPRINT_DIGITS = 16;

/** A model on a server. Answers are kept next to the output, so that an interrupted window is not asked again. */
async function openServer(source: EndpointSource, options: ExtractOptions) {
  const { output, minScore = 0 } = options;
  const client = await clientOf(options, {
    cache: output === undefined ? null : `${output.replace(/[\\/]+$/, "")}.answers`,
  });
  try {
    const opened = await openEndpoint(client, source, warn);
    const { extractor, endpoint, identity } = opened;
    if (extractor.hasNoProbabilities && minScore > 0) {
      throw new UserError(
        `--min-probability: the answers of ${client.url} have no probabilities (${endpoint().about}).`,
      );
    }
    if (extractor.hasNoProbabilities) warn(`answers have no probabilities: ${endpoint().about}`);
    const job = JSON.stringify([identity, minScore]);
    const fingerprint = createHash("sha256").update(identity).digest("hex").slice(0, FINGERPRINT_DIGITS);
    return { extractor, job, use: endpoint, close: async () => client.close(), opened, fingerprint };
  } catch (error) {
    client.close();
    throw error;
  }
}

/** Documents in, a graph out. */
async function extractGraphOf(source: AnswerSource, input: string, options: ExtractOptions): Promise<void> {
  const { output, storage, overwrite: replace = false, strict = false } = options;
  if (typeof source === "string" && runsOf(source).length > 1)
    throw new UserError("cre extract --entities: got several runs, expected one.");
  const prepared = await prepareDocuments(input, output, replace, options);
  const wanted = { ...options, minProbability: options.minScore ?? 0, strict, replace };
  if (isEndpoint(source)) {
    const server = await openServer(source.endpoint, options);
    try {
      if (server.extractor.hasNoProbabilities) throw new UserError(`cre extract --entities: ${WITHOUT_PROBABILITIES}`);
      await extractDocumentsWith(
        { ...server.opened, mentions: null, fingerprint: server.fingerprint },
        prepared,
        wanted,
      );
      say(endpointLine(server.use()));
    } finally {
      await server.close();
    }
    return;
  }
  const run = await openRun(source, { onNotice: warn, onLoad: showLoading(), storage, decode: decodeOf(options) });
  await extractDocumentsWith(run, prepared, wanted);
  await run.close();
}

/** All that decides the rows of an output, but for the input. */
async function jobOf(opened: OpenedRuns, { minScore = 0 }: ExtractOptions): Promise<string> {
  const identities = await identityOf(opened);
  if (identities.length > 1) return JSON.stringify([identities, minScore]);
  const [{ recipe, settings, directory, trainedAt }] = identities;
  return JSON.stringify([recipe, settings, minScore, directory, trainedAt]);
}

/** Writes rows to standard output. Throws a UserError when not one row can be used. */
async function printRows(
  run: Pick<Answering, "extractor">,
  input: string,
  counts: CorpusCounts,
  corpus: CorpusOptions,
): Promise<void> {
  const { stream, head } = keepingHead(input === "-" ? process.stdin : createReadStream(input));
  const problems: { line: number; problem: string }[] = [];
  const onBadRow = (line: number, problem: string) => {
    if (problems.length < MAX_WITHHELD) problems.push({ line, problem });
    corpus.onBadRow?.(line, problem);
  };
  const source = input === "-" ? Readable.from(stream) : Object.assign(Readable.from(stream), { path: input });
  for await (const lines of extractLines(run.extractor, source, counts, { ...corpus, onBadRow, windowRows: 256 })) {
    await print(lines.map((line) => `${line}\n`).join(""));
  }
  const name = input === "-" ? "standard input" : input;
  if (counts.rows === 0) throw noRows(name);
  if (counts.bad === counts.rows) throw noUsableRows(name, counts.rows, problems, head());
}

/**
 * Prints bad rows once there is a good one. When there is none, the error at the end says once what was expected, and the rows are not listed
 * one by one.
 */
function badRowPrinter(bar: Progress) {
  const withheld: string[] = [];
  let count = 0;
  let isShown = false;
  return {
    add(line: number, problem: string) {
      const text = `bad row, line ${line}: ${problem}`;
      if (isShown) return bar.line(text);
      count++;
      if (withheld.length < MAX_WITHHELD) withheld.push(text);
    },
    show() {
      if (isShown) return;
      isShown = true;
      for (const text of withheld) bar.line(text);
      if (count > withheld.length) bar.line(`… and ${count - withheld.length} more bad rows before the first good one`);
    },
  };
}

const rate = (counts: CorpusCounts, started: number) =>
  (counts.extracted + counts.bad) / ((performance.now() - started) / 1000);

function summary(counts: CorpusCounts, seconds: number): string {
  const { rows, extracted, bad, truncated, unparsed, unknownLabels, resumed } = counts;
  const parts = [`${rows} rows: ${extracted} extracted, ${bad} bad`];
  if (resumed > 0) parts.push(`${resumed} done before`);
  if (truncated > 0) parts.push(`${truncated} shortened`);
  if (unparsed > 0) parts.push(`${unparsed} answers not fully readable`);
  if (unknownLabels > 0) parts.push(`${unknownLabels} labels outside the schema`);
  return `${parts.join(", ")}; ${duration(seconds)}`;
}

/** Tokens of a question and what was computed of them. */
function tokensText({ tokens }: Pick<Extractor, "tokens">): string {
  if (!tokens || tokens.prompt === 0) return "";
  const saved = Math.round(100 * (1 - tokens.computed / tokens.prompt));
  return saved > 0 ? `; shared beginnings of prompts saved ${saved} % of the tokens` : "";
}

function severalRuns({ runs, sharedBases }: OpenedRuns): string {
  const shared = sharedBases > 0 ? `, ${sharedBases} base model${sharedBases === 1 ? "" : "s"} in memory` : "";
  return `${runs.length} runs: the mean of their label probabilities${shared}`;
}
