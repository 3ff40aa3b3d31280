import { Worker } from "node:worker_threads";
import { messageOf } from "../../base/errors.ts";
import { type ReadLimits, ReadProblem } from "./limits.ts";

/** A piece of text on a page of a PDF, in points from the lower left corner. */
export interface PdfPiece {
  text: string;
  x: number;
  y: number;
  width: number;
  height: number;
  endsLine: boolean;
}

/**
 * What the thread makes of a PDF. `missingMaps` are the character maps that its fonts name and that cannot be made; `hasMadeMap` says that one
 * was made.
 */
export type ParsedPdf =
  | { tooLong: true }
  | { tooLong?: undefined; pages: PdfPiece[][]; missingMaps: string[]; hasMadeMap: boolean };

/** A thread that parses PDF and DOCX files one after the other. It starts with the first one. */
export interface ParseWorker {
  docx(bytes: Uint8Array): Promise<string>;
  pdf(bytes: Uint8Array): Promise<ParsedPdf>;
  close(): Promise<void>;
}

type Answer = { value: unknown; problem?: undefined } | { problem: string };

const CHECK_MEMORY_MS = 50;
const MAX_HEAP_MEGABYTES = 2048;

/**
 * Opens the thread. A file that takes longer than `parseMs` or more memory than `parseBytes` costs the thread, which is stopped and started
 * again for the next file, and is a ReadProblem.
 */
export function openParseWorker(limits: ReadLimits): ParseWorker {
  let worker: Worker | null = null;
  const stop = async () => {
    const stopped = worker;
    worker = null;
    await stopped?.terminate();
  };
  const parse = async (kind: "docx" | "pdf", bytes: Uint8Array): Promise<unknown> => {
    worker ??= startThread();
    try {
      return await answerOf(worker, { kind, bytes, limits }, limits);
    } catch (error) {
      await stop();
      throw error;
    }
  };
  return {
    docx: async (bytes) => (await parse("docx", bytes)) as string,
    pdf: async (bytes) => (await parse("pdf", bytes)) as ParsedPdf,
    close: stop,
  };
}

function startThread(): Worker {
  const worker = new Worker(new URL("./parse-thread.mjs", import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MEGABYTES },
    // What a parser prints is no output of this program. Nobody reads it: a reader would keep the process alive.
    stdout: true,
    stderr: true,
  });
  // A reading that was given up keeps no process alive; while a file is parsed, the clock does.
  worker.unref();
  // An error between two files, or of a thread that was stopped, has no other reader.
  worker.on("error", () => {});
  return worker;
}

function answerOf(worker: Worker, question: object, limits: ReadLimits): Promise<unknown> {
  return new Promise((done, fail) => {
    const startBytes = process.memoryUsage.rss();
    const memory = setInterval(() => {
      const grown = process.memoryUsage.rss() - startBytes;
      if (grown <= limits.parseBytes) return;
      end(() => fail(new ReadProblem(`needs more than ${limits.parseBytes} bytes of memory (limit parseBytes)`)));
    }, CHECK_MEMORY_MS);
    const clock = setTimeout(() => {
      end(() => fail(new ReadProblem(`was not read after ${limits.parseMs} ms (limit parseMs)`)));
    }, limits.parseMs);
    const onMessage = (answer: Answer) =>
      end(() => {
        if (answer.problem === undefined) done(answer.value);
        else fail(new ReadProblem(`cannot be parsed (${answer.problem})`));
      });
    const onError = (error: unknown) => end(() => fail(new ReadProblem(`cannot be parsed (${messageOf(error)})`)));
    const onExit = () => end(() => fail(new ReadProblem("cannot be parsed (the parser ended)")));
    const end = (settle: () => void) => {
      clearInterval(memory);
      clearTimeout(clock);
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      settle();
    };
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    worker.postMessage(question);
  });
}
