import { FAMILIES } from "./families/registry.ts";
import type { ModelSizes } from "./spec.ts";

/** The tiny models of all families by name, for trying things out and for tests. */
export const TINY_MODELS: Readonly<Record<string, ModelSizes>> = Object.fromEntries(
  FAMILIES.flatMap(({ modelType: family, init: { tiny } }) =>
    Object.entries(tiny).map(([name, sizes]): [string, ModelSizes] => [name, { ...sizes, family }]),
  ),
);
