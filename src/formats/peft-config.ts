import { showValue, UserError, UserErrors } from "../base/errors.ts";
import type { LoraScaling } from "./peft-scale.ts";

export const CONFIG_FILE = "adapter_config.json";
const MAX_RANK = 65_536;
/** Names, patterns and ids in one entry. */
const MOST_ENTRIES = 10_000;

/** The settings of a LoRA or DoRA adapter in PEFT's adapter_config.json. */
export interface PeftLoraConfig {
  rank: number;
  alpha: number;
  dropout: number;
  scaling: LoraScaling;
  /** Whether the lengths of rows are trained, too (DoRA). */
  hasMagnitudes: boolean;
  /** Module names or their last parts, as PEFT matches them; "all-linear"; or a regular expression of Python. */
  targetModules: readonly string[] | string;
  baseModel: string | null;
}

/** The same with what only adapters made elsewhere have. */
export interface PeftLora extends PeftLoraConfig {
  /** Rank and alpha of the modules whose names end as an expression says. */
  rankPattern: Readonly<Record<string, number>>;
  alphaPattern: Readonly<Record<string, number>>;
  /** As `targetModules`: modules that are left out. */
  excludeModules: readonly string[] | string;
  /** Numbers of the layers that have adapters; null: all. */
  layers: readonly number[] | null;
  /** What is before the number of a layer in a name, as expressions. */
  layersPattern: readonly string[];
  /** Modules that were trained whole. */
  savedModules: readonly string[];
  /** Whether biases of the base were trained. */
  hasBiases: boolean;
  /** Whether low-rank products have biases of their own. */
  hasLoraBias: boolean;
  /** Ids of single tokens that were trained, of the embedding or by module. */
  tokenIds: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
}

/** Entries that do not change what a finished adapter computes (PEFT 0.21), and those read below. PEFT sets fan_in_fan_out to false for linear layers. */
const FREE = new Set([
  "alpha_pattern",
  "auto_mapping",
  "base_model_name_or_path",
  "bias",
  "eva_config",
  "exclude_modules",
  "fan_in_fan_out",
  "inference_mode",
  "layers_pattern",
  "layers_to_transform",
  // What init_lora_weights "loftq" did.
  "loftq_config",
  "lora_alpha",
  "lora_bias",
  "lora_dropout",
  "megatron_config",
  "megatron_core",
  "modules_to_save",
  "peft_type",
  "peft_version",
  "qalora_group_size",
  "r",
  "rank_pattern",
  "revision",
  "runtime_config",
  "target_modules",
  "task_type",
  "trainable_token_indices",
  "use_dora",
  "use_rslora",
]);

/** Values that other entries may have besides null, false, [] and {}, which switch an option off. Any other value is an error. */
const ALSO_NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  // Initialisations; the others (pissa, olora, corda, loftq) change the base weights.
  init_lora_weights: [true, "gaussian", "orthogonal", "eva"],
};

/** Why an option is refused, where its name does not say it. */
const REASONS: Readonly<Record<string, string>> = {
  alora_invocation_tokens: "it switches the adapter on in the middle of a text",
  ensure_weight_tying: "it trains embedding and output layer as one",
  init_lora_weights: "PEFT changes the base by it when it loads the adapter",
  layer_replication: "it gives the base more layers",
  target_parameters: "it adapts parameters that are no linear layer's",
  use_qalora: "it pools the input of the adapter",
};

/** PEFT writes such an adapter as plain LoRA, too. */
const INIT_HINT =
  "Save it in PEFT as plain LoRA: save_pretrained(DIR, path_initial_model_for_weight_conversion=START), with the adapter as it was before training in START.";

/** What switches an option off. */
function isNeutral(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value as object).length === 0;
}

/** The entries of an adapter_config.json that would change what the adapter computes, but are none of those that are read. */
export function unsupportedEntries(
  raw: Readonly<Record<string, unknown>>,
  free: ReadonlySet<string>,
  alsoNeutral: Readonly<Record<string, readonly unknown[]>> = {},
): string[] {
  return Object.entries(raw).flatMap(([key, value]) => {
    if (free.has(key) || isNeutral(value) || alsoNeutral[key]?.includes(value)) return [];
    const also = (alsoNeutral[key] ?? []).map((one) => `${JSON.stringify(one)}, `).join("");
    const expected = Object.hasOwn(REASONS, key) ? REASONS[key] : `expected ${also}false, null or nothing`;
    return [`${showValue(key)} is ${showValue(value)}, which is not supported: ${expected}`];
  });
}

/** The error of an adapter that cannot be used: one line for one problem. */
export function unusable(where: string, problems: readonly string[], hint?: string): UserErrors {
  return new UserErrors(`${where}: the adapter cannot be used:`, problems, { inline: true, hint });
}

/** The kinds of adapters that are read, by PEFT's name. */
const READ_TYPES = ["LORA", "PREFIX_TUNING"];
/** Kinds that cannot be merged into a base. */
const TYPE_NOTES: Readonly<Record<string, string>> = {
  PROMPT_TUNING: "virtual tokens at the input alone",
  P_TUNING: "virtual tokens at the input alone",
};
const MERGE_HINT = "Merge the adapter into its base with PEFT (merge_and_unload) and use the merged model.";

/** Throws a UserError for a kind of adapter that is not read. */
export function expectReadType({ peft_type: type }: Readonly<Record<string, unknown>>, file: string): void {
  if (typeof type !== "string" || READ_TYPES.includes(type)) return;
  const about = Object.hasOwn(TYPE_NOTES, type) ? ` (${TYPE_NOTES[type]})` : "";
  const expected = READ_TYPES.map((one) => `"${one}"`).join(" or ");
  throw new UserError(
    `${file}: "peft_type" is ${showValue(type)}${about}, which is not supported: expected ${expected}.`,
    { hint: Object.hasOwn(TYPE_NOTES, type) ? undefined : MERGE_HINT },
  );
}

const isSwitch = (value: unknown) => typeof value === "boolean" || value === null;
const isCount = (value: unknown, least: number, most: number): value is number =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most;

/** Reads a LoRA or DoRA configuration. Throws a UserErrors with all problems; what is not computed here comes before what is wrong. */
export function readLora(raw: Readonly<Record<string, unknown>>, file: string): PeftLora {
  const unsupported = unsupportedEntries(raw, FREE, ALSO_NEUTRAL);
  if (unsupported.length > 0) {
    const isInit = unsupported.some((problem) => problem.startsWith('"init_lora_weights"'));
    throw unusable(file, unsupported, isInit ? INIT_HINT : undefined);
  }
  const problems: string[] = [];
  const expect = (key: string, expected: string, fits: boolean) => {
    if (!fits) problems.push(`"${key}" is ${showValue(raw[key])}, expected ${expected}`);
  };
  const { peft_type: type, task_type: task = null, r, lora_alpha: alpha, lora_dropout: dropout = 0 } = raw;
  expect("peft_type", '"LORA"', type === "LORA");
  expect("task_type", '"CAUSAL_LM" or null', task === null || task === "CAUSAL_LM");
  expect("r", `a whole number from 1 to ${MAX_RANK}`, isCount(r, 1, MAX_RANK));
  expect("lora_alpha", "a number", Number.isFinite(alpha));
  expect("lora_dropout", "a number from 0 to below 1", typeof dropout === "number" && dropout >= 0 && dropout < 1);
  const { use_rslora: isRslora = false, use_dora: hasMagnitudes = false, lora_bias: hasLoraBias = false } = raw;
  for (const key of ["use_rslora", "use_dora", "lora_bias", "fan_in_fan_out"]) {
    expect(key, "true or false", isSwitch(raw[key] ?? false));
  }
  const { target_modules: targets, exclude_modules: excluded = null, bias = "none" } = raw;
  const isTargets = (typeof targets === "string" && targets !== "") || isNames(targets, 1);
  expect("target_modules", 'a list of module names, a regular expression or "all-linear"', isTargets);
  expect(
    "exclude_modules",
    "a list of module names or a regular expression",
    excluded === null || typeof excluded === "string" || isNames(excluded, 0),
  );
  expect("bias", '"none", "all" or "lora_only"', ["none", "all", "lora_only"].includes(bias as string));
  const list = <T>(key: string, expected: string, fits: (value: unknown) => value is T): readonly T[] => {
    const value = raw[key] ?? [];
    const values: unknown[] = Array.isArray(value) ? value : [value];
    const isList = values.length <= MOST_ENTRIES && values.every(fits);
    expect(key, expected, isList);
    return isList ? (values as T[]) : [];
  };
  const isName = (value: unknown): value is string => typeof value === "string" && value !== "";
  const isLayer = (value: unknown): value is number => isCount(value, 0, 1e6);
  const layers = list("layers_to_transform", "numbers of layers", isLayer);
  if (layers.length > 0 && typeof targets === "string") {
    problems.push('"layers_to_transform" goes with a list as "target_modules" only, as in PEFT');
  }
  const layersPattern = list("layers_pattern", "texts", isName);
  const savedModules = list("modules_to_save", "module names", isName);
  const patternOf = (key: string, expected: string, fits: (value: unknown) => boolean) => {
    const value = raw[key] ?? {};
    const isGood = typeof value === "object" && !Array.isArray(value) && Object.keys(value).length <= MOST_ENTRIES;
    const isRight = isGood && Object.values(value).every(fits);
    expect(key, expected, isRight);
    return (isRight ? value : {}) as Record<string, number>;
  };
  const rankPattern = patternOf("rank_pattern", "ranks by name", (value) => isCount(value, 1, MAX_RANK));
  const alphaPattern = patternOf("alpha_pattern", "numbers by name", (value) => Number.isFinite(value));
  const tokenIds = (raw.trainable_token_indices ?? null) as PeftLora["tokenIds"];
  expect("trainable_token_indices", "token ids, or token ids by module", isTokenIds(tokenIds));
  if (problems.length > 0) throw unusable(file, problems);
  return {
    rank: r as number,
    alpha: alpha as number,
    dropout: dropout as number,
    scaling: isRslora ? "rslora" : "lora",
    hasMagnitudes: Boolean(hasMagnitudes),
    targetModules: targets as string[] | string,
    baseModel: typeof raw.base_model_name_or_path === "string" ? raw.base_model_name_or_path : null,
    rankPattern,
    alphaPattern,
    excludeModules: (excluded ?? []) as string[] | string,
    layers: layers.length > 0 ? layers : null,
    layersPattern,
    savedModules,
    hasBiases: bias !== "none",
    hasLoraBias: Boolean(hasLoraBias),
    tokenIds,
  };
}

function isNames(value: unknown, least: number): boolean {
  return (
    Array.isArray(value) &&
    value.length >= least &&
    value.length <= MOST_ENTRIES &&
    value.every((name) => typeof name === "string")
  );
}

function isTokenIds(value: unknown): boolean {
  const isIds = (ids: unknown) =>
    Array.isArray(ids) && ids.length <= MOST_ENTRIES && ids.every((id) => isCount(id, 0, 1 << 24));
  if (value === null || isIds(value)) return true;
  return typeof value === "object" && !Array.isArray(value) && Object.values(value as object).every(isIds);
}
