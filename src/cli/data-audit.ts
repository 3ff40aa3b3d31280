import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { UserError } from "../base/errors.ts";
import {
  type AuditEvent,
  type AuditOptions,
  AuditStopped,
  audit,
  checkAuditFolder,
  checkDropFolder,
  dropSuspicious,
  saveAudit,
} from "../crossval/audit.ts";
import { renderAudit } from "../crossval/audit-text.ts";
import type { Audit } from "../crossval/doubt.ts";
import { collect, foldCount, wholeNumber, workFolder } from "./options.ts";
import { Interrupted } from "./report.ts";
import { warnBadRows } from "./splits.ts";
import { type Progress, print, printText, progress, STOPPING, say, warn } from "./terminal.ts";

interface AuditCommandOptions {
  with: "linear" | "model";
  folds: number;
  seed: number;
  runs?: string;
  data?: string;
  set: string[];
  top: number;
  drop?: number;
  output?: string;
  plant?: number;
  skipBad?: boolean;
  json?: boolean;
}

export function addDataAuditCommand(data: Command): void {
  data
    .command("audit")
    .description(
      "rank the training rows that are probably labelled wrongly, by cross-validation; writes a page and JSONL",
    )
    .argument("<source>", "data folder, or a recipe file")
    .addOption(
      new Option("--with <model>", "what doubts: the linear companion (quick) or the recipe's language model")
        .choices(["linear", "model"])
        .default("linear"),
    )
    .option("--folds <n>", "folds; the rows of a sentence are in one", foldCount, 5)
    .option("--seed <n>", "seed of the folds", wholeNumber, 1)
    .option("--runs <dir>", "folder of the report and of the folds' runs (default: runs/audit-NAME)")
    .option("--data <dir>", "data folder, instead of the recipe's data.path")
    .option("--set <key=value>", "replace one value of the recipe", collect, [])
    .option("--top <n>", "rows to print", wholeNumber, 20)
    .option(
      "--drop <share>",
      'write a copy of the data without this share of its training rows, for example "2%"',
      shareOf,
    )
    .option("--output <dir>", "folder of that copy (default: data/ in the folder of the report)")
    .option(
      "--plant <share>",
      "relabel this share at random first, and print how many are found; writes no report",
      shareOf,
    )
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .option("--json", "print JSON")
    .action(auditData);
}

/** "2%" or "0.02". */
function shareOf(text: string): number {
  const [, number, percent] = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(text.trim()) ?? [];
  const share = percent === "%" ? Number(number) / 100 : Number(number);
  if (!(share > 0 && share < 1))
    throw new InvalidArgumentError('expected a share above 0 and below 1, as "2%" or "0.02".');
  return share;
}

async function auditData(source: string, options: AuditCommandOptions): Promise<void> {
  const { folds, seed, data, set, plant, drop } = options;
  const run = options.runs ?? workFolder("audit", source);
  if (plant !== undefined && drop !== undefined) {
    throw new UserError("--plant and --drop: got both, expected one: planted labels are not those of the data.");
  }
  if (options.output !== undefined && drop === undefined) throw new UserError("--output needs --drop SHARE.");
  const output = options.output ?? join(run, "data");
  if (plant === undefined) await checkAuditFolder(run);
  if (drop !== undefined) await checkDropFolder(output);
  const printer = auditPrinter();
  const settings: AuditOptions = {
    ...{ source, with: options.with, run, data, overrides: set, folds, seed, plant },
    ...{ badRows: options.skipBad ? "skip" : undefined, onEvent: printer.onEvent },
    // The linear companion keeps nothing that is worth a stop in good order.
    ...(options.with === "model" ? { onSignal: printer.onSignal } : {}),
  };
  const found = await audit(settings)
    .catch((error: unknown) => {
      printer.close();
      if (!(error instanceof AuditStopped)) throw error;
      throw new Interrupted("finished folds are kept. Repeat the same command to continue.", error.signal);
    })
    .finally(printer.close);
  if (options.json) await print(`${JSON.stringify(summaryOf(found), null, 2)}\n`);
  else await printText(renderAudit(found, { maxRows: options.top, colour: process.stdout.isTTY }));
  if (plant !== undefined) return;
  const files = await saveAudit(found, run);
  say(`${files.report}, ${files.rows}`);
  if (drop === undefined) return;
  const { lines, leftOut, unreadable } = await dropSuspicious(found, drop, output);
  if (unreadable > 0) warn(`${unreadable} lines cannot be copied: they are too long or not valid UTF-8.`);
  say(`${output}: a copy of the data without ${leftOut} of the ${lines} lines of train`);
}

/** The ranking itself is in the JSONL file. */
function summaryOf({ data, with: kind, folds, rows, precision, pairs, f1, planted }: Audit) {
  const disagreeing = rows.filter(({ disagrees }) => disagrees).length;
  return { data, with: kind, folds, rows: rows.length, disagreeing, f1, planted, precision, pairs };
}

function auditPrinter() {
  const notices = new Set<string>();
  let bar: Progress | null = null;
  let at = { done: 0, what: "" };
  let steps = 0;
  const tell = (line: string) => (bar?.line ?? say)(line);
  const onEvent = (event: AuditEvent): void => {
    if (event.kind === "data") warnBadRows(event);
    else if (event.kind === "notice") warn(event.text);
    else if (event.kind === "linear") {
      bar ??= progress("audit", event.total);
      bar.update(event.done, "folds");
    } else if (event.kind === "fold") {
      bar ??= progress("audit", event.folds);
      at = { done: event.fold - 1, what: `fold ${event.fold}` };
      bar.update(at.done, at.what);
    } else onFold(event.event);
  };
  const onFold = (event: Extract<AuditEvent, { kind: "in fold" }>["event"]): void => {
    if (event.kind === "start") steps = event.totalSteps;
    else if (event.kind === "step") bar?.update(at.done, `${at.what}: step ${event.step}/${steps}`);
    else if (event.kind === "rows") bar?.update(at.done, `${at.what}: row ${event.done}/${event.total}`);
    else if (event.kind === "notice" && !notices.has(event.text)) {
      notices.add(event.text);
      tell(`note: ${event.text}`);
    }
  };
  return { onEvent, onSignal: () => tell(STOPPING), close: () => bar?.stop() };
}
