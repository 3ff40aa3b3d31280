import type { Family } from "../family.ts";
import type { LayerSlot } from "../layer.ts";

/** A tensor of a GGUF file that holds some or all rows of a checkpoint's tensor. */
export interface GgufPart {
  /** Without ".weight" or ".bias". */
  name: string;
  /** What its rows are, one slot below the other; none outside the layers. */
  slots: readonly LayerSlot[];
}

/** A module of a checkpoint and the parts of a GGUF file that hold its rows, one below the other. */
interface ModuleNames {
  checkpoint: string;
  parts: readonly GgufPart[];
}

/** Names by llama.cpp: tensor_mapping.py of its gguf Python package, and its converter. */
function outerModules({ names }: Family): ModuleNames[] {
  const module = (tensor: string, gguf: string): ModuleNames => ({
    checkpoint: tensor.replace(/\.weight$/, ""),
    parts: [{ name: gguf, slots: [] }],
  });
  return [module(names.embedding, "token_embd"), module(names.finalNorm, "output_norm"), module(names.head, "output")];
}

function layerModules({ names, modules }: Family, index: number): ModuleNames[] {
  return modules.map(({ name, slots, gguf }) => ({
    checkpoint: `${names.layers}${index}.${name}`,
    parts: gguf.map((part, i) => ({ name: `blk.${index}.${part}`, slots: gguf.length > 1 ? [slots[i]] : slots })),
  }));
}

/** The parts of a GGUF file that hold the rows of a checkpoint's module; null for a module that the family does not have. */
export function ggufParts(family: Family, module: string): readonly GgufPart[] | null {
  const { layers } = family.names;
  const [, number] = module.startsWith(layers) ? (/^(\d+)\./.exec(module.slice(layers.length)) ?? []) : [];
  const modules = number === undefined ? outerModules(family) : layerModules(family, Number(number));
  return modules.find(({ checkpoint }) => checkpoint === module)?.parts ?? null;
}

/** A checkpoint's tensor as a GGUF file has it. */
export interface GgufPlace {
  /** Its name in the checkpoint. */
  tensor: string;
  kind: "weight" | "bias";
  parts: readonly GgufPart[];
}

/** Where a tensor of a GGUF file belongs in a checkpoint; null for a tensor that the family does not have. */
export function placeOf(family: Family, ggufName: string): GgufPlace | null {
  const [, module, number, ending] = /^((?:blk\.(\d+)\.)?\w+)\.(weight|bias)$/.exec(ggufName) ?? [];
  if (module === undefined) return null;
  const kind = ending === "bias" ? "bias" : "weight";
  const modules = number === undefined ? outerModules(family) : layerModules(family, Number(number));
  const found = modules.find(({ parts }) => parts.some(({ name }) => name === module));
  return found ? { tensor: `${found.checkpoint}.${kind}`, kind, parts: found.parts } : null;
}
