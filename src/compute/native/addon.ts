import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { messageOf, UserError } from "../../base/errors.ts";
import type { AttentionSegment, AttentionSpec, RotarySpec, RowPositions } from "../backend.ts";
import { loadAddonFile } from "./addon-file.ts";
import { addonFile, builtLevels, cpuAddonFile, type Level, levelError, runnableLevels } from "./levels.ts";

export type { Level } from "./levels.ts";

/** Handles are positive whole numbers. The arguments of each call are described above its definition in native/binding/. */
export interface Engine {
  tensor(values: Float32Array | null, rows: number, columns: number, wide: boolean): number;
  read(tensor: number): Promise<Float32Array>;
  free(tensor: number): void;
  /** Null for zeros, undefined for a weight whose rows follow by `writeRows`. */
  weight(
    values: Float32Array | null | undefined,
    rows: number,
    columns: number,
    storage: number,
    trainable: boolean,
  ): number;
  /** The next rows, raw; resolves when `bytes` was read. */
  writeRows(weight: number, bytes: Uint8Array, type: number, normalized: boolean): Promise<void>;
  writeWeight(weight: number, values: Float32Array, part: number): void;
  readWeight(weight: number, part: number): Promise<Float32Array>;
  freeWeight(weight: number): void;
  sync(): Promise<void>;
  close(): Promise<void>;
  /** Times everything issued from now on as this kind; 0 stops timing. */
  label(kind: number): void;
  /**
   * In 10⁹ per second: operations from registers alone (on zeros), bytes read from memory (when `reads`; needs 1 GB), and operations on
   * numbers from the first-level cache.
   */
  peak(seconds: number, reads: boolean): Promise<Float32Array>;
  /** Calls, seconds and processor seconds of each kind. */
  spent(): Float64Array;

  embed(table: number, ids: Int32Array): number;
  embedBackward(table: number, ids: Int32Array, dy: number): void;
  matmul(
    x: number,
    w: number,
    bias: number | null,
    residual: number | null,
    scale: number,
    wide: boolean,
    ...rotary: RotaryPlan | []
  ): number;
  matmulSum(
    xs: Int32Array,
    ws: Int32Array,
    scales: Float32Array,
    /** Null forward; backward, whether each weight has a second copy. */
    secondCopies: Int32Array | null,
    bias: number | null,
    residual: number | null,
    wide: boolean,
    ...rotary: RotaryPlan | []
  ): number;
  /** Forward: up = the sum, and silu(gate) · up. Backward, with `up`: the gradients of gate and up. */
  matmulSwiglu(
    xs: Int32Array,
    ws: Int32Array,
    scales: Float32Array,
    secondCopies: Int32Array | null,
    bias: number | null,
    gate: number,
    up: number | null,
  ): [first: number, second: number];
  matmulBackwardInput(
    dy: number,
    w: number,
    residual: number | null,
    scale: number,
    wide: boolean,
    secondCopy: boolean,
  ): number;
  matmulBackwardWeight(dy: number, x: number, w: number, scale: number): void;
  matmulBackward(dy: number, x: number, w: number, scale: number): number;
  biasBackward(dy: number, b: number): void;
  gatherRows(x: number, rows: Int32Array): number;
  gatherRowsBackward(dy: number, rows: Int32Array, totalRows: number): number;
  copyRows(source: number, destination: number, rows: Int32Array): void;
  rmsNorm(x: number, g: number, epsilon: number): number;
  rmsNormBackward(x: number, g: number, dy: number, epsilon: number, residual: number | null): number;
  rotary(x: number, backward: boolean, ...rotary: RotaryPlan): number;
  attention(q: number, k: number, v: number, ...plan: AttentionPlan): [output: number, logSumExp: number];
  attentionBackward(
    q: number,
    k: number,
    v: number,
    output: number,
    logSumExp: number,
    dOutput: number,
    ...plan: AttentionPlan
  ): [dq: number, dk: number, dv: number];
  swiglu(gate: number, up: number): number;
  swigluBackward(gate: number, up: number, dh: number): [dGate: number, dUp: number];
  add(a: number, b: number, scale: number, wide: boolean): number;
  dropout(x: number, probability: number, seed: number): number;
  scaleColumns(x: number, g: number, divisors: number, bias: number | null): number;
  scaleColumnsBackward(x: number, g: number, divisors: number, dy: number): number;
  rowNorms(x: number): number;
  tanh(x: number): number;
  tanhBackward(y: number, dy: number): number;
  crossEntropy(
    logits: number,
    targets: Int32Array,
    weights: Float32Array,
    labelSmoothing: number,
  ): [loss: number, dLogits: number];
  logProbabilities(logits: number, rows: Int32Array, tokens: Int32Array): number;
  argmax(x: number): number;
  zeroGradients(weights: Int32Array): void;
  gradientNorm(weights: Int32Array): number;
  adamW(weights: Int32Array, settings: Float64Array): void;
}

/** The rotation of a result, for native/binding/binding_products.cpp. */
export type RotaryPlan = [
  positions: Int32Array,
  heads: number,
  headWidth: number,
  frequencies: Float32Array,
  interleaved: boolean,
];

export function rotaryPlan({
  positions,
  heads,
  headWidth,
  frequencies,
  layout,
}: RotarySpec & RowPositions): RotaryPlan {
  return [positions, heads, headWidth, frequencies, layout === "interleaved"];
}

/** Attention for native/binding/binding_rows.cpp: seven numbers per segment, three per span. */
export type AttentionPlan = [
  heads: number,
  keyValueHeads: number,
  headWidth: number,
  scale: number,
  slopes: Float32Array | null,
  segments: Int32Array,
  spans: Int32Array,
  rotaryFrequencies: Float32Array | null,
  interleaved: boolean,
];

export function attentionPlan(segments: readonly AttentionSegment[], spec: AttentionSpec): AttentionPlan {
  const segmentNumbers: number[] = [];
  const spanNumbers: number[] = [];
  for (const { start, length, keyStart, position, context, bidirectional = 0 } of segments) {
    segmentNumbers.push(start, length, keyStart, position, bidirectional, spanNumbers.length / 3, context.length);
    for (const span of context) spanNumbers.push(span.start, span.length, span.position);
  }
  const { heads, keyValueHeads, headWidth, scale, slopes, rotary } = spec;
  const numbers = [Int32Array.from(segmentNumbers), Int32Array.from(spanNumbers)] as const;
  const rotation = [rotary?.frequencies ?? null, rotary?.layout === "interleaved"] as const;
  return [heads, keyValueHeads, headWidth, scale, slopes, ...numbers, ...rotation];
}

/** Functions that need no engine, of native/binding/binding_checks.cpp. */
export interface ByteChecksAddon {
  /** CRC-32, continued from the sum of the bytes before these. */
  sumOfBytes(bytes: Uint8Array, before: number): number;
  /** The same by tables, on any processor. */
  sumByTables(bytes: Uint8Array, before: number): number;
  /** Whether none of the numbers (0: float32, 1: float16, 2: bfloat16) is NaN or infinite. */
  allFinite(bytes: Uint8Array, numbers: number): boolean;
}

interface Addon extends ByteChecksAddon {
  Engine: new (threads: number, bfloat16: boolean, poison: boolean) => Engine;
  level: string;
}

export interface NativeStatus {
  available: boolean;
  /** For people: why it is not available; null when it is. */
  reason: string | null;
  /** Levels that are built and that this processor supports, weakest first. */
  levels: Level[];
  best: Level | null;
}

const load = (level: Level) => loadAddonFile<Addon>(addonFile(level), "Engine");

let whyNotBuilt = "it is not built (`npm run build` builds it where a C++17 compiler is installed)";

/** Why a build at first use made nothing: the reason that `nativeStatus` gives while there are no addons. */
export function sayWhyNotBuilt(reason: string): void {
  whyNotBuilt = reason.replace(/\.$/, "");
}

/** Whether the native backend can be opened here, and at which instruction levels. */
export function nativeStatus(): NativeStatus {
  const none = (reason: string): NativeStatus => ({ available: false, reason, levels: [], best: null });
  if (!existsSync(cpuAddonFile())) {
    return none(whyNotBuilt);
  }
  try {
    const [runnable, built] = [runnableLevels(), builtLevels()];
    const levels = built.filter((level) => runnable.includes(level));
    if (levels.length === 0) {
      const found = `this processor runs ${runnable.join(", ")}; built: ${built.join(", ") || "none"}`;
      return none(`the native backend is not built for this processor (${found}); \`npm run build\` builds it`);
    }
    return { available: true, reason: null, levels, best: levels[levels.length - 1] };
  } catch (error) {
    return none(`the native backend cannot be loaded: ${messageOf(error)}`);
  }
}

/** Loads the addon of a level (by default CRE_CPU, else the best one); throws a UserError for a level that this machine lacks. */
export function loadAddon(wanted: string | undefined): { addon: Addon; level: Level } {
  const status = nativeStatus();
  if (status.best === null) throw new UserError(status.reason ?? "the native backend is not available");
  const asked = wanted ?? process.env.CRE_CPU;
  if (asked === undefined || asked === "") return { addon: load(status.best), level: status.best };
  const level = status.levels.find((name) => name === asked);
  if (level === undefined) {
    const source = wanted === undefined ? "CRE_CPU" : "level";
    throw levelError(source, asked, runnableLevels(), builtLevels());
  }
  return { addon: load(level), level };
}

/** Threads to use: the option, else CRE_THREADS, else the physical cores this process may use. */
export function chooseThreads(wanted: number | undefined): number {
  const text = process.env.CRE_THREADS;
  const asked = wanted ?? (text === undefined || text === "" ? undefined : Number(text));
  if (asked === undefined) return defaultThreads();
  if (!Number.isInteger(asked) || asked < 1 || asked > 256) {
    const source = wanted === undefined ? "CRE_THREADS" : "threads";
    throw new UserError(`${source} is ${wanted ?? text}, expected a whole number from 1 to 256.`);
  }
  return asked;
}

function defaultThreads(): number {
  const allowed = Math.min(availableParallelism(), cgroupProcessors());
  return Math.max(1, Math.min(256, Math.floor(allowed / threadsPerCore())));
}

/** Processors that the control group (version 2) grants, rounded up; Infinity without a limit. */
function cgroupProcessors(): number {
  const text = readIfThere("/sys/fs/cgroup/cpu.max");
  const [quota, period] = (text ?? "").trim().split(/\s+/).map(Number);
  return quota > 0 && period > 0 ? Math.ceil(quota / period) : Number.POSITIVE_INFINITY;
}

/** Logical processors per core: matrix products gain nothing from the second one. */
function threadsPerCore(): number {
  const folder = "/sys/devices/system/cpu";
  if (!existsSync(folder)) return 1;
  const processors = readdirSync(folder).filter((name) => /^cpu\d+$/.test(name));
  const cores = new Set<string>();
  let known = 0;
  for (const name of processors) {
    const siblings = readIfThere(join(folder, name, "topology/thread_siblings_list"));
    if (siblings === null) continue;
    known++;
    cores.add(siblings.trim());
  }
  return cores.size === 0 ? 1 : known / cores.size;
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}
