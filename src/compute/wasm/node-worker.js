// The worker of Node for one thread of kernels.wasm.
import { parentPort, workerData } from "node:worker_threads";
import { serve } from "./serve.js";

serve(
  workerData,
  (message) => parentPort.postMessage(message),
  () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  },
);
