import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { ReadCounts, ReadItem } from "../documents/read/format.ts";
import { DOCUMENT_FORMATS, type DocumentFormatName } from "../documents/read/formats.ts";
import type { ReadLimits } from "../documents/read/limits.ts";
import { readDocuments } from "../documents/read/read-documents.ts";
import { Problem } from "./problem.ts";

const MAX_HEAP_MEGABYTES = 1024;

export interface Upload {
  bytes: Uint8Array;
  /** As the client names it; never a path of ours. */
  name: string;
  format: DocumentFormatName;
  textField: string | undefined;
}

type Answer =
  | { item: ReadItem; end?: undefined; problem?: undefined }
  | { end: { counts: ReadCounts; notices: string[] }; item?: undefined; problem?: undefined }
  | { problem: string; item?: undefined; end?: undefined };

/** The documents of an uploaded file, under the limits of the readers. The file is gone when the reading has ended. */
export async function* readUpload(
  { bytes, name, format, textField }: Upload,
  limits: ReadLimits,
  counts: ReadCounts,
  signal: AbortSignal,
): AsyncGenerator<ReadItem> {
  const folder = await mkdtemp(join(tmpdir(), "cre-upload-"));
  try {
    const own = `upload.${DOCUMENT_FORMATS[format].extensions[0]}`;
    const file = join(folder, own);
    await writeFile(file, bytes);
    const options = { format, textField, limits };
    for await (const item of readAside(file, options, counts, signal)) {
      if ("bad" in item) yield { bad: { ...item.bad, id: named(item.bad.id, own, name) } };
      else yield { ...item, id: named(item.id, own, name) };
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const named = (id: string, own: string, name: string) => name + id.slice(own.length);

/** Reads in a thread; in this one where the program runs from its TypeScript sources. */
async function* readAside(
  file: string,
  options: { format: DocumentFormatName; textField: string | undefined; limits: ReadLimits },
  counts: ReadCounts,
  signal: AbortSignal,
): AsyncGenerator<ReadItem> {
  if (import.meta.url.endsWith(".ts")) {
    yield* readDocuments([file], { ...options, counts });
    return;
  }
  const module = new URL("../documents/read/read-documents.js", import.meta.url).href;
  const worker = new Worker(new URL("./read-thread.mjs", import.meta.url), {
    workerData: { module, file, options },
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MEGABYTES },
    stdout: true,
    stderr: true,
  });
  const failed = (detail: string) => new Problem("unusable", `The file cannot be read: ${detail}.`);
  const clock = setTimeout(
    () => worker.emit("error", failed(`not read after ${options.limits.parseMs} ms`)),
    options.limits.parseMs,
  );
  const onAbort = () => worker.emit("error", signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const answer = await new Promise<Answer>((done, fail) => {
        worker.removeAllListeners();
        worker.once("message", done);
        worker.once("error", (error: unknown) => fail(error instanceof Problem ? error : failed(String(error))));
        worker.once("exit", () => fail(failed("the reader ended")));
        if (signal.aborted) fail(signal.reason);
        worker.postMessage("next");
      });
      if (answer.problem !== undefined) throw failed(answer.problem);
      if (answer.end) {
        Object.assign(counts, answer.end.counts);
        return;
      }
      clock.refresh();
      yield answer.item;
    }
  } finally {
    clearTimeout(clock);
    signal.removeEventListener("abort", onAbort);
    worker.removeAllListeners();
    // A thread that is stopped while it computes tells so by an error.
    worker.on("error", () => {});
    await worker.terminate();
  }
}
