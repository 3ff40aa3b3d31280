import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { checkOutputFile, checkOutputFolder, expectNotRead } from "../base/output.ts";
import type { EndpointSource } from "../endpoint/open-endpoint.ts";
import { openEndpoint } from "../endpoint/open-endpoint.ts";
import { renderReport } from "../evaluate/report.ts";
import { endpointLine, evaluateRun, evaluationJson, evaluationTitle, saveEvaluation } from "../runs/evaluation.ts";
import { watchForStop } from "../runs/stop-signals.ts";
import type { AdapterOptions } from "./adapter-options.ts";
import { type AskingOptions, type ConnectionOptions, clientOf, shotsFrom } from "./endpoint-options.ts";
import type { EvaluateOptions } from "./evaluate-runs.ts";
import { writeMetrics } from "./metrics-output.ts";
import { Interrupted } from "./report.ts";
import { filesIn } from "./run-list.ts";
import { warnBadRows } from "./splits.ts";
import { duration, type Progress, progress, say, warn } from "./terminal.ts";

export type EndpointOptions = ConnectionOptions & AskingOptions & Omit<AdapterOptions, "adapter">;

/** What the options ask of a server. Throws a UserError for what belongs to a model in this process. */
export function endpointSource(run: string | undefined, command: string, options: EndpointOptions): EndpointSource {
  const { adapter, method, storage, companion, products } = options as Record<string, unknown>;
  const lost = Object.entries({ adapter, method, storage, companion, products }).find(
    ([, value]) => value !== undefined,
  );
  if (lost) throw new UserError(`cre ${command} --endpoint: got --${lost[0]}, which is for a model in this process.`);
  const { recipe, base, labels, way, answerTokens } = options;
  const other = Object.entries({ recipe, labels, base }).find(([, value]) => value !== undefined);
  if (run !== undefined && other)
    throw new UserError(`cre ${command} --endpoint: got the run ${run} and --${other[0]}, but a run has its own.`);
  return { run, recipe, base, labels, way, answerTokens, shots: shotsFrom(options) };
}

/** Milliseconds between two looks at the number of requests. */
const LOOK_MS = 500;

/** Evaluates a model on a server and prints the tables; with `--report` a folder gets metrics.json, report.html, predictions and answers. */
export async function evaluateEndpoint(
  run: string | undefined,
  options: EndpointOptions & EvaluateOptions & { report?: string },
): Promise<void> {
  const { data, split, json, report: output } = options;
  const source = { ...endpointSource(run, "evaluate", options), data, output };
  await checkOutputs(source, json);
  const stop = watchForStop({ onSignal: () => {} });
  const cache = output === undefined ? null : join(output, "answers");
  const client = await clientOf(options, { cache, signal: stop.signal });
  let bar: Progress | null = null;
  let rows = { done: 0, total: 0 };
  const show = () => bar?.update(rows.done, `${client.counts.requests} requests`);
  const looking = setInterval(show, LOOK_MS);
  try {
    const opened = await openEndpoint(client, source, warn);
    const evaluation = await evaluateRun(opened, {
      ...{ data, split, onBadRow: options.skipBad ? ("skip" as const) : undefined },
      onEvent(event) {
        if (event.kind === "data") return warnBadRows(event);
        if (event.kind === "notice") return warn(event.text);
        rows = event;
        bar ??= progress("evaluate", event.total);
        show();
      },
    });
    (bar as Progress | null)?.stop();
    if (output !== undefined) await saveEvaluation(opened, evaluation);
    const { metrics, references, truncated, examples, extractions, seconds } = evaluation;
    await writeMetrics(json, evaluationJson(evaluation), () =>
      renderReport(metrics, {
        ...{ title: evaluationTitle(opened, evaluation), references, colour: process.stdout.isTTY },
      }),
    );
    if (truncated > 0) warn(`${truncated} sentences were shortened to fit the model's context.`);
    const unread = extractions.filter(({ generated }) => generated?.unparsed != null).length;
    if (unread > 0) warn(`${unread} answers were not fully readable.`);
    say(endpointLine(opened.endpoint()));
    const files = output === undefined ? "" : `; ${opened.folder.metrics}, ${opened.folder.report}`;
    say(`${examples.length} rows in ${duration(seconds)}${files}`);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    (bar as Progress | null)?.stop();
    const kept = (options.cache ?? cache) === null ? "" : " Repeat the same command: answers that came are kept.";
    throw new Interrupted(`after ${client.counts.requests} requests.${kept}`, stop.by);
  } finally {
    clearInterval(looking);
    (bar as Progress | null)?.stop();
    stop.close();
    client.close();
  }
}

/** Throws a UserError for an output that cannot be written, or that is one of the files that are read. */
async function checkOutputs({ run, recipe, labels, data, output }: EndpointSource, json: string | undefined) {
  if (output !== undefined) await checkOutputFolder(output);
  if (json === undefined || json === "-") return;
  await checkOutputFile(json);
  const read = (await Promise.all([run, data].map(filesIn))).flat();
  await expectNotRead(json, [...read, ...[recipe, labels].filter((file) => file !== undefined)]);
}
