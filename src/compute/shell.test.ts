import { describe, expect, it } from "vitest";
import { backendContract } from "./contract/backend.contract.ts";
import { basicKernels } from "./contract/basic-kernels.contract.ts";
import { createBackend } from "./shell.ts";

describe("a backend with only the basic kernels", () => {
  // Roundings to bfloat16 alone move the gradient of the LoRA decoder over NF4 by 4.8 %, and the suite allows twice the tolerance.
  backendContract(() => createBackend(basicKernels), { tolerance: 2.5e-2, lossTolerance: 1e-2, hasBlocks: false });

  it("frees the intermediate tensors of derived kernels, also after an error", () => {
    const broken = createBackend({
      ...basicKernels,
      swigluBackward() {
        throw new Error("out of memory");
      },
    });
    const w = broken.weight({ name: "w", rows: 4, columns: 5, storage: "float32", trainable: false });
    const [x, dy, gate] = [broken.zeros(3, 5), broken.zeros(3, 4), broken.zeros(3, 5)];
    const plus = [
      { x: dy, w },
      { x: dy, w, scale: 2 },
    ];
    broken.free(broken.matmulBackwardInput(dy, w, { plus }));
    expect(broken.memory()).toMatchObject({ tensors: 3, bytes: 4 * (15 + 12 + 15) + 20 * 20 });
    expect(() => broken.matmulBackwardSwiglu(gate, x, dy, w, { plus })).toThrow("out of memory");
    expect(broken.memory()).toMatchObject({ tensors: 3, bytes: 4 * (15 + 12 + 15) + 20 * 20 });
  });

  it("has a policy of its own", () => {
    expect(createBackend(basicKernels).policy).toEqual({ sumTerms: 16, thinColumns: 0 });
    const policy = { sumTerms: 2, thinColumns: 8 };
    const backend = createBackend({ ...basicKernels, policy });
    expect(backend.policy).toEqual(policy);
    const w = backend.weight({ name: "w", rows: 4, columns: 4, storage: "float32", trainable: false });
    const x = backend.zeros(3, 4);
    const plus = [
      { x, w },
      { x, w },
    ];
    expect(() => backend.matmul(x, w, { plus })).toThrow("matmul: 2 further products, expected at most 1.");
    expect(() => backend.matmulSwiglu(x, x, w, { plus })).toThrow("matmulSwiglu: 2 further products");
  });
});

describe("kernels that are supplied", () => {
  it("replace the derived ones", async () => {
    const called: string[] = [];
    const backend = createBackend({
      ...basicKernels,
      matmulSum(terms, added) {
        called.push(`sum of ${terms.length}`);
        return basicKernels.matmul(terms[0], added);
      },
      matmulBackward(_dy, x) {
        called.push("both gradients");
        return basicKernels.tensor(null, x.rows, x.columns, true);
      },
    });
    const w = backend.weight({ name: "w", rows: 4, columns: 4, storage: "float32", trainable: true });
    const x = backend.zeros(3, 4);
    backend.matmul(x, w);
    backend.matmul(x, w, { plus: [{ x, w }] });
    backend.matmulBackward(x, x, w);
    expect(called).toEqual(["sum of 2", "both gradients"]);
  });

  it("stream chunks to a weight one after the other", async () => {
    const seen: string[] = [];
    const backend = createBackend({
      ...basicKernels,
      streamedWeights: {
        start: (spec) => basicKernels.weight(spec, null),
        async write(w, chunk, type) {
          seen.push(`${w.name}: ${chunk.length} bytes of ${type}`);
        },
      },
    });
    async function* chunks(...rows: number[]) {
      for (const count of rows) yield new Uint8Array(count * 4);
    }
    const spec = { name: "w", rows: 35, columns: 2, storage: "float32", trainable: false } as const;
    await backend.weightFromChunks(spec, { type: "F16", chunks: chunks(32, 3) });
    expect(seen).toEqual(["w: 128 bytes of F16", "w: 12 bytes of F16"]);
    const missing = backend.weightFromChunks(spec, { type: "F16", chunks: chunks(32) });
    await expect(missing).rejects.toThrow('weightFromChunks: "w" [35,2] got 32 of its rows.');
    expect(backend.memory().weights).toBe(1);
  });
});
