import { showValue, UserErrors } from "../../base/errors.ts";

/** A config.json as read. */
export type Config = Readonly<Record<string, unknown>>;

/** Reads entries of a config.json and collects their problems, to report them together. */
export interface ConfigReader {
  /** A number; where there is none and no fallback, NaN, and `finish` reports the problem. */
  number(key: string, fallback?: number): number;
  /** A token id of the vocabulary, the first id of a list; null when there is none. */
  tokenId(key: string, vocabularySize: number): number | null;
  /** Refuses every value but these; null or no entry are fine. */
  only(key: string, ...allowed: (string | number | boolean)[]): void;
  /** Reports a value that is not computed here. */
  refuse(key: string, supported: string): void;
  /** Throws a UserErrors when there was any problem. */
  finish(): void;
}

export function createConfigReader(config: Config, where: string): ConfigReader {
  const problems: string[] = [];
  const refuse = (key: string, supported: string) => {
    problems.push(`"${key}" is ${showValue(config[key])}, supported: ${supported}`);
  };
  return {
    number(key, fallback) {
      const value = config[key] ?? fallback;
      if (typeof value === "number" && (config[key] === undefined || Number.isFinite(value))) return value;
      problems.push(`"${key}" is ${showValue(config[key])}, expected a number`);
      return Number.NaN;
    },
    tokenId(key, vocabularySize) {
      const value = config[key] ?? null;
      const id = Array.isArray(value) ? value[0] : value;
      if (id === null) return null;
      const isId = Number.isInteger(id) && id >= 0 && !(id >= vocabularySize);
      if (!isId) problems.push(`"${key}" is ${showValue(value)}, expected a token id below ${vocabularySize}`);
      return isId ? id : null;
    },
    only(key, ...allowed) {
      const value = config[key] ?? null;
      if (value === null || allowed.some((one) => one === value)) return;
      refuse(key, allowed.length > 0 ? allowed.map((one) => showValue(one)).join(", ") : "nothing");
    },
    refuse,
    finish() {
      if (problems.length > 0) throw new UserErrors(`${where}: the configuration cannot be used:`, problems);
    },
  };
}
