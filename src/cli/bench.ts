import Table from "cli-table3";
import { type Command, Option } from "commander";
import { measureDecode } from "../bench/decode.ts";
import { measureKernels } from "../bench/kernels.ts";
import { MATMUL_SHAPES, measureMatmul } from "../bench/matmul.ts";
import { SHAPES, type ShapeName } from "../bench/shapes.ts";
import { measureTrainStep, median, openTrainStep } from "../bench/train-step.ts";
import type { WeightStorage } from "../compute/backend.ts";
import type { KindTime } from "../compute/engine/profile.ts";
import { byteInstructions, openBackend } from "../compute/open.ts";
import { measurePeak, measureReadSpeed } from "../compute/peak.ts";
import { addBatchesCommand } from "./bench-batches.ts";
import { addBenchExtractCommand } from "./bench-extract.ts";
import { addBenchInt8Command } from "./bench-int8.ts";
import { addLoadCommands } from "./bench-load.ts";
import { addResultsCommand } from "./bench-results.ts";
import { addBenchServeCommand } from "./bench-serve.ts";
import { answerStepRequests } from "./bench-steps.ts";
import { wholeNumber } from "./options.ts";
import { megabytes, print, say, warn } from "./terminal.ts";

interface TrainStepFlags {
  shape: ShapeName;
  layers?: number;
  storage: WeightStorage;
  sequences: number;
  tokens: number;
  answer?: number;
  shared: number;
  rounds: number;
  recompute?: boolean;
  profile?: boolean;
  json?: boolean;
  onRequest?: boolean;
}

export function addBenchCommands(program: Command): void {
  const bench = program.command("bench").description("measure speed and memory on this machine");
  bench
    .command("train-step")
    .description("whole LoRA steps on random weights: tokens/s, GFLOP/s, memory")
    .addOption(new Option("--shape <name>", "model shape").choices(Object.keys(SHAPES)).default("110m"))
    .option("--layers <n>", "other number of layers", wholeNumber)
    .addOption(
      new Option("--storage <name>", "how weights are kept")
        .choices(["float32", "bfloat16", "int8", "nf4"])
        .default("bfloat16"),
    )
    .option("--sequences <n>", "sequences of a step", wholeNumber, 16)
    .option("--tokens <n>", "tokens of a sequence", wholeNumber, 96)
    .option("--answer <n>", "tokens of a sequence that carry loss (default: all that are not shared)", wholeNumber)
    .option("--shared <n>", "tokens at the beginning that all sequences share", wholeNumber, 0)
    .option("--rounds <n>", "measured steps", wholeNumber, 5)
    .option("--recompute", "compute layers again in the backward pass")
    .option("--profile", "print the time of every kind of operation")
    .option("--json", "print JSON")
    .addOption(
      new Option(
        "--on-request",
        'measure one step for every line "step" of standard input: a JSON line when ready, one a step, one at the end',
      ).conflicts("rounds"),
    )
    .action(trainStep);
  bench
    .command("kernels")
    .description("matrix products and the kernels beside them: GFLOP/s, ms, share of the measured peak")
    .option("--products", "matrix products only")
    .action(kernels);
  bench
    .command("decode")
    .description("greedy decoding on random weights: tokens/s, share of the measured memory bandwidth")
    .addOption(new Option("--shape <name>", "model shape").choices(Object.keys(SHAPES)).default("110m"))
    .option("--layers <n>", "other number of layers", wholeNumber)
    .addOption(
      new Option("--storage <name>", "how weights are kept; w8a8 for 8-bit products")
        .choices(["bfloat16", "int8", "nf4", "w8a8"])
        .default("bfloat16"),
    )
    .option("--rows <n>", "sequences continued together", wholeNumber, 1)
    .option("--prompt <n>", "tokens of a prompt", wholeNumber, 32)
    .option("--tokens <n>", "new tokens", wholeNumber, 32)
    .option("--json", "print JSON")
    .action(decode);
  addBatchesCommand(bench);
  addBenchExtractCommand(bench);
  addBenchInt8Command(bench);
  addBenchServeCommand(bench);
  addLoadCommands(bench);
  addResultsCommand(bench);
}

async function trainStep(options: TrainStepFlags): Promise<void> {
  const backend = openBackend("auto", warn, { profile: options.profile });
  try {
    const { shape, layers, storage, sequences, tokens: tokensEach, answer, rounds, recompute = false } = options;
    const { shared: sharedTokens } = options;
    const answerTokens = answer ?? (sharedTokens > 0 ? Math.max(1, tokensEach - sharedTokens) : tokensEach);
    const step = { shape, layers, storage, sequences, tokensEach, answerTokens, sharedTokens, recompute };
    if (options.onRequest) {
      await answerStepRequests(await openTrainStep(backend, step), { ...options, backend: backend.description });
      return;
    }
    const result = await measureTrainStep(backend, { ...step, rounds });
    const seconds = median(result.seconds);
    if (options.json) {
      await print(
        `${JSON.stringify({ ...options, backend: backend.description, ...result, medianSeconds: seconds })}\n`,
      );
      return;
    }
    const gigaflops = result.flops / seconds / 1e9;
    const { tokens, computedTokens, passes } = result;
    // The FLOPs are those of all tokens.
    const isAll = computedTokens === tokens;
    const share =
      result.peak === null || !isAll
        ? ""
        : `${percent(gigaflops / result.peak.registers)} of the measured peak (${Math.round(result.peak.registers)}; ` +
          `${Math.round(result.peak.numbers)} on numbers other than zero), `;
    say(`${backend.description}; weights made in ${result.loadSeconds.toFixed(1)} s`);
    await print(
      `${options.shape}${options.layers ? ` with ${options.layers} layers` : ""}, ${options.storage}, ` +
        `${options.sequences} × ${options.tokens} tokens: median ${(seconds * 1000).toFixed(0)} ms a step, ` +
        `${Math.round(tokens / seconds)} tokens/s, ${isAll ? `${gigaflops.toFixed(0)} GFLOP/s, ` : ""}${share}` +
        `${computedTokens} of ${tokens} tokens computed in ${passes === 1 ? "one pass" : `${passes} passes`}, ${percent(1 - computedTokens / tokens)} saved by sharing; ` +
        `peak memory ${megabytes(result.peakResidentBytes)} resident; a timer of 100 ms fired at worst ${result.worstTimerDelayMs.toFixed(0)} ms late\n`,
    );
    if (result.profile.length > 0) await print(`${profileTable(result.profile, result.seconds.length)}\n`);
  } finally {
    await backend.close();
  }
}

async function kernels(options: { products?: boolean }): Promise<void> {
  const backend = openBackend("auto", warn);
  try {
    const instructions = byteInstructions();
    say(`${backend.description}; 8-bit products: ${instructions ?? "not offered, their sums were wrong here"}`);
    const products = newTable([
      "rows",
      "inputs",
      "outputs",
      "forward",
      "backward",
      "gradient",
      "int8",
      "peak",
      "on numbers",
      "best share",
    ]);
    const speedsOfShapes = measureMatmul(backend, MATMUL_SHAPES, { hasInt8: instructions !== null });
    for await (const { rows, inputs, outputs, forward, backwardInput, backwardWeight, int8 } of speedsOfShapes) {
      const peak = await measurePeak(backend);
      const speeds = [forward, backwardInput, backwardWeight];
      const share = peak === null ? "" : percent(Math.max(...speeds) / peak.registers);
      products.push([
        rows,
        inputs,
        outputs,
        ...[...speeds, int8 ?? Number.NaN, peak?.registers ?? Number.NaN, peak?.numbers ?? Number.NaN].map((speed) =>
          speed.toFixed(0),
        ),
        share,
      ]);
    }
    const read = await measureReadSpeed(backend);
    await print(
      `GFLOP/s of products; int8: forward with 8-bit weights and activations${read === null ? "" : `; memory gives ${read.toFixed(1)} GB/s`}\n${products}\n`,
    );
    if (options.products) return;
    const others = newTable(["kernel", "ms"]);
    for await (const { name, ms } of measureKernels(backend)) others.push([name, ms.toFixed(3)]);
    await print(`${others}\n`);
  } finally {
    await backend.close();
  }
}

interface DecodeFlags {
  shape: ShapeName;
  layers?: number;
  storage: WeightStorage;
  rows: number;
  prompt: number;
  tokens: number;
  json?: boolean;
}

async function decode(options: DecodeFlags): Promise<void> {
  const backend = openBackend("auto", warn);
  try {
    const { shape, layers, storage, rows, prompt: promptTokens, tokens: newTokens } = options;
    const result = await measureDecode(backend, { shape, layers, storage, rows, promptTokens, newTokens });
    if (options.json) {
      await print(`${JSON.stringify({ ...options, backend: backend.description, ...result })}\n`);
      return;
    }
    const gigabytes = result.weightBytes / result.secondsPerToken / 1e9;
    const share =
      result.readGigabytes === null
        ? ""
        : ` (${percent(gigabytes / result.readGigabytes)} of ${result.readGigabytes.toFixed(1)})`;
    const { prompt } = result;
    const perSecond = (seconds: number) => ((rows * promptTokens) / seconds).toFixed(1);
    await print(
      `${shape}, ${storage}: ${perSecond(prompt.seconds)} tokens/s of prompts, ${perSecond(prompt.processorSeconds)} a processor second\n` +
        `${shape}, ${storage}, ${rows} rows: ${(1000 * result.secondsPerToken).toFixed(2)} ms a token, ` +
        `${(rows / result.secondsPerToken).toFixed(1)} tokens/s, ${gigabytes.toFixed(1)} GB/s of weights${share}\n`,
    );
  } finally {
    await backend.close();
  }
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** Times a step, slowest kind first. */
function profileTable(times: readonly KindTime[], steps: number): string {
  const table = newTable(["operation", "calls", "ms", "share", "CPU ms", "GFLOP/s"]);
  const total = times.reduce((sum, time) => sum + time.seconds, 0);
  for (const { kind, calls, seconds, processorSeconds, flops } of [...times].sort((a, b) => b.seconds - a.seconds)) {
    if (calls === 0) continue;
    const speed = flops > 0 ? (flops / seconds / 1e9).toFixed(0) : "";
    const perStep = (value: number) => ((1000 * value) / steps).toFixed(2);
    table.push([kind, calls / steps, perStep(seconds), percent(seconds / total), perStep(processorSeconds), speed]);
  }
  return table.toString();
}

function newTable(head: readonly string[]) {
  return new Table({
    head: [...head],
    colAligns: head.map((_, i) => (i === 0 ? "left" : "right")),
    style: { head: [], border: [], compact: true },
  });
}
