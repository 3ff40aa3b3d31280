import { describe, expect, it } from "vitest";
import { backendContract } from "./backend.contract.ts";
import { openReference } from "./reference.ts";

describe("reference, float32", () => {
  backendContract(() => openReference(), { tolerance: 1e-5, lossTolerance: 1e-4 });
});

describe("reference", () => {
  it("counts its bytes exactly", () => {
    const backend = openReference();
    const x = backend.zeros(3, 5);
    backend.weight({ name: "frozen", rows: 2, columns: 3, storage: "bfloat16", trainable: false });
    backend.weight({ name: "trained", rows: 2, columns: 3, storage: "bfloat16", trainable: true });
    const expected = 4 * (15 + 6 + 5 * 6);
    expect(backend.memory()).toEqual({ bytes: expected, peakBytes: expected, tensors: 1, weights: 2 });
    backend.free(x);
    expect(backend.memory()).toEqual({ bytes: expected - 60, peakBytes: expected, tensors: 0, weights: 2 });
  });

  it("computes in float64 when asked", async () => {
    const backend = openReference({ precision: "float64" });
    const x = backend.tensor([1, 1e-12], 1, 2);
    const w = backend.weight({ name: "w", rows: 1, columns: 2, storage: "float32", trainable: false }, [1, 1]);
    expect(Array.from(await backend.read(backend.matmul(x, w)))).toEqual([1 + 1e-12]);
  });

  it("rounds what products read to the storage of a weight", async () => {
    const backend = openReference();
    const spec = { name: "w", rows: 2, columns: 1, storage: "bfloat16", trainable: true } as const;
    const weight = backend.weight(spec, [1.001, 3.01]);
    const y = await backend.read(backend.matmul(backend.tensor([1], 1, 1), weight));
    expect(Array.from(y)).toEqual([1, 3.015625]);
  });

  it("says which storages it cannot keep", () => {
    const spec = { name: "w", rows: 2, columns: 2, storage: "int8", trainable: false } as const;
    expect(() => openReference().weight(spec)).toThrow('weight "w": the reference backend cannot keep int8');
  });
});
