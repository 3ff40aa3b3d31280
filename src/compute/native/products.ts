import type { GatedOptions, MatmulOptions, ProductTerm, Tensor, Weight } from "../backend.ts";
import * as check from "../check.ts";
import { type Engine, type Turning, turningOf } from "./addon.ts";
import type { NativeMemory } from "./memory.ts";

// Sums of products as the addon takes them.

interface Sum {
  backward: boolean;
  bias: number | null;
  residual: number | null;
  wide: boolean;
  rotary: MatmulOptions["rotary"];
}

/** Handles, scales and, backward, whether each weight has a second packed copy; packed copies are counted. */
function termsOf(memory: NativeMemory, first: ProductTerm, plus: readonly ProductTerm[], backward: boolean) {
  const terms = [first, ...plus];
  const operation = backward ? "matmulBackwardInput" : "matmul";
  const xs = Int32Array.from(terms, ({ x }) => memory.use(operation, x).handle);
  const weights = terms.map(({ w }) => memory.useWeight(operation, w));
  const copies = backward ? Int32Array.from(weights, (w) => Number(memory.packBackward(w))) : null;
  if (!backward) for (const w of weights) memory.pack(w, "forward");
  const ws = Int32Array.from(weights, (w) => w.handle);
  return [xs, ws, Float32Array.from(terms, ({ scale }) => scale ?? 1), copies] as const;
}

/** The handle of Σ scale · x · wᵀ (backward: scale · x · w) + bias + residual, turned where `rotary` says so. */
export function sumOfProducts(
  engine: Engine,
  memory: NativeMemory,
  first: ProductTerm,
  plus: readonly ProductTerm[],
  { backward, bias, residual, wide, rotary }: Sum,
): number {
  const turning: Turning | [] = rotary ? turningOf(rotary) : [];
  return engine.matmulSum(...termsOf(memory, first, plus, backward), bias, residual, wide, ...turning);
}

interface GatedProduct extends GatedOptions {
  x: Tensor;
  w: Weight;
}

/** The handles of y = the product and silu(gate) · y. */
export function gatedForward(
  engine: Engine,
  memory: NativeMemory,
  gate: Tensor,
  product: GatedProduct,
): [up: number, h: number] {
  const { x, w, scale, bias, plus = [] } = product;
  const gateHandle = memory.use("matmulSwiglu", gate).handle;
  const biasHandle = bias ? memory.useWeight("matmulSwiglu", bias).handle : null;
  check.checkMatmulSwiglu(gate, x, w, product);
  return engine.matmulSwiglu(...termsOf(memory, { x, w, scale }, plus, false), biasHandle, gateHandle, null);
}

/** The handles of the gradients of gate and up, whose swiglu has the product as its gradient. */
export function gatedBackward(
  engine: Engine,
  memory: NativeMemory,
  gate: Tensor,
  up: Tensor,
  product: GatedProduct,
): [dGate: number, dUp: number] {
  const { x, w, scale, plus = [] } = product;
  const [gateHandle, upHandle] = [gate, up].map((tensor) => memory.use("matmulBackwardSwiglu", tensor).handle);
  check.checkMatmulBackwardSwiglu(gate, up, x, w, product);
  return engine.matmulSwiglu(...termsOf(memory, { x, w, scale }, plus, true), null, gateHandle, upHandle);
}
