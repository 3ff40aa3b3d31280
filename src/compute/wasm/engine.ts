/**
 * The engine of the WebAssembly backend, for Node and browsers: writes calls into the memory that its threads share. Thread 0 carries them
 * out in order (native/wasm/engine.cpp); this thread never waits, except where a large model is loaded faster than it is packed.
 */
import { UserError } from "../../base/errors.ts";
import type { Engine } from "../engine/engine.ts";

/** The memory that kernels.wasm is linked for (build.ts): its first size, and the most that 32-bit addresses and typed arrays reach. */
const FIRST_PAGES = 32;
export const MOST_PAGES = 65_535;
export const PAGE_BYTES = 65_536;
const STACK_BYTES = 1 << 20;

/** What a worker is started with; `serve` of serve.js runs it. */
export interface ThreadStart {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  thread: number;
  stackTop: number;
}

/** What a worker posts. */
export type ThreadMessage = { answer: number; data: number; elements: number } | { failure: string };

/** A started worker. */
export interface EngineThread {
  /** Whether the program stays alive while the worker runs. */
  keepAlive(wanted: boolean): void;
  end(): Promise<unknown>;
}

export interface WasmEngineOptions {
  module: WebAssembly.Module;
  threads: number;
  poison: boolean;
  /** Of the memory; by default all that 32-bit addresses reach. */
  mostPages?: number;
  startThread(start: ThreadStart, onMessage: (message: ThreadMessage) => void): EngineThread;
  /** Waits a moment, where this thread may. */
  pause?(): void;
}

interface Exports {
  start(threads: number, poison: number): void;
  allocate(bytes: number): number;
  release(data: number): void;
  operationNumber(name: number, length: number): number;
  hasRoom(payloadBytes: number): number;
  issue(call: number): void;
  keepTimes(): void;
  times(): number;
}

type Argument = number | boolean | null | Float32Array | Int32Array | Float64Array | Uint8Array;

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

/** Kinds of operations whose times are kept; later ones are not timed. */
const MOST_KINDS = 1 << 12;
const HEADER_BYTES = 24;
const aligned = (bytes: number) => Math.ceil(bytes / 8) * 8;

/** Starts the threads. Throws a UserError when the memory cannot be had. */
export function openWasmEngine(options: WasmEngineOptions): Engine {
  const memory = sharedMemory(options.mostPages ?? MOST_PAGES);
  const limit = gigabytes((options.mostPages ?? MOST_PAGES) * PAGE_BYTES);
  const outOfMemory = (bytes: number): never => {
    throw failureOf(`ran out of memory when it needed ${Math.ceil(bytes / 1e6)} MB more`, limit);
  };
  const none = () => {};
  const env = { memory, outOfMemory, answer: none, stopped: none, seconds: none, processorSeconds: none };
  const exports = new WebAssembly.Instance(options.module, { env }).exports as unknown as Exports;
  const allocate = (bytes: number) => exports.allocate(bytes) >>> 0;
  let views = viewsOf(memory);
  const viewsTo = (end: number) => {
    // Another thread may have grown the memory.
    if (end > views.bytes.length) {
      memory.grow(0);
      views = viewsOf(memory);
    }
    return views;
  };
  const copyOf = (start: number, length: number) => viewsTo(start + length).bytes.slice(start, start + length).buffer;

  const waiting = new Map<number, { resolve(data: number, elements: number): void; reject(error: Error): void }>();
  let failure: Error | null = null;
  let lastAnswer = 0;
  let kind = 0;
  const onMessage = (message: ThreadMessage) => {
    if ("failure" in message) {
      failure ??= failureOf(message.failure, limit);
      for (const { reject } of waiting.values()) reject(failure);
      waiting.clear();
    } else {
      waiting.get(message.answer)?.resolve(message.data, message.elements);
      waiting.delete(message.answer);
    }
    if (waiting.size === 0) threads[0].keepAlive(false);
  };

  exports.start(options.threads, options.poison ? 1 : 0);
  const known = new Map<string, number>();
  const numberOf = (name: string): number => {
    let number = known.get(name);
    if (number === undefined) {
      const text = new TextEncoder().encode(name);
      const at = allocate(text.length);
      viewsTo(at + text.length).bytes.set(text, at);
      number = exports.operationNumber(at, text.length);
      exports.release(at);
      if (number < 0) throw new Error(`kernels.wasm has no operation "${name}": run npm run build:wasm.`);
      known.set(name, number);
    }
    return number;
  };
  const issue = (name: string, given: readonly Argument[], answer = 0): void => {
    if (failure !== null) return;
    const operation = numberOf(name);
    const arraysAt = HEADER_BYTES + 8 * given.length;
    let arrayBytes = 0;
    for (const value of given) if (isArray(value)) arrayBytes += aligned(value.byteLength);
    while (exports.hasRoom(arrayBytes) === 0) options.pause?.();
    const call = allocate(arraysAt + arrayBytes);
    const { bytes, words, numbers } = viewsTo(call + arraysAt + arrayBytes);
    // In the order of CallHeader in native/wasm/engine.h.
    words[call / 4] = operation;
    words[call / 4 + 1] = given.length;
    words[call / 4 + 2] = answer;
    words[call / 4 + 3] = kind;
    numbers[call / 8 + 2] = arrayBytes;
    let at = (call + HEADER_BYTES) / 8;
    let end = arraysAt;
    for (const value of given) {
      if (isArray(value)) {
        words[2 * at] = end;
        words[2 * at + 1] = value.length;
        bytes.set(new Uint8Array(value.buffer, value.byteOffset, value.byteLength), call + end);
        end += aligned(value.byteLength);
      } else {
        numbers[at] = Number(value);
      }
      at++;
    }
    exports.issue(call);
  };
  /** Issues a call and takes its answer over from the memory. */
  const ask = (name: string, given: readonly Argument[]): Promise<Float32Array> =>
    new Promise((resolve, reject) => {
      if (failure !== null) return reject(failure);
      lastAnswer = (lastAnswer % 0xffffffff) + 1;
      const answer = lastAnswer;
      const taken = (data: number, elements: number) => {
        const values = new Float32Array(copyOf(data, 4 * elements));
        exports.release(data);
        resolve(values);
      };
      waiting.set(answer, { resolve: taken, reject });
      threads[0].keepAlive(true);
      issue(name, given, answer);
    });

  const freeHandles: number[] = [];
  let lastHandle = 0;
  const newHandle = () => freeHandles.pop() ?? ++lastHandle;
  const threads = Array.from({ length: options.threads }, (_, thread) => {
    const stackTop = allocate(STACK_BYTES) + STACK_BYTES;
    const started = options.startThread({ module: options.module, memory, thread, stackTop }, onMessage);
    started.keepAlive(false);
    return started;
  });

  const operation = (name: keyof typeof RESULTS) => {
    const count = RESULTS[name];
    return (...given: readonly Argument[]) => {
      const made = Array.from({ length: count }, newHandle);
      issue(name, [...made, ...given]);
      return count === 0 ? undefined : count === 1 ? made[0] : made;
    };
  };
  const names = Object.keys(RESULTS) as (keyof typeof RESULTS)[];
  const operations = Object.fromEntries(names.map((name) => [name, operation(name)]));
  return {
    ...(operations as unknown as Pick<Engine, keyof typeof RESULTS>),
    tensor(values, rows, columns) {
      const handle = newHandle();
      issue("tensor", [handle, values, rows, columns]);
      return handle;
    },
    read: (x) => ask("read", [x]),
    free(x) {
      issue("free", [x]);
      freeHandles.push(x);
    },
    weight(values, rows, columns, storage, trainable) {
      const handle = newHandle();
      issue("weight", [handle, values ?? null, rows, columns, storage, trainable, values === undefined]);
      return handle;
    },
    writeRows: async (w, bytes, type, normalized) => {
      await ask("writeRows", [w, bytes, type, normalized]);
    },
    writeWeight: (w, values, part) => issue("writeWeight", [w, values, part]),
    readWeight: (w, part) => ask("readWeight", [w, part]),
    freeWeight(w) {
      issue("freeWeight", [w]);
      freeHandles.push(w);
    },
    sync: async () => {
      await ask("sync", []);
    },
    async close() {
      if (failure === null) await ask("close", []).catch(() => {});
      await Promise.all(threads.map((thread) => thread.end()));
    },
    label(wanted) {
      exports.keepTimes();
      kind = wanted < MOST_KINDS ? wanted : 0;
    },
    peak: (seconds, reads) => ask("peak", [seconds, reads]),
    spent() {
      return new Float64Array(copyOf(exports.times() >>> 0, MOST_KINDS * 24));
    },
  };
}

const isArray = (value: Argument): value is Exclude<Argument, number | boolean | null> => ArrayBuffer.isView(value);

const viewsOf = ({ buffer }: WebAssembly.Memory) => ({
  bytes: new Uint8Array(buffer),
  words: new Uint32Array(buffer),
  numbers: new Float64Array(buffer),
});

function sharedMemory(mostPages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: FIRST_PAGES, maximum: mostPages, shared: true });
  } catch (error) {
    throw new UserError(
      `The WebAssembly backend got no address space for a memory of up to ${gigabytes(mostPages * PAGE_BYTES)}.`,
      { hint: "Is the address space limited (ulimit -v)? CRE_BACKEND=reference does without.", cause: error },
    );
  }
}

function failureOf(reason: string, limit: string): Error {
  if (!reason.startsWith("ran out of memory")) return new Error(`The WebAssembly backend failed: ${reason}.`);
  return new UserError(`The WebAssembly backend ${reason}; it has at most ${limit}.`, {
    hint: "Smaller batches, a smaller model or --storage int8 need less; the native backend has all memory (npm run build).",
  });
}

const gigabytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 30 ? 2 : 0)} GiB`;
