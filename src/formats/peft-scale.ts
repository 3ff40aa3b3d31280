/** Whether low-rank products count alpha/rank times, or alpha/√rank times (rsLoRA, Kalajdzievski 2023). */
export type LoraScaling = "lora" | "rslora";

/** The factor on the low-rank products. */
export function loraScale({
  rank,
  alpha,
  scaling = "lora",
}: {
  rank: number;
  alpha: number;
  scaling?: LoraScaling;
}): number {
  return alpha / (scaling === "rslora" ? Math.sqrt(rank) : rank);
}
