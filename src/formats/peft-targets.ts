import type { PeftLora } from "./peft-config.ts";
import { loraScale } from "./peft-scale.ts";
import { fromPython, type MatchAll } from "./python-pattern.ts";

// Which modules a LoRA configuration of PEFT 0.21 adapts, and how: inject_adapter, check_target_module_exists and get_pattern_key.

/** The adapter of one module. */
export interface TargetSettings {
  rank: number; // R
  alpha: number;
  /** The factor on the low-rank product. */
  scale: number;
}

/** A configuration with its file, and how expressions in it are matched. */
interface Named {
  config: PeftLora;
  file: string;
  match: MatchAll;
}

/** A list of names matches full names and last parts of names; a text is a regular expression over full names. */
function matching(
  names: readonly string[] | string,
  modules: readonly string[],
  { file: where, match }: Named,
): (module: string) => boolean {
  if (typeof names !== "string") {
    return (module) => names.some((name) => module === name || module.endsWith(`.${name}`));
  }
  const [matches] = match([fromPython(`^(?:${names})$`, where)], modules, where);
  const found = new Set(modules.filter((_, i) => matches[i] !== null));
  return (module) => found.has(module);
}

/** The number of a module's layer, as `layers_to_transform` counts it; null outside of the layers. */
function layerNumbers({ config, file: where, match }: Named, modules: readonly string[]): Map<string, number> {
  const { layersPattern } = config;
  const patterns =
    layersPattern.length === 0
      ? ["^.*?\\.[^.]*\\.(?P<idx>\\d+)\\."]
      : layersPattern.map((one) => `^(?:^|.*?\\.)${one}\\.(?P<idx>\\d+)\\.`);
  const found = match(
    patterns.map((pattern) => fromPython(pattern, where)),
    modules,
    where,
  );
  const numbers = new Map<string, number>();
  for (const [i, module] of modules.entries()) {
    const place = found.map((matches) => matches[i]).find((one) => one !== null);
    if (place?.groups?.idx !== undefined) numbers.set(module, Number(place.groups.idx));
  }
  return numbers;
}

/** Whether a module is one of `modules_to_save` or inside of one. */
export function isSavedModule(module: string, saved: readonly string[]): boolean {
  return saved.some((name) => `.${module}.`.includes(`.${name}.`));
}

/** The value of the first pattern that matches the end of each module's name. */
function patternValues(
  patterns: Readonly<Record<string, number>>,
  modules: readonly string[],
  { file: where, match }: Named,
): (module: number) => number | undefined {
  const keys = Object.keys(patterns);
  if (keys.length === 0) return () => undefined;
  const found = match(
    keys.map((key) => fromPython(`^(?:.*\\.)?(?:${key})$`, where)),
    modules,
    where,
  );
  return (module) => {
    const key = keys.find((_, i) => found[i][module] !== null);
    return key === undefined ? undefined : patterns[key];
  };
}

/**
 * The settings of each of `modules` that the configuration adapts. With "all-linear" that is all of them: the caller gives the matrices of the
 * layers. Throws a UserError, which begins with the name of the file, for an expression that cannot be read.
 */
export function targetSettings(adapter: Named, modules: readonly string[]): Map<string, TargetSettings> {
  const { config } = adapter;
  const { targetModules, excludeModules, layers, savedModules } = config;
  const isExcluded = excludeModules.length > 0 ? matching(excludeModules, modules, adapter) : () => false;
  const isNamed = targetModules === "all-linear" ? () => true : matching(targetModules, modules, adapter);
  const numbers = layers === null ? null : layerNumbers(adapter, modules);
  // PEFT asks for the layer only where the last part of a name matches.
  const isInLayers = (module: string): boolean => {
    if (layers === null || typeof targetModules === "string" || targetModules.includes(module)) return true;
    const number = numbers?.get(module);
    return number !== undefined && layers.includes(number);
  };
  const rankOf = patternValues(config.rankPattern, modules, adapter);
  const alphaOf = patternValues(config.alphaPattern, modules, adapter);
  const out = new Map<string, TargetSettings>();
  for (const [i, module] of modules.entries()) {
    if (isExcluded(module) || isSavedModule(module, savedModules)) continue;
    if (!isNamed(module) || !isInLayers(module)) continue;
    const { rank = config.rank, alpha = config.alpha } = { rank: rankOf(i), alpha: alphaOf(i) };
    out.set(module, { rank, alpha, scale: loraScale({ rank, alpha, scaling: config.scaling }) });
  }
  return out;
}
