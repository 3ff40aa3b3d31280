/**
 * Calls to kernels.wasm, for Node and browsers: they are written into the memory that its threads share. Thread 0 carries them out in order
 * (native/wasm/engine.cpp); this thread never waits, except where a large model is loaded faster than it is packed. Where there are no threads
 * and no shared memory (a page that is not cross-origin isolated), each call is carried out when it is issued.
 */
import { messageOf, UserError } from "../../base/errors.ts";

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
  /** 0: this thread does all the work; `module` is one with a memory of its own (own-memory.ts). */
  threads: number;
  poison: boolean;
  /** Of the memory; by default all that 32-bit addresses reach. */
  mostPages?: number;
  /** Not called without threads. */
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
  serveIssued(): void;
  keepTimes(): void;
  times(): number;
}

export type Argument = number | boolean | null | Float32Array | Int32Array | Float64Array | Uint8Array;

interface Waiting {
  resolve(values: Float32Array): void;
  reject(error: Error): void;
}

/** Kinds of operations whose times are kept; later ones are not timed. */
const MOST_KINDS = 1 << 12;
const HEADER_BYTES = 24;
const aligned = (bytes: number) => Math.ceil(bytes / 8) * 8;

/** The memory, the threads, and the calls that wait for an answer. */
export class Calls {
  readonly #options: WasmEngineOptions;
  readonly #memory: WebAssembly.Memory;
  readonly #exports: Exports;
  /** Empty where this thread does the work. */
  readonly #threads: EngineThread[];
  readonly #operations = new Map<string, number>();
  readonly #waiting = new Map<number, Waiting>();
  #views: ReturnType<typeof viewsOf>;
  #failure: Error | null = null;
  #lastAnswer = 0;
  #kind = 0;

  /** Starts the threads. Throws a UserError when the memory cannot be had. */
  constructor(options: WasmEngineOptions) {
    const { module, threads, poison, startThread } = options;
    this.#options = options;
    const mostPages = options.mostPages ?? MOST_PAGES;
    this.#memory = openMemory(mostPages, threads > 0);
    this.#views = viewsOf(this.#memory);
    const outOfMemory = (bytes: number): never => {
      throw this.#failureOf(`ran out of memory when it needed ${Math.ceil(bytes / 1e6)} MB more`);
    };
    const none = () => {};
    const memory = this.#memory;
    const answer = (id: number, data: number, elements: number) =>
      this.#receive({ answer: id, data: data >>> 0, elements: elements >>> 0 });
    const seconds = () => performance.now() / 1000;
    const env = { memory, outOfMemory, answer, stopped: none, seconds, processorSeconds: () => 0 };
    this.#exports = new WebAssembly.Instance(module, { env }).exports as unknown as Exports;
    this.#exports.start(Math.max(1, threads), poison ? 1 : 0);
    this.#threads = Array.from({ length: threads }, (_, thread) => {
      const stackTop = this.#allocate(STACK_BYTES) + STACK_BYTES;
      const started = startThread({ module, memory, thread, stackTop }, (message) => this.#receive(message));
      started.keepAlive(false);
      return started;
    });
  }

  /** Issues a call without an answer; after a failure nothing is issued, and answers tell of it. */
  issue(name: string, given: readonly Argument[], answer = 0): void {
    if (this.#failure !== null) return;
    const operation = this.#numberOf(name);
    const arraysAt = HEADER_BYTES + 8 * given.length;
    let arrayBytes = 0;
    for (const value of given) if (isArray(value)) arrayBytes += aligned(value.byteLength);
    while (this.#exports.hasRoom(arrayBytes) === 0) this.#options.pause?.();
    const call = this.#allocate(arraysAt + arrayBytes);
    const { bytes, words, numbers } = this.#viewsTo(call + arraysAt + arrayBytes);
    // In the order of CallHeader in native/wasm/engine.h.
    words[call / 4] = operation;
    words[call / 4 + 1] = given.length;
    words[call / 4 + 2] = answer;
    words[call / 4 + 3] = this.#kind;
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
    this.#exports.issue(call);
    if (this.#threads.length === 0) this.#carryOut();
  }

  /** Carries out what is issued, on this thread. */
  #carryOut(): void {
    try {
      this.#exports.serveIssued();
    } catch (error) {
      this.#fail(error instanceof UserError ? error : this.#failureOf(messageOf(error)));
    }
  }

  /** Issues a call and gives the numbers of its answer. */
  ask(name: string, given: readonly Argument[]): Promise<Float32Array> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure);
      const answer = (this.#lastAnswer % 0xffffffff) + 1;
      this.#lastAnswer = answer;
      this.#waiting.set(answer, { resolve, reject });
      this.#threads[0]?.keepAlive(true);
      try {
        this.issue(name, given, answer);
      } catch (error) {
        this.#waiting.delete(answer);
        throw error;
      }
    });
  }

  async close(): Promise<void> {
    if (this.#failure === null) await this.ask("close", []).catch(() => {});
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }

  /** Counts the time of calls that are issued from now on under this kind; 0: not at all. */
  label(kind: number): void {
    this.#exports.keepTimes();
    this.#kind = kind < MOST_KINDS ? kind : 0;
  }

  /** Calls, seconds and processor seconds of each kind. */
  times(): Float64Array {
    return new Float64Array(this.#copyOf(this.#exports.times() >>> 0, MOST_KINDS * 24));
  }

  #receive(message: ThreadMessage): void {
    if ("failure" in message) {
      this.#fail(this.#failureOf(message.failure));
    } else {
      const values = new Float32Array(this.#copyOf(message.data, 4 * message.elements));
      this.#exports.release(message.data);
      this.#waiting.get(message.answer)?.resolve(values);
      this.#waiting.delete(message.answer);
    }
    if (this.#waiting.size === 0) this.#threads[0]?.keepAlive(false);
  }

  #fail(failure: Error): void {
    this.#failure ??= failure;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }

  #numberOf(name: string): number {
    let number = this.#operations.get(name);
    if (number === undefined) {
      const text = new TextEncoder().encode(name);
      const at = this.#allocate(text.length);
      this.#viewsTo(at + text.length).bytes.set(text, at);
      number = this.#exports.operationNumber(at, text.length);
      this.#exports.release(at);
      if (number < 0) throw new Error(`kernels.wasm has no operation "${name}": run npm run build:wasm.`);
      this.#operations.set(name, number);
    }
    return number;
  }

  /** An address; the module gives it as a signed number. */
  #allocate(bytes: number): number {
    return this.#exports.allocate(bytes) >>> 0;
  }

  #viewsTo(end: number): ReturnType<typeof viewsOf> {
    // Another thread may have grown the memory; growing by nothing shows it here.
    if (end > this.#views.bytes.length) {
      this.#memory.grow(0);
      this.#views = viewsOf(this.#memory);
    }
    return this.#views;
  }

  #copyOf(start: number, length: number): ArrayBuffer {
    return this.#viewsTo(start + length).bytes.slice(start, start + length).buffer as ArrayBuffer;
  }

  #failureOf(reason: string): Error {
    if (!reason.startsWith("ran out of memory")) return new Error(`The WebAssembly backend failed: ${reason}.`);
    const limit = gigabytes((this.#options.mostPages ?? MOST_PAGES) * PAGE_BYTES);
    return new UserError(`The WebAssembly backend ${reason}; it has at most ${limit}.`, {
      hint: "Smaller batches, a smaller model or --storage int8 need less; the native backend has all memory (npm run build).",
    });
  }
}

const isArray = (value: Argument): value is Exclude<Argument, number | boolean | null> => ArrayBuffer.isView(value);

const viewsOf = ({ buffer }: WebAssembly.Memory) => ({
  bytes: new Uint8Array(buffer),
  words: new Uint32Array(buffer),
  numbers: new Float64Array(buffer),
});

/** A memory that grows up to `mostPages`. */
function openMemory(mostPages: number, shared: boolean): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: FIRST_PAGES, maximum: mostPages, shared });
  } catch (error) {
    throw new UserError(
      `The WebAssembly backend got no address space for a memory of up to ${gigabytes(mostPages * PAGE_BYTES)}.`,
      {
        hint: "Is the address space limited (ulimit -v), or the browser out of memory? CRE_BACKEND=reference does without.",
        cause: error,
      },
    );
  }
}

const gigabytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 30 ? 2 : 0)} GiB`;
