// Reads one uploaded file in a thread of its own, so that a hostile file can be stopped and holds no event loop. Plain JavaScript: a thread
// cannot load TypeScript in Node 20.
import { parentPort, workerData } from "node:worker_threads";

const { module, file, options } = workerData;
const { readDocuments } = await import(module);
const notices = [];
const counts = { files: 0, documents: 0, bad: 0, empty: 0, gb18030: 0, skipped: {}, dropped: {} };
/** One document for each message from the other side: a slow extraction holds one document, not the file. */
const asked = () => new Promise((done) => parentPort.once("message", done));
try {
  await asked();
  for await (const item of readDocuments([file], { ...options, counts, onNotice: (text) => notices.push(text) })) {
    parentPort.postMessage({ item });
    await asked();
  }
  parentPort.postMessage({ end: { counts, notices } });
} catch (error) {
  parentPort.postMessage({ problem: error instanceof Error ? error.message : String(error) });
}
parentPort.close();
