import { showValue } from "../base/errors.ts";

// What the tensors of a LoRA folder are, by their names.

const PREFIX = "base_model.model.";
const PARTS = {
  "lora_A.weight": "a",
  "lora_B.weight": "b",
  "lora_B.bias": "bias",
  lora_magnitude_vector: "magnitude",
  lora_embedding_A: "embeddingA",
  lora_embedding_B: "embeddingB",
} as const;
/** What a tensor of an adapter is, as the end of its name. */
export type PeftPart = keyof typeof PARTS;

const LOW_RANK = new RegExp(`^(.+)\\.(${Object.keys(PARTS).join("|").replaceAll(".", "\\.")})$`);
const TOKEN_ROWS = /^(.+)\.token_adapter\.trainable_tokens_delta$/;
const BASE_LAYER = /\.base_layer(?=\.(?:weight|bias)$)/;

/** The tensors of a module's low-rank product, by what they are. */
export type LowRankTensors = Partial<Record<(typeof PARTS)[keyof typeof PARTS], string>>;

/** The tensors of a LoRA folder. */
export interface PeftTensors {
  /** By the module's name. */
  lowRank: ReadonlyMap<string, LowRankTensors>;
  /** In place of tensors of the base, by their names there. */
  whole: ReadonlyMap<string, { tensor: string; isUnderAdapter: boolean }>;
  /** New rows for some tokens, by the module's name. */
  tokenRows: ReadonlyMap<string, string>;
  /** Tensors that are none of these, one problem each. */
  problems: readonly string[];
}

/** PEFT's name of an adapter's weight. */
export function peftTensorName(module: string, part: PeftPart): string {
  return `${PREFIX}${module}.${part}`;
}

/** Sorts the tensors of a LoRA folder. */
export function sortPeftTensors(names: Iterable<string>): PeftTensors {
  const lowRank = new Map<string, LowRankTensors>();
  const whole = new Map<string, { tensor: string; isUnderAdapter: boolean }>();
  const tokenRows = new Map<string, string>();
  const problems: string[] = [];
  for (const tensor of names) {
    if (!tensor.startsWith(PREFIX)) {
      problems.push(`tensor ${showValue(tensor, 200)} does not begin with "${PREFIX}", as those of PEFT do`);
      continue;
    }
    const name = tensor.slice(PREFIX.length);
    const [, module, part] = LOW_RANK.exec(name) ?? [];
    const [, ofTokens] = TOKEN_ROWS.exec(name) ?? [];
    if (module !== undefined) {
      lowRank.set(module, { ...lowRank.get(module), [PARTS[part as PeftPart]]: tensor });
    } else if (ofTokens !== undefined) tokenRows.set(ofTokens, tensor);
    else whole.set(name.replace(BASE_LAYER, ""), { tensor, isUnderAdapter: BASE_LAYER.test(name) });
  }
  return { lowRank, whole, tokenRows, problems };
}
