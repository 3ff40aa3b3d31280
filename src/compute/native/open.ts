import { UserError } from "../../base/errors.ts";
import type { Backend } from "../backend.ts";
import { engineKernels } from "../engine/kernels.ts";
import { type BackwardCopy, chooseBackwardCopy } from "../engine/packing.ts";
import { profiled } from "../engine/profile.ts";
import { keepEngine } from "../peak.ts";
import { createBackend } from "../shell.ts";
import { chooseThreads } from "../threads.ts";
import { type Level, loadAddon } from "./addon.ts";
import { BF16_LEVELS } from "./levels.ts";

export { nativeStatus } from "./addon.ts";

/**
 * The instructions of products of bytes (storage w8a8) on a level, by default the one that `openNative` opens. Null where none of them agrees
 * with a plain loop on this processor, which the addon tests at its first call: some of its instructions were never run where it was written.
 */
export function nativeByteInstructions(level?: Level): string | null {
  return loadAddon(level).addon.byteInstructions() || null;
}

export interface NativeOptions {
  /** By default bfloat16 on the levels that multiply it (avx512bf16, amx), and float32 elsewhere. */
  precision?: "bfloat16" | "float32";
  /** Instruction level; by default the environment's CRE_CPU, else the best one. */
  level?: Level;
  /** By default the environment's CRE_THREADS, else the number of physical cores. */
  threads?: number;
  /** Fills every output with NaN before its kernel runs, so that tests see elements that a kernel does not write; by default CRE_POISON=1. */
  poison?: boolean;
  /** Times every kind of operation (profileOf of profile.ts); by default CRE_PROFILE=1. */
  profile?: boolean;
  /** Second packed copies of frozen weights for the backward pass; by default the environment's CRE_BACKWARD_COPY, else "auto". */
  backwardCopy?: BackwardCopy;
}

/** Opens the native backend; throws a UserError when it is not built or this machine lacks the level or precision. */
export function openNative(options: NativeOptions = {}): Backend {
  const { addon, level } = loadAddon(options.level);
  const threads = chooseThreads(options.threads);
  const precision = options.precision ?? (BF16_LEVELS.includes(level) ? "bfloat16" : "float32");
  if (precision === "bfloat16" && !BF16_LEVELS.includes(level)) {
    throw new UserError(`precision bfloat16 needs the level ${BF16_LEVELS.join(" or ")}, but the level is ${level}.`, {
      hint: "Use precision float32 here.",
    });
  }
  const poison = options.poison ?? process.env.CRE_POISON === "1";
  const backwardCopy = chooseBackwardCopy(options.backwardCopy);
  const engine = new addon.Engine(threads, precision === "bfloat16", poison);
  const description = `${level}, ${threads} thread${threads === 1 ? "" : "s"}, ${precision}`;
  const arithmetic = `${level}, ${precision}`;
  const backend = createBackend(
    engineKernels(engine, { name: "native", precision, description, arithmetic, backwardCopy }),
  );
  const opened = (options.profile ?? process.env.CRE_PROFILE === "1") ? profiled(backend, engine) : backend;
  keepEngine(opened, engine);
  return opened;
}
