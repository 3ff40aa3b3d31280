import { createRandom } from "../base/random.ts";
import type { Backend, Weight } from "../compute/backend.ts";

/** The shape of a product y[T,O] = x[T,I] · wᵀ. */
export interface MatmulShape {
  rows: number; // T
  inputs: number; // I
  outputs: number; // O
}

export interface MatmulSpeed extends MatmulShape {
  /** GFLOP/s of y = x · wᵀ, dx = dy · w and w.gradient += dyᵀ · x. */
  forward: number;
  backwardInput: number;
  backwardWeight: number;
  /** 10⁹ operations/s of y = x · wᵀ with 8-bit weights and activations (storage w8a8); null where they are not offered. */
  int8: number | null;
}

const shape = (rows: number, inputs: number, outputs: number): MatmulShape => ({ rows, inputs, outputs });

/** Projections of the base model, of Llama shapes from 110M to 7B, one token and 64 tokens of the largest, and a model of 10M trained from scratch. */
export const MATMUL_SHAPES: readonly MatmulShape[] = [
  shape(1024, 448, 448),
  shape(1024, 448, 1216),
  shape(256, 576, 576),
  shape(1024, 576, 1536),
  shape(512, 1024, 2816),
  shape(512, 4096, 4096),
  shape(2048, 4096, 11008),
  shape(64, 4096, 4096),
  shape(1, 4096, 4096),
  shape(1536, 768, 2048),
  shape(1536, 896, 4864),
  shape(2048, 256, 256),
  shape(2048, 256, 768),
  shape(2048, 384, 1024),
  shape(2048, 1024, 384),
  shape(2048, 256, 8000),
];

/**
 * Times the three products of each shape: the median of `rounds` rounds of at least `roundMs` each. Results are freed and never read, so
 * the time has no copy to JavaScript in it.
 */
export async function* measureMatmul(
  backend: Backend,
  shapes: readonly MatmulShape[] = MATMUL_SHAPES,
  options: { rounds?: number; roundMs?: number; hasInt8?: boolean } = {},
): AsyncGenerator<MatmulSpeed> {
  const random = createRandom(1);
  const randoms = (count: number) => Float32Array.from({ length: count }, () => random.uniform() - 0.5);
  for (const { rows, inputs, outputs } of shapes) {
    const values = randoms(outputs * inputs);
    const spec = { name: "w", rows: outputs, columns: inputs } as const;
    const w: Weight = backend.weight({ ...spec, storage: "float32", trainable: true }, values);
    const x = backend.tensor(randoms(rows * inputs), rows, inputs);
    const dy = backend.tensor(randoms(rows * outputs), rows, outputs);
    const flops = 2 * rows * inputs * outputs;
    const speed = (issue: () => void) => medianSpeed(backend, flops, issue, options);
    const forward = await speed(() => backend.free(backend.matmul(x, w)));
    const backwardInput = await speed(() => backend.free(backend.matmulBackwardInput(dy, w)));
    const backwardWeight = await speed(() => backend.matmulBackwardWeight(dy, x, w));
    backend.freeWeight(w);
    const bytes = options.hasInt8 ? backend.weight({ ...spec, storage: "w8a8", trainable: false }, values) : null;
    const int8 = bytes && (await speed(() => backend.free(backend.matmul(x, bytes))));
    if (bytes) backend.freeWeight(bytes);
    backend.free(x);
    backend.free(dy);
    yield { rows, inputs, outputs, forward, backwardInput, backwardWeight, int8 };
  }
}

/** GFLOP/s. */
async function medianSpeed(
  backend: Backend,
  flops: number,
  issue: () => void,
  { rounds = 5, roundMs = 60 }: { rounds?: number; roundMs?: number },
): Promise<number> {
  issue();
  await backend.sync();
  const timed = async (count: number): Promise<number> => {
    const startMs = performance.now();
    for (let i = 0; i < count; i++) issue();
    await backend.sync();
    return performance.now() - startMs;
  };
  const count = Math.max(1, Math.ceil(roundMs / Math.max(0.01, await timed(1))));
  const speeds: number[] = [];
  for (let round = 0; round < rounds; round++) speeds.push((flops * count) / (await timed(count)) / 1e6);
  return speeds.sort((a, b) => a - b)[Math.floor(rounds / 2)];
}
