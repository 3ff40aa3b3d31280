/** The architectures of GGUF files that are read and written here, by llama.cpp's name. */
export type GgufArchitecture = "llama" | "qwen2" | "qwen3" | "chatglm" | "baichuan";
export const GGUF_ARCHITECTURES: readonly GgufArchitecture[] = ["llama", "qwen2", "qwen3", "chatglm", "baichuan"];

/** A module of a checkpoint, and the modules of a GGUF file that hold its rows, one below the other. */
type ModuleNames = readonly [huggingFace: string, ...gguf: string[]];

/** Names of modules by Hugging Face's folders and by llama.cpp (its gguf Python package, tensor_mapping.py, and its converter). */
interface NameTable {
  /** Before the number of a layer. */
  layers: string;
  modules: readonly ModuleNames[];
  layerModules: readonly ModuleNames[];
}

const LLAMA_MODULES: readonly ModuleNames[] = [
  ["model.embed_tokens", "token_embd"],
  ["model.norm", "output_norm"],
  ["lm_head", "output"],
];
const LLAMA_FEED_FORWARD: readonly ModuleNames[] = [
  ["input_layernorm", "attn_norm"],
  ["self_attn.o_proj", "attn_output"],
  ["post_attention_layernorm", "ffn_norm"],
  ["mlp.gate_proj", "ffn_gate"],
  ["mlp.up_proj", "ffn_up"],
  ["mlp.down_proj", "ffn_down"],
];
const LLAMA: NameTable = {
  layers: "model.layers.",
  modules: LLAMA_MODULES,
  layerModules: [
    ["self_attn.q_proj", "attn_q"],
    ["self_attn.k_proj", "attn_k"],
    ["self_attn.v_proj", "attn_v"],
    ...LLAMA_FEED_FORWARD,
  ],
};
const QWEN3: NameTable = {
  ...LLAMA,
  layerModules: [...LLAMA.layerModules, ["self_attn.q_norm", "attn_q_norm"], ["self_attn.k_norm", "attn_k_norm"]],
};
const BAICHUAN: NameTable = {
  ...LLAMA,
  layerModules: [["self_attn.W_pack", "attn_q", "attn_k", "attn_v"], ...LLAMA_FEED_FORWARD],
};
const CHATGLM: NameTable = {
  layers: "transformer.encoder.layers.",
  modules: [
    ["transformer.embedding.word_embeddings", "token_embd"],
    ["transformer.encoder.final_layernorm", "output_norm"],
    ["transformer.output_layer", "output"],
  ],
  layerModules: [
    ["input_layernorm", "attn_norm"],
    ["self_attention.query_key_value", "attn_qkv"],
    ["self_attention.dense", "attn_output"],
    ["post_attention_layernorm", "ffn_norm"],
    // Rows of the gate first, then those of what it opens: so has llama.cpp.
    ["mlp.dense_h_to_4h", "ffn_up"],
    ["mlp.dense_4h_to_h", "ffn_down"],
  ],
};
const TABLES: Readonly<Record<GgufArchitecture, NameTable>> = {
  llama: LLAMA,
  qwen2: LLAMA,
  qwen3: QWEN3,
  chatglm: CHATGLM,
  baichuan: BAICHUAN,
};

/** The modules of a GGUF file, without ".weight", that hold the rows of a checkpoint's module; null for one that the architecture does not have. */
export function ggufModules(architecture: GgufArchitecture, huggingFace: string): string[] | null {
  const { layers, modules, layerModules } = TABLES[architecture];
  const isLayer = huggingFace.startsWith(layers);
  const [, number, rest] = isLayer ? (/^(\d+)\.(.+)$/.exec(huggingFace.slice(layers.length)) ?? []) : [];
  const found = (isLayer ? layerModules : modules).find(([name]) => name === (isLayer ? rest : huggingFace));
  if (!found) return null;
  const [, ...names] = found;
  return isLayer ? names.map((name) => `blk.${number}.${name}`) : names;
}

/** A tensor of a checkpoint as a GGUF file has it. */
export interface GgufPlace {
  huggingFace: string;
  /** The tensors that hold its rows, one below the other. */
  parts: readonly string[];
}

/** Where a tensor of a GGUF file belongs in a checkpoint; null for one that the architecture does not have. */
export function placeOf(architecture: GgufArchitecture, ggufName: string): GgufPlace | null {
  const { layers, modules, layerModules } = TABLES[architecture];
  const [, number, name, kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(ggufName) ?? [];
  if (name === undefined) return null;
  const found = (number === undefined ? modules : layerModules).find(([, ...names]) => names.includes(name));
  if (!found) return null;
  const [huggingFace, ...names] = found;
  const before = number === undefined ? "" : `${layers}${Number(number)}.`;
  const ggufBefore = number === undefined ? "" : `blk.${number}.`;
  return {
    huggingFace: `${before}${huggingFace}.${kind}`,
    parts: names.map((part) => `${ggufBefore}${part}.${kind}`),
  };
}
