// Runs one thread of kernels.wasm until its worker is ended. Plain JavaScript without imports, because Node's and a browser's workers load
// this file as it is, also from the sources.

/**
 * @param {{ module: WebAssembly.Module, memory: WebAssembly.Memory, thread: number, stackTop: number }} start
 * @param {(message: { answer: number, data: number, elements: number } | { failure: string }) => void} post
 * @param {() => number} processorSeconds processor time of the process, 0 where it is not known
 */
export function serve({ module, memory, thread, stackTop }, post, processorSeconds) {
  const env = {
    memory,
    answer: (id, data, elements) => post({ answer: id, data: data >>> 0, elements: elements >>> 0 }),
    outOfMemory: (bytes) => {
      throw new Error(`ran out of memory when it needed ${Math.ceil(bytes / 1e6)} MB more`);
    },
    stopped: () => {
      throw new Error("stopped because another thread failed");
    },
    seconds: () => performance.now() / 1000,
    processorSeconds,
  };
  const { exports } = new WebAssembly.Instance(module, { env });
  exports.__stack_pointer.value = stackTop | 0;
  try {
    if (thread === 0) exports.serveCalls();
    else exports.serveKernels(thread);
  } catch (error) {
    exports.fail();
    post({ failure: error instanceof Error ? error.message : String(error) });
  }
}
