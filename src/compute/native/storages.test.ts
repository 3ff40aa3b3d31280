import { afterAll, describe, expect, it } from "vitest";
import { createRandom } from "../../base/random.ts";
import { compare } from "../contract/comparison.contract.ts";
import { productContract } from "../contract/products.contract.ts";
import { precisionsOf, skipOtherLevels } from "./levels.contract.ts";
import { nativeStatus, openNative } from "./open.ts";

// Products backward to the input from the forward copy, on every level of this machine; outputs are poisoned with NaN.

const status = nativeStatus();
skipOtherLevels("native without second copies");

describe.skipIf(!status.available)("native without second copies", () => {
  for (const level of status.levels) {
    for (const precision of precisionsOf(level)) {
      const open = () => openNative({ level, precision, threads: 2, poison: true, backwardCopy: "never" });
      const tolerance = precision === "float32" ? 1e-5 : 2e-2;
      describe(`${level}, ${precision}`, () => {
        const contract = {
          open,
          tolerance,
          lossTolerance: 1,
          hasBlocks: true,
          compare: (seed: number) => compare(open(), tolerance, seed),
        };
        productContract(contract);
      });
    }
  }

  const values = (count: number, seed: number) => {
    const random = createRandom(seed);
    return Float32Array.from({ length: count }, () => random.normal());
  };

  it("gives the numbers of the second copy, in less memory", async () => {
    const [rows, inputs, outputs] = [70, 300, 1100];
    const backends = (["always", "never"] as const).map((backwardCopy) => openNative({ backwardCopy, threads: 2 }));
    afterAll(() => Promise.all(backends.map((backend) => backend.close())));
    const results = [];
    for (const backend of backends) {
      const w = backend.weight(
        { name: "w", rows: outputs, columns: inputs, storage: "bfloat16", trainable: false },
        values(outputs * inputs, 1),
      );
      const before = backend.memory().bytes;
      const dx = backend.matmulBackwardInput(backend.tensor(values(rows * outputs, 2), rows, outputs), w);
      results.push({ values: await backend.read(dx), bytes: backend.memory().bytes - before });
    }
    const [always, never] = results;
    const copyBytes = 1120 * 320 * (backends[0].precision === "bfloat16" ? 2 : 4);
    expect(always.bytes - never.bytes).toBe(copyBytes);
    const largest = Math.max(...Array.from(always.values, Math.abs));
    for (let i = 0; i < always.values.length; i++) {
      expect(Math.abs(always.values[i] - never.values[i])).toBeLessThan(1e-2 * largest);
    }
  });

  it("uses no more memory of the system than weights have bytes", async () => {
    const backend = openNative({ threads: 1 });
    try {
      await backend.sync();
      const before = process.memoryUsage.rss();
      // Each a little more than one huge page of 2 MiB.
      const spec = { name: "w", rows: 2048, columns: 2112, storage: "nf4", trainable: false } as const;
      for (let i = 0; i < 64; i++) backend.weight(spec);
      await backend.sync();
      expect((process.memoryUsage.rss() - before) / backend.memory().bytes).toBeLessThan(1.1);
    } finally {
      await backend.close();
    }
  });

  it("says which values of CRE_BACKWARD_COPY there are", () => {
    process.env.CRE_BACKWARD_COPY = "perhaps";
    try {
      expect(() => openNative()).toThrow('CRE_BACKWARD_COPY is "perhaps", expected one of auto, always, never.');
    } finally {
      delete process.env.CRE_BACKWARD_COPY;
    }
  });
});
