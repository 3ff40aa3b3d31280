import { showValue, UserErrors } from "../../base/errors.ts";
import { type DecoderSpec, PROMPT_ATTENTIONS, type PromptAttention } from "../spec.ts";
import { IGNORED_KEYS } from "./ignored-keys.ts";

/** A config.json as read. */
export type Config = Readonly<Record<string, unknown>>;

/**
 * Reads entries of a config.json and collects their problems, to report them together. A configuration is closed: an entry that is neither
 * read nor in {@link IGNORED_KEYS} may change what the model computes, so it is a problem, too.
 */
export interface ConfigReader {
  /** A number; where there is none and no fallback, NaN, and `finish` reports the problem. */
  number(key: string, fallback?: number): number;
  /** True or false; by default false. */
  flag(key: string): boolean;
  /** A token id of the vocabulary, the first id of a list; null when there is none. */
  tokenId(key: string, vocabularySize: number): number | null;
  /** Refuses every value but these; null or no entry are fine. */
  only(key: string, ...allowed: (string | number | boolean)[]): void;
  /** Reports a value that is not computed here. */
  refuse(key: string, supported: string): void;
  /** Marks entries as read that the caller reads itself, or that change nothing in its family. */
  known(...keys: string[]): void;
  /** Throws a UserErrors when there was any problem, or an entry is unknown. */
  finish(): void;
}

/** Options of other models with the values that they have here; entries that are off (null, false, empty) need no line. */
const USUAL_VALUES: Readonly<Record<string, readonly unknown[]>> = {
  is_causal: [true],
  use_rope: [true],
  scale_attn_weights: [true],
  is_encoder_decoder: [false],
  add_cross_attention: [false],
};

/** Our own entry of models that were trained with prompts whose tokens see each other. */
export const PROMPT_ATTENTION_KEY = "prompt_attention";

export function readPromptAttention(config: Config, read: ConfigReader): PromptAttention {
  read.only(PROMPT_ATTENTION_KEY, ...PROMPT_ATTENTIONS);
  return config[PROMPT_ATTENTION_KEY] === "both" ? "both" : "causal";
}

/** The entry that {@link readPromptAttention} reads. A model as its authors made it has none. */
export function writePromptAttention({ promptAttention }: DecoderSpec): Record<string, unknown> {
  return promptAttention === "causal" ? {} : { [PROMPT_ATTENTION_KEY]: promptAttention };
}

const IGNORED = new Set(Object.values(IGNORED_KEYS).flat());

const isOff = (value: unknown) =>
  value === null ||
  value === undefined ||
  value === false ||
  (typeof value === "object" && Object.keys(value as object).length === 0);

export function createConfigReader(config: Config, where: string): ConfigReader {
  const problems: string[] = [];
  const read = new Set(["model_type"]);
  const refuse = (key: string, supported: string) => {
    read.add(key);
    problems.push(`"${key}" is ${showValue(config[key])}, supported: ${supported}`);
  };
  return {
    number(key, fallback) {
      read.add(key);
      const value = config[key] ?? fallback;
      if (typeof value === "number" && (config[key] === undefined || Number.isFinite(value))) return value;
      problems.push(`"${key}" is ${showValue(config[key])}, expected a number`);
      return Number.NaN;
    },
    flag(key) {
      read.add(key);
      const value = config[key] ?? false;
      if (typeof value !== "boolean") problems.push(`"${key}" is ${showValue(value)}, expected true or false`);
      return value === true;
    },
    tokenId(key, vocabularySize) {
      read.add(key);
      const value = config[key] ?? null;
      const id = Array.isArray(value) ? value[0] : value;
      if (id === null) return null;
      const isId = Number.isInteger(id) && id >= 0 && !(id >= vocabularySize);
      if (!isId) problems.push(`"${key}" is ${showValue(value)}, expected a token id below ${vocabularySize}`);
      return isId ? id : null;
    },
    only(key, ...allowed) {
      read.add(key);
      const value = config[key] ?? null;
      if (value === null || allowed.some((one) => one === value)) return;
      refuse(key, allowed.length > 0 ? allowed.map((one) => showValue(one)).join(", ") : "nothing");
    },
    refuse,
    known(...keys) {
      for (const key of keys) read.add(key);
    },
    finish() {
      for (const [key, value] of Object.entries(config)) {
        if (read.has(key) || IGNORED.has(key) || key.startsWith("_")) continue;
        const usual = USUAL_VALUES[key];
        if (usual ? usual.includes(value) : isOff(value)) continue;
        problems.push(
          `${showValue(key)} is ${showValue(value)}, which may change what the model computes: not supported`,
        );
      }
      if (problems.length > 0) throw new UserErrors(`${where}: the configuration cannot be used:`, problems);
    },
  };
}
