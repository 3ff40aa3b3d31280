// Reads a data folder in a thread of its own, so that a large one holds no event loop. Plain JavaScript: a thread cannot load TypeScript in
// Node 20.
import { parentPort, workerData } from "node:worker_threads";

const { module, read, place } = workerData;
try {
  const reader = await import(module);
  parentPort.postMessage({ value: await reader[read](place) });
} catch (error) {
  parentPort.postMessage({ problem: error instanceof Error ? error.message : String(error) });
}
parentPort.close();
