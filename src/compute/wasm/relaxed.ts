/** An empty module with one relaxed instruction, f32x4.relaxed_madd. */
const RELAXED_MODULE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0],
  ...[10, 19, 1, 17, 0, 65, 0, 253, 15, 65, 0, 253, 15, 65, 0, 253, 15, 253, 133, 2, 11],
);

/**
 * Whether this engine has the relaxed vector instructions: Node 22, Chrome 114, and later. With them a product is multiplied and added in one
 * instruction where the processor has one, so sums are rounded as on the native levels, once a term.
 */
export function hasRelaxedInstructions(): boolean {
  return WebAssembly.validate(RELAXED_MODULE);
}
