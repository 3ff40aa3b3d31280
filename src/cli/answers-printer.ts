import type { ComparisonEvent } from "../runs/compare-runs.ts";
import { showLoading } from "./loading.ts";
import { warnBadRows } from "./splits.ts";
import { type Progress, progress, say, warn } from "./terminal.ts";

/** Prints the events of runs that answer rows one after another. */
export function answersPrinter() {
  let bar: { run: string; bar: Progress } | null = null;
  const loading = new Map<string, ReturnType<typeof showLoading>>();
  const told = new Set<string>();
  const onEvent = (event: ComparisonEvent): void => {
    const { run } = event;
    if (event.kind === "notice") warn(`${run}: ${event.text}`);
    else if (event.kind === "data") {
      // Runs that were trained on one folder read the same rows.
      const key = `${event.directory} ${event.split}`;
      if (!told.has(key)) warnBadRows(event);
      told.add(key);
    } else if (event.kind === "loading") {
      const show = loading.get(run) ?? showLoading();
      loading.set(run, show);
      show(event.done, event.total);
    } else if (event.kind === "saved") say(`${run}: answers of an earlier evaluation`);
    else {
      if (bar?.run !== run) {
        bar?.bar.stop();
        bar = { run, bar: progress(`evaluate ${run}`, event.total) };
      }
      bar.bar.update(event.done);
    }
  };
  return { onEvent, close: () => bar?.bar.stop() };
}
