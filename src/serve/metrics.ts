import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Extraction, Unextracted } from "../extract/extractor.ts";
import type { Scheduler, TurnReport } from "./scheduler.ts";
import type { ServedRuns } from "./served-run.ts";

/** What the server counts, in the form that Prometheus reads. */
export interface ServeMetrics {
  text(): Promise<string>;
  readonly contentType: string;
  request(route: string, method: string, status: number, seconds: number): void;
  turn(report: TurnReport): void;
  answers(run: string, results: readonly (Extraction | Unextracted)[]): void;
  generated(run: string, tokens: number): void;
  /** Longest time that the event loop was held since the last call, in milliseconds: 99 of 100 turns, and all. */
  loopDelay(): { p99: number; most: number };
  watch(scheduler: Scheduler, runs: ServedRuns): void;
  close(): void;
}

const SECONDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60];
const NANO = 1e9;

export function createMetrics(): ServeMetrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({
    ...{ name: "cre_requests_total", help: "Requests by route, method and status.", registers },
    labelNames: ["route", "method", "status"],
  });
  const latency = new Histogram({
    ...{ name: "cre_request_seconds", help: "Time from request to answer by route.", registers },
    ...{ labelNames: ["route"], buckets: SECONDS },
  });
  const turns = new Histogram({
    ...{ name: "cre_turn_seconds", help: "Time of a turn that requests share, by lane.", registers },
    ...{ labelNames: ["lane"], buckets: SECONDS },
  });
  const items = new Counter({
    ...{ name: "cre_turn_items_total", help: "Pairs, sentences or answers that turns took, by lane.", registers },
    labelNames: ["lane"],
  });
  const tokens = new Counter({
    ...{ name: "cre_tokens_total", help: "Tokens of prompts, computed of them, and generated, by run.", registers },
    labelNames: ["run", "kind"],
  });
  const labels = new Counter({
    ...{ name: "cre_predictions_total", help: "Predicted labels by run.", registers },
    labelNames: ["run", "label"],
  });
  const waiting = new Gauge({
    ...{ name: "cre_waiting_items", help: "Items that wait, by lane.", registers },
    labelNames: ["lane"],
  });
  const open = new Gauge({ name: "cre_open_requests", help: "Requests that wait or are computed.", registers });
  const memory = new Gauge({ name: "cre_resident_bytes", help: "Memory of the process.", registers });
  const delay = new Gauge({
    ...{ name: "cre_event_loop_delay_seconds", help: "How long the event loop was held.", registers },
    labelNames: ["quantile"],
  });
  const monitor = monitorEventLoopDelay({ resolution: 10 });
  monitor.enable();
  let watched: { scheduler: Scheduler; runs: ServedRuns } | null = null;
  const counted = new WeakMap<object, { prompt: number; computed: number }>();

  const countTokens = () => {
    for (const { name, run } of watched?.runs.all() ?? []) {
      const now = run.extractor.tokens;
      if (!now) continue;
      const before = counted.get(now) ?? { prompt: 0, computed: 0 };
      tokens.inc({ run: name, kind: "prompt" }, now.prompt - before.prompt);
      tokens.inc({ run: name, kind: "computed" }, now.computed - before.computed);
      counted.set(now, { ...now });
    }
  };
  return {
    contentType: registry.contentType,
    async text() {
      waiting.reset();
      for (const [lane, count] of watched?.scheduler.waiting() ?? []) waiting.set({ lane }, count);
      open.set(watched?.scheduler.requests ?? 0);
      memory.set(process.memoryUsage.rss());
      for (const quantile of [50, 99]) delay.set({ quantile: `0.${quantile}` }, monitor.percentile(quantile) / NANO);
      delay.set({ quantile: "1" }, monitor.max / NANO);
      countTokens();
      return registry.metrics();
    },
    request(route, method, status, seconds) {
      requests.inc({ route, method, status });
      latency.observe({ route }, seconds);
    },
    turn({ lane, items: count, milliseconds }) {
      turns.observe({ lane }, milliseconds / 1000);
      items.inc({ lane }, count);
    },
    answers(run, results) {
      for (const result of results) {
        if ("problem" in result) continue;
        for (const { relation } of result.predictions) labels.inc({ run, label: relation });
      }
    },
    generated: (run, count) => tokens.inc({ run, kind: "generated" }, count),
    loopDelay() {
      const delays = { p99: monitor.percentile(99) / 1e6, most: monitor.max / 1e6 };
      monitor.reset();
      return delays;
    },
    watch(scheduler, runs) {
      watched = { scheduler, runs };
    },
    close: () => monitor.disable(),
  };
}
