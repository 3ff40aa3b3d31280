/** The sizes that the families' tiny models share. */
export const TINY_SIZES = {
  width: 64,
  layers: 2,
  heads: 4,
  keyValueHeads: 2,
  feedForward: 160,
  maxTokens: 2048,
  tiedHead: false,
  normEpsilon: 1e-6,
  rotaryBase: 10_000,
};
