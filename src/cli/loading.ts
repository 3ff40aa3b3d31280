import { InvalidArgumentError, Option } from "commander";
import { nearestName } from "../base/errors.ts";
import type { DecodeSettings, ModelStorage } from "../recipe/answer-schema.ts";
import { type Progress, progress } from "./terminal.ts";

/** A model that loads faster needs no bar. */
const SHOW_AFTER_MS = 500;
const STORAGES: Readonly<Record<string, ModelStorage>> = {
  bf16: "bfloat16",
  bfloat16: "bfloat16",
  int8: "int8",
  nf4: "nf4",
  float32: "float32",
};

/** Shows a bar while a model loads; returns the function to call with the number of loaded tensors and of all. */
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

export function parseStorage(text: string): ModelStorage {
  if (Object.hasOwn(STORAGES, text)) return STORAGES[text];
  const nearest = nearestName(text, Object.keys(STORAGES));
  throw new InvalidArgumentError(`expected bf16, int8, nf4 or float32${nearest ? `; did you mean ${nearest}?` : "."}`);
}

/** The option `--storage`: how the matrices of a model's layers are stored in memory. `usual` is the default as the help names it. */
export function storageOption(usual: string): Option {
  const about = `how the layers' matrices are stored: bf16, int8, nf4 or float32 (default: ${usual})`;
  return new Option("--storage <name>", about).argParser(parseStorage);
}

/** The option `--companion`: the weight of a run's linear companion, instead of the recipe's decode.companion. */
export function companionOption(): Option {
  const about = "weight of the run's linear companion: auto, or 0 (the model alone) to 1 (default: the recipe's)";
  return new Option("--companion <weight>", about).argParser((text): "auto" | number => {
    const value = Number(text);
    if (text === "auto") return text;
    if (text.trim() !== "" && value >= 0 && value <= 1) return value;
    throw new InvalidArgumentError("expected auto or a number from 0 to 1.");
  });
}

/** The option `--products`: what products of the layers compute in, instead of the recipe's decode.precision. */
export function productsOption(): Option {
  const about = "products of the layers: int8 (8-bit weights and activations), float, or auto (default: the recipe's)";
  return new Option("--products <name>", about).choices(["auto", "int8", "float"]);
}

/** The options that replace values of a recipe's decoding. */
export interface DecodeOptions {
  method?: DecodeSettings["method"];
  companion?: "auto" | number;
  products?: DecodeSettings["precision"];
}

/** What these options replace. */
export function decodeOf({ method, companion, products }: DecodeOptions): Partial<DecodeSettings> {
  return {
    ...(method ? { method } : {}),
    ...(companion === undefined ? {} : { companion }),
    ...(products ? { precision: products } : {}),
  };
}
