// Who is compared: this project and its peers, each a living process that answers "step" with a turn.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";

const HERE = import.meta.dirname;
const PEERS = join(HERE, "..", "peers");
const ours = join(HERE, "ours.mjs");
const node = (...rest) => [process.execPath, ...rest];

/**
 * Name → { task, text, needs, command(paths, values), isDefault }. `needs`: "python", "llama-cpp", or null for this project. Each task has one
 * reference: the peer whose speed and labels the others are compared with.
 */
export const CONTENDERS = {
  "cre-labels": {
    ...{ task: "extraction", needs: null, text: "labels chosen by probability, the paper's prompt" },
    command: ({ work, paper }) => node(ours, "--work", work, "--task", "extract", "--run", paper, "--method", "labels"),
  },
  "cre-generate": {
    ...{ task: "extraction", needs: null, text: "greedy answers, the paper's prompt" },
    command: ({ work, paper }) =>
      node(ours, "--work", work, "--task", "extract", "--run", paper, "--method", "generate"),
  },
  "cre-marked": {
    ...{ task: "extraction", needs: null, text: "labels chosen by probability, style marked" },
    command: ({ work, marked }) =>
      node(ours, "--work", work, "--task", "extract", "--run", marked, "--method", "labels"),
  },
  "cre-marked-int8": {
    ...{ task: "extraction", needs: null, text: "the same in 8 bits" },
    command: ({ work, marked }) =>
      node(ours, "--work", work, "--task", "extract", "--run", marked, "--method", "labels", "--precision", "int8"),
  },
  "hf-float32": {
    ...{ task: "extraction", needs: "python", text: "Hugging Face generate, float32", isReference: true },
    command: ({ work }, values) => hf("float32", work, values),
  },
  "hf-bfloat16": {
    ...{ task: "extraction", needs: "python", text: "Hugging Face generate, bfloat16", isDefault: hasBf16() },
    command: ({ work }, values) => hf("bfloat16", work, values),
  },
  "llama-cpp-F16": {
    ...{ task: "extraction", needs: "llama-cpp", text: "node-llama-cpp, F16, one sequence", gguf: "F16" },
    command: (paths, values) => llamaCpp("F16", 1, paths, values),
  },
  "llama-cpp-Q8_0": {
    ...{ task: "extraction", needs: "llama-cpp", text: "node-llama-cpp, Q8_0, one sequence", gguf: "Q8_0" },
    command: (paths, values) => llamaCpp("Q8_0", 1, paths, values),
  },
  "llama-cpp-Q8_0-8": {
    ...{ task: "extraction", needs: "llama-cpp", text: "node-llama-cpp, Q8_0, 8 sequences", gguf: "Q8_0" },
    command: (paths, values) => llamaCpp("Q8_0", 8, paths, values),
  },
  "cre-train-paper": {
    ...{ task: "training", needs: null, text: "the paper's settings" },
    command: (paths, values) => trainOurs(paths.trainPaper, paths, values),
  },
  "cre-train-marked": {
    ...{ task: "training", needs: null, text: "recipes/finre-base.yaml, style marked" },
    command: (paths, values) => trainOurs(paths.trainMarked, paths, values),
  },
  "peft-float32": {
    ...{
      task: "training",
      needs: "python",
      text: "PEFT and Trainer, the paper's settings, float32",
      isReference: true,
    },
    command: ({ work }, values) => peft("float32", work, values),
  },
  "peft-bfloat16": {
    ...{ task: "training", needs: "python", text: "PEFT and Trainer, bfloat16 by autocast", isDefault: hasBf16() },
    command: ({ work }, values) => peft("bfloat16", work, values),
  },
};

const hf = (dtype, work, { python, batch, threads }) => [
  ...[python, join(PEERS, "hf_generate.py"), "--work", work, "--dtype", dtype],
  ...["--batch", batch, "--threads", threads],
];
const peft = (dtype, work, { python, steps, threads }) => [
  ...[python, join(PEERS, "peft_trainer.py"), "--work", work, "--dtype", dtype],
  ...["--steps", steps, "--threads", threads],
];
const llamaCpp = (type, sequences, { work, ggufs }, values) =>
  node(
    ...[join(PEERS, "llama_cpp.mjs"), "--work", work, "--model", ggufs[type], "--package", values["llama-cpp"]],
    ...["--sequences", `${sequences}`, "--threads", values.threads],
  );
const trainOurs = (recipe, { work }, { steps }) =>
  node(ours, "--work", work, "--task", "train", "--recipe", recipe, "--steps", steps);

/** Whether the processor has units for bfloat16: elsewhere PyTorch's bfloat16 is many times slower than its float32. */
function hasBf16() {
  try {
    return /\b(amx_bf16|avx512_bf16)\b/.test(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return false;
  }
}

/** Looks for the packages without importing them, which takes seconds. */
const FIND_PACKAGES = `
import importlib.util, sys
sys.exit(not all(map(importlib.util.find_spec, ["torch", "transformers", "peft", "accelerate"])))`;

/** Why a peer cannot run here, or null. */
export function missing({ needs }, { python, "llama-cpp": llama }) {
  if (needs === "python") {
    const { status, error } = spawnSync(python, ["-c", FIND_PACKAGES]);
    return status === 0
      ? null
      : `${python} ${error ? "is not there" : "lacks torch, transformers, peft or accelerate"}`;
  }
  if (needs === "llama-cpp" && !existsSync(join(llama, "node_modules", "node-llama-cpp"))) {
    return `${llama} has no node-llama-cpp`;
  }
  return null;
}

export function machineText(threads) {
  const forced = ["CRE_CPU", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"].flatMap((name) =>
    process.env[name] ? [`${name}=${process.env[name]}`] : [],
  );
  return [`${cpus().length} × ${cpus()[0].model}`, `${threads} threads`, ...forced].join(", ");
}
