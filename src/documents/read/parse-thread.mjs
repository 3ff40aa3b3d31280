// The thread in which PDF and DOCX files are parsed: a file that hangs or fills the memory costs this thread, not the run. It is JavaScript,
// because a thread starts from a file, and tests run without a build. Answers are plain data; parse-worker.ts has their types.
import { parentPort } from "node:worker_threads";

/** Characters of a message of a parser. */
const MESSAGE_CHARACTERS = 300;

async function parseDocx(bytes) {
  const { default: mammoth } = await import("mammoth");
  const { value } = await mammoth.extractRawText({ buffer: Buffer.from(bytes) });
  return value;
}

/** Fonts that name a character map of Adobe need it to become text; none is fetched. */
class NoBinaryData {
  static missing = new Set();
  async fetch({ kind, filename }) {
    if (kind === "cMapUrl") NoBinaryData.missing.add(filename.replace(/\.bcmap$/, ""));
    throw new Error(`${filename} is not there`);
  }
}

async function parsePdf(bytes, { textCharacters }) {
  const { getDocumentProxy } = await import("unpdf");
  NoBinaryData.missing = new Set();
  const pdf = await getDocumentProxy(bytes, {
    verbosity: 0,
    isEvalSupported: false,
    useSystemFonts: false,
    disableFontFace: true,
    useWorkerFetch: false,
    useWasm: false,
    enableXfa: false,
    BinaryDataFactory: NoBinaryData,
  });
  try {
    const pages = [];
    let characters = 0;
    for (let number = 1; number <= pdf.numPages; number++) {
      const page = await pdf.getPage(number);
      const { items } = await page.getTextContent({ disableNormalization: true });
      const pieces = [];
      for (const { str, transform, width, height, hasEOL } of items) {
        if (str === undefined) continue;
        characters += str.length;
        pieces.push({ text: str, x: transform[4], y: transform[5], width, height, endsLine: hasEOL });
      }
      page.cleanup();
      pages.push(pieces);
      if (characters > textCharacters) return { tooLong: true };
    }
    return { pages, missingMaps: [...NoBinaryData.missing] };
  } finally {
    await pdf.destroy();
  }
}

parentPort.on("message", async ({ kind, bytes, limits }) => {
  try {
    parentPort.postMessage({ value: kind === "docx" ? await parseDocx(bytes) : await parsePdf(bytes, limits) });
  } catch (error) {
    const message = error instanceof Error ? `${error.message}` : String(error);
    parentPort.postMessage({ problem: message.slice(0, MESSAGE_CHARACTERS) });
  }
});
