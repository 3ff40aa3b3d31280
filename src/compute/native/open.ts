import { UserError } from "../../base/errors.ts";
import type { Backend } from "../backend.ts";
import { keepEngine } from "../peak.ts";
import { chooseThreads, type Level, loadAddon } from "./addon.ts";
import { NativeBackend } from "./backend.ts";
import { type BackwardCopy, chooseBackwardCopy, NativeMemory } from "./memory.ts";
import { profiled } from "./profile.ts";

export { nativeStatus } from "./addon.ts";

export interface NativeOptions {
  /** bfloat16 by default where the tile units (amx) multiply it, float32 elsewhere. */
  precision?: "bfloat16" | "float32";
  /** Instruction level; the environment's CRE_CPU, else the best one by default. */
  level?: Level;
  /** The environment's CRE_THREADS, else the physical cores by default. */
  threads?: number;
  /** Fills every output with NaN before its kernel runs, so that tests see what a kernel leaves out; CRE_POISON=1 by default. */
  poison?: boolean;
  /** Times every kind of operation (profileOf of profile.ts); CRE_PROFILE=1 by default. */
  profile?: boolean;
  /** Second packed copies of frozen weights for the backward pass; the environment's CRE_BACKWARD_COPY, else while they are few by default. */
  backwardCopy?: BackwardCopy;
}

/** Opens the native backend; throws a UserError when it is not built or this machine cannot run what is asked for. */
export function openNative(options: NativeOptions = {}): Backend {
  const { addon, level } = loadAddon(options.level);
  const threads = chooseThreads(options.threads);
  const precision = options.precision ?? (level === "amx" ? "bfloat16" : "float32");
  if (precision === "bfloat16" && level !== "amx") {
    throw new UserError(`precision bfloat16 needs the tile units (level amx), but the level is ${level}.`, {
      hint: "Use precision float32 here.",
    });
  }
  const poison = options.poison ?? process.env.CRE_POISON === "1";
  const memory = new NativeMemory("native", precision === "bfloat16", chooseBackwardCopy(options.backwardCopy));
  const engine = new addon.Engine(threads, precision === "bfloat16", poison);
  const description = `${level}, ${threads} thread${threads === 1 ? "" : "s"}, ${precision}`;
  const backend = new NativeBackend(engine, memory, precision, description);
  const opened = (options.profile ?? process.env.CRE_PROFILE === "1") ? profiled(backend, engine) : backend;
  keepEngine(opened, engine);
  return opened;
}
