import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { UserError } from "../base/errors.ts";
import { chosenBackend, hasFastBackend, openBackend } from "./open.ts";

const state = vi.hoisted(() => ({ native: null as string | null, wasm: null as string | null }));

vi.mock("./native/open.ts", async (original) => ({
  ...(await original<object>()),
  nativeStatus: () => ({ available: state.native === null, reason: state.native, levels: [], best: null }),
}));
vi.mock("./wasm/open.ts", async (original) => ({ ...(await original<object>()), wasmProblem: () => state.wasm }));

beforeEach(() => {
  Object.assign(state, { native: "it is not built", wasm: null });
});
afterEach(() => vi.unstubAllEnvs());

async function openedHere(): Promise<{ name: string; notices: string[] }> {
  const notices: string[] = [];
  const backend = openBackend("auto", (line) => notices.push(line));
  await backend.close();
  return { name: backend.name, notices };
}

describe("the backend of a machine", () => {
  it("is native, else WebAssembly, else the reference one", () => {
    vi.stubEnv("CRE_BACKEND", "");
    state.native = null;
    expect([chosenBackend(), hasFastBackend()]).toEqual(["native", true]);
    state.native = "it is not built";
    expect([chosenBackend(), hasFastBackend()]).toEqual(["wasm", true]);
    state.wasm = "kernels.wasm cannot be loaded";
    expect([chosenBackend(), hasFastBackend()]).toEqual(["reference", false]);
  });

  it("is the one that CRE_BACKEND names", () => {
    for (const name of ["native", "wasm", "reference"]) {
      vi.stubEnv("CRE_BACKEND", name);
      expect(chosenBackend()).toBe(name);
    }
    vi.stubEnv("CRE_BACKEND", "gpu");
    expect(() => openBackend("auto")).toThrow('CRE_BACKEND is "gpu", expected "native", "wasm" or "reference".');
    vi.stubEnv("CRE_BACKEND", "native");
    expect(() => openBackend("auto")).toThrow(UserError);
    expect(() => openBackend("auto")).toThrow("The native backend cannot be used: it is not built.");
  });

  it("is named in one line with its speed and what to install for more", async () => {
    vi.stubEnv("CRE_BACKEND", "");
    vi.stubEnv("CRE_THREADS", "2");
    const wasm = await openedHere();
    expect(wasm.name).toBe("wasm");
    expect(wasm.notices).toHaveLength(1);
    expect(wasm.notices[0]).toMatch(
      /^The native backend cannot be used: it is not built\. Computing with WebAssembly (relaxed )?SIMD, 2 threads, float32: .*cre bench train-step.*npm run build/,
    );
    state.wasm = "kernels.wasm cannot be loaded";
    const reference = await openedHere();
    expect(reference.name).toBe("reference");
    expect(reference.notices[0]).toContain(
      "Nor WebAssembly: kernels.wasm cannot be loaded. Computing with the reference",
    );
  });

  it("is not explained where CRE_BACKEND names it", async () => {
    vi.stubEnv("CRE_BACKEND", "wasm");
    expect(await openedHere()).toEqual({ name: "wasm", notices: [] });
    vi.stubEnv("CRE_BACKEND", "reference");
    expect(await openedHere()).toEqual({ name: "reference", notices: [] });
  });
});
