import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { backendContract } from "../contract/backend.contract.ts";
import { profileOf } from "../engine/profile.ts";
import { packageRoot } from "../native/levels.ts";
import { measurePeak } from "../peak.ts";
import { KERNELS_FILES, openWasm, wasmProblem } from "./open.ts";
import { withOwnMemory } from "./own-memory.ts";
import { MODULES, recordProblems, type WasmRecord } from "./record.ts";
import { hasRelaxedInstructions } from "./relaxed.ts";

// The contract suite on the committed modules, or on those of the folder that CRE_WASM_FOLDER names. Outputs are poisoned with NaN, so that what
// a kernel leaves out shows.

const FOLDER = process.env.CRE_WASM_FOLDER || join(packageRoot, "src", "compute", "wasm");
const files = Object.keys(MODULES).map((name) => join(FOLDER, name));
/** What this engine runs. */
const runnable = files.filter((file) => wasmProblem(file) === null);
const [file] = files;

describe.each(runnable.map((path) => [basename(path), path]))("%s", (_, path) => {
  const openWithThreads = (threads: number) => openWasm({ file: path, threads, poison: true });
  describe("wasm", () => {
    backendContract(() => openWithThreads(2), { tolerance: 1e-5, lossTolerance: 1e-4, openWithThreads });
  });

  describe("wasm without threads and shared memory", () => {
    const open = () => openWasm({ file: path, isAlone: true, poison: true });
    backendContract(open, { tolerance: 1e-5, lossTolerance: 1e-4 });

    it("that runs out of memory fails reads and later calls, and still closes", async () => {
      const backend = openWasm({ file: path, isAlone: true, mostPages: 512 });
      const x = backend.zeros(1, 1);
      for (let i = 0; i < 5; i++) backend.zeros(1024, 2048);
      await expect(backend.read(x)).rejects.toThrow("ran out of memory when it needed 9 MB more");
      await expect(backend.sync()).rejects.toThrow(UserError);
      await backend.close();
    });

    it("gives the numbers of one thread", async () => {
      const values = Float32Array.from({ length: 64 * 70 }, (_, i) => Math.sin(i));
      const results = [openWasm({ file: path, threads: 1 }), open()].map(async (backend) => {
        const w = backend.weight({ name: "w", rows: 64, columns: 70, storage: "bfloat16", trainable: false }, values);
        const y = backend.matmul(backend.tensor(values.subarray(0, 700), 10, 70), w);
        const numbers = await backend.read(y);
        await backend.close();
        return numbers;
      });
      const [one, alone] = await Promise.all(results);
      expect(alone).toEqual(one);
    });
  });
});

for (const left of files.filter((path) => !runnable.includes(path))) {
  it.skip(`${basename(left)}: this engine has no relaxed vector instructions (Node 22 has)`, () => {});
}

describe("the module that is taken", () => {
  it("is the first that this engine runs, the relaxed one before the other", () => {
    expect(KERNELS_FILES.map((path) => basename(path))).toEqual(runnable.map((path) => basename(path)).reverse());
    expect(wasmProblem(KERNELS_FILES[0])).toBeNull();
  });

  it("has relaxed instructions where the engine has them", async (test) => {
    test.skip(!hasRelaxedInstructions(), "this engine has no relaxed vector instructions (Node 22 has)");
    const backend = openWasm({ threads: 1 });
    expect(backend.description).toBe("WebAssembly relaxed SIMD, 1 thread, float32");
    await backend.close();
  });
});

describe("a module with a memory of its own", () => {
  it("differs from the committed one in one bit", () => {
    const bytes = readFileSync(file);
    const changed = withOwnMemory(bytes);
    const places = [...bytes.keys()].filter((i) => bytes[i] !== changed[i]);
    expect(places.map((i) => [bytes[i], changed[i]])).toEqual([[3, 1]]);
  });

  it("is not made of another module", () => {
    expect(() => withOwnMemory(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0))).toThrow("imports no shared memory");
    expect(() => withOwnMemory(new Uint8Array(0))).toThrow("imports no shared memory");
    expect(() => withOwnMemory(readFileSync(file).subarray(0, 60))).toThrow("imports no shared memory");
  });
});

describe("the modules", () => {
  const record = JSON.parse(readFileSync(join(FOLDER, "kernels.json"), "utf8")) as WasmRecord;
  const native = join(packageRoot, "native");
  const modules = new Map(files.map((path) => [basename(path), readFileSync(path)]));

  it("are made of these sources (else run `npm run build:wasm`)", () => {
    expect(recordProblems(record, modules, native), "run npm run build:wasm").toEqual([]);
    expect(Object.entries(record.modules).map(([name, { flags }]) => [name, flags])).toEqual(Object.entries(MODULES));
  });

  it("are at most 1 MB together", () => {
    const bytes = Object.values(record.modules).map((one) => one.bytes);
    expect(bytes.reduce((sum, one) => sum + one, 0)).toBeLessThan(1e6);
  });

  it("are not those of a record when a source or a byte differs", () => {
    const { "rows/norm.cpp": hash, ...others } = record.sources;
    expect(hash).toHaveLength(64);
    const damaged = new Map(modules).set("kernels.wasm", Buffer.concat([readFileSync(file), Buffer.of(0)]));
    expect(recordProblems({ ...record, sources: others }, damaged, native)).toEqual([
      "native/rows/norm.cpp changed",
      "kernels.wasm is not the file of kernels.json",
    ]);
  });

  const folder = mkdtempSync(join(tmpdir(), "cre-wasm-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("that is missing or damaged is a problem by name", () => {
    const broken = join(folder, "kernels.wasm");
    expect(wasmProblem(broken)).toContain(`${broken} cannot be loaded (ENOENT`);
    writeFileSync(broken, readFileSync(file).subarray(0, 1000));
    expect(wasmProblem(broken)).toMatch(/cannot be loaded \(WebAssembly/);
    expect(() => openWasm({ file: broken })).toThrow(UserError);
    expect(wasmProblem(file)).toBeNull();
  });
});

describe("the memory of the module", () => {
  const mostPages = 512; // 32 MiB

  it("that is used up fails reads and later calls, and the backend still closes", async () => {
    const backend = openWasm({ file, threads: 2, mostPages });
    const x = backend.zeros(1, 1);
    for (let i = 0; i < 5; i++) backend.zeros(1024, 2048);
    const failure = /^The WebAssembly backend ran out of memory when it needed 9 MB more; it has at most 0.03 GiB\.$/;
    await expect(backend.read(x)).rejects.toThrow(failure);
    await expect(backend.sync()).rejects.toThrow(UserError);
    backend.free(backend.add(x, x));
    await backend.close();
  });

  it("that is used up by what JavaScript hands over fails at once", async () => {
    const backend = openWasm({ file, threads: 1, mostPages });
    expect(() => backend.tensor(new Float32Array(1 << 24), 4096, 4096)).toThrow(
      "ran out of memory when it needed 68 MB",
    );
    await backend.close();
  });

  it("holds only a part of what is issued faster than it is carried out", async () => {
    const backend = openWasm({ file, threads: 2, mostPages: 5000 });
    const values = new Float32Array(1 << 23).fill(2);
    let last = backend.tensor(values, 4096, 2048);
    for (let i = 0; i < 20; i++) {
      backend.free(last);
      last = backend.tensor(values, 4096, 2048);
    }
    expect((await backend.read(last))[7]).toBe(2);
    await backend.close();
  });

  it("is used again when tensors are freed, whatever their sizes", async () => {
    const backend = openWasm({ file, threads: 2, mostPages });
    for (let i = 0; i < 60; i++) {
      const some = [1 + i, 1600 - 20 * i, 700].map((rows) => backend.zeros(rows, 512));
      for (const tensor of some) backend.free(tensor);
      if (i % 20 === 0) await backend.sync();
    }
    await backend.sync();
    await backend.close();
  });
});

describe("second copies of frozen weights", () => {
  it("are made of models up to a quarter of the memory", async () => {
    const backend = openWasm({ file, threads: 2, mostPages: 512 });
    const grown = (): number => {
      const w = backend.weight({ name: "w", rows: 64, columns: 64, storage: "float32", trainable: false });
      const dy = backend.zeros(1, 64);
      const before = backend.memory().bytes;
      backend.free(backend.matmulBackwardInput(dy, w));
      return backend.memory().bytes - before;
    };
    expect(grown()).toBe(64 * 64 * 4);
    backend.weight({ name: "large", rows: 1536, columns: 1536, storage: "float32", trainable: false });
    expect(grown()).toBe(0);
    await backend.close();
  });
});

describe("profile and peak", () => {
  it("are measured", async () => {
    const backend = openWasm({ file, threads: 2, profile: true });
    const w = backend.weight({ name: "w", rows: 64, columns: 32, storage: "bfloat16", trainable: false });
    const x = backend.zeros(40, 32);
    backend.free(backend.matmul(x, w));
    backend.free(backend.matmul(x, w));
    await backend.sync();
    const product = profileOf(backend).find(({ kind }) => kind === "matmul 40×32→64");
    expect(product).toMatchObject({ calls: 2, flops: 2 * 2 * 40 * 32 * 64 });
    expect(product?.seconds).toBeGreaterThan(0);
    expect((await measurePeak(backend, 0.002, 2))?.registers).toBeGreaterThan(0.1);
    await backend.close();
  });
});
