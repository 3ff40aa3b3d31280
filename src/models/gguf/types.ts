import type { GgufFileType, GgufWriteType } from "../../formats/gguf-blocks.ts";
import type { DecoderSpec } from "../spec.ts";

/**
 * The type of a tensor in a file: vectors are float32; Q4_K_M has the output layer, and the values and last products of some layers, in Q6_K, as
 * llama.cpp chooses them (llama-quant.cpp; queries, keys and values in one matrix count as values; only a Llama of 80 layers has Q5_K there).
 * Rows that do not fill the blocks of their type are Q5_0 for Q4_K and Q8_0 for Q6_K, or float16.
 */
export function tensorType(
  name: string,
  shape: readonly number[],
  type: GgufFileType,
  { layers, tiedHead }: Pick<DecoderSpec, "layers" | "tiedHead">,
): GgufWriteType {
  if (shape.length === 1) return "F32";
  const wanted = type === "Q4_K_M" ? (isLarge(name, layers, tiedHead) ? "Q6_K" : "Q4_K") : type;
  const columns = shape[shape.length - 1];
  if ((wanted === "Q4_K" || wanted === "Q6_K") && columns % 256 === 0) return wanted;
  if (wanted === "F32" || wanted === "F16" || wanted === "BF16") return wanted;
  if (columns % 32 !== 0) return "F16";
  return wanted === "Q4_K" ? "Q5_0" : "Q8_0";
}

function isLarge(name: string, layers: number, tiedHead: boolean): boolean {
  if (name === "output.weight" || (tiedHead && name === "token_embd.weight")) return true;
  const [, number, module] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? [];
  if (module !== "attn_v" && module !== "attn_qkv" && module !== "ffn_down") return false;
  const [layer, eighth] = [Number(number), Math.floor(layers / 8)];
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}
