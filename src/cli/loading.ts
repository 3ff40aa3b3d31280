import { InvalidArgumentError, Option } from "commander";
import { nearestName } from "../base/errors.ts";
import type { WeightStorage } from "../compute/backend.ts";
import { type Progress, progress } from "./terminal.ts";

/** A model that is there sooner needs no bar. */
const SHOW_AFTER_MS = 500;
const STORAGES: Readonly<Record<string, WeightStorage>> = {
  bf16: "bfloat16",
  bfloat16: "bfloat16",
  int8: "int8",
  nf4: "nf4",
  float32: "float32",
};

/** Shows how far a model is loaded; what it gives is called with the tensors done and all of them. */
export function showLoading(): (done: number, total: number) => void {
  const started = performance.now();
  let bar: Progress | null = null;
  return (done, total) => {
    if (bar === null && performance.now() - started < SHOW_AFTER_MS) return;
    bar ??= progress("load", total);
    bar.update(done, "tensors");
    if (done === total) bar.stop();
  };
}

export function parseStorage(text: string): WeightStorage {
  if (Object.hasOwn(STORAGES, text)) return STORAGES[text];
  const nearest = nearestName(text, Object.keys(STORAGES));
  throw new InvalidArgumentError(`expected bf16, int8, nf4 or float32${nearest ? `; did you mean ${nearest}?` : "."}`);
}

/** `--storage`: how the matrices of a model's layers are kept in memory. `usual` says what they are without it. */
export function storageOption(usual: string): Option {
  const about = `how the layers' matrices are kept: bf16, int8, nf4 or float32 (default: ${usual})`;
  return new Option("--storage <name>", about).argParser(parseStorage);
}
