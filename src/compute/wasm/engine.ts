/** The engine of the WebAssembly backend, for Node and browsers. */
import type { Engine } from "../engine/engine.ts";
import { type Argument, Calls, type WasmEngineOptions } from "./calls.ts";

/** Operations that return new tensors, by the number of these. */
const RESULTS = {
  embed: 1,
  embedBackward: 0,
  matmul: 1,
  matmulSum: 1,
  matmulSwiglu: 2,
  matmulBackwardInput: 1,
  matmulBackwardWeight: 0,
  matmulBackward: 1,
  biasBackward: 0,
  gatherRows: 1,
  gatherRowsBackward: 1,
  copyRows: 0,
  rmsNorm: 1,
  rmsNormBackward: 1,
  rotary: 1,
  attention: 2,
  attentionBackward: 3,
  swiglu: 1,
  swigluBackward: 2,
  add: 1,
  dropout: 1,
  scaleColumns: 1,
  scaleColumnsBackward: 1,
  rowNorms: 1,
  tanh: 1,
  tanhBackward: 1,
  crossEntropy: 2,
  logProbabilities: 1,
  argmax: 1,
  zeroGradients: 0,
  gradientNorm: 1,
  adamW: 0,
} as const satisfies Partial<Record<keyof Engine, number>>;

/** Starts the threads. Throws a UserError when the memory cannot be had. */
export function openWasmEngine(options: WasmEngineOptions): Engine {
  const calls = new Calls(options);
  const freeHandles: number[] = [];
  let lastHandle = 0;
  const newHandle = () => freeHandles.pop() ?? ++lastHandle;
  const freed = (operation: "free" | "freeWeight") => (handle: number) => {
    calls.issue(operation, [handle]);
    freeHandles.push(handle);
  };

  const operation = (name: keyof typeof RESULTS) => {
    const count = RESULTS[name];
    return (...given: readonly Argument[]) => {
      const made = Array.from({ length: count }, newHandle);
      calls.issue(name, [...made, ...given]);
      return count === 0 ? undefined : count === 1 ? made[0] : made;
    };
  };
  const names = Object.keys(RESULTS) as (keyof typeof RESULTS)[];
  const operations = Object.fromEntries(names.map((name) => [name, operation(name)]));
  return {
    ...(operations as unknown as Pick<Engine, keyof typeof RESULTS>),
    tensor(values, rows, columns) {
      const handle = newHandle();
      calls.issue("tensor", [handle, values, rows, columns]);
      return handle;
    },
    read: (x) => calls.ask("read", [x]),
    free: freed("free"),
    weight(values, rows, columns, storage, trainable) {
      const handle = newHandle();
      calls.issue("weight", [handle, values ?? null, rows, columns, storage, trainable, values === undefined]);
      return handle;
    },
    async writeRows(w, bytes, type, normalized) {
      await calls.ask("writeRows", [w, bytes, type, normalized]);
    },
    writeWeight: (w, values, part) => calls.issue("writeWeight", [w, values, part]),
    readWeight: (w, part) => calls.ask("readWeight", [w, part]),
    freeWeight: freed("freeWeight"),
    async sync() {
      await calls.ask("sync", []);
    },
    close: () => calls.close(),
    label: (kind) => calls.label(kind),
    peak: (seconds, reads) => calls.ask("peak", [seconds, reads]),
    spent: () => calls.times(),
  };
}
