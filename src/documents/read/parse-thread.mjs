// The thread in which PDF and DOCX files are parsed: a file that hangs or fills the memory costs this thread, not the run. It is JavaScript,
// because a thread starts from a file, and tests run without a build. Answers are plain data; parse-worker.ts has their types.
import { parentPort } from "node:worker_threads";
import { createCharacterMaps } from "./character-maps.mjs";

/** Characters of a message of a parser. */
const MESSAGE_CHARACTERS = 300;

async function parseDocx(bytes) {
  const { default: mammoth } = await import("mammoth");
  const { value } = await mammoth.extractRawText({ buffer: Buffer.from(bytes) });
  return value;
}

async function parsePdf(bytes, { textCharacters }) {
  const { getDocumentProxy } = await import("unpdf");
  const maps = createCharacterMaps();
  const pdf = await getDocumentProxy(bytes, {
    verbosity: 0,
    isEvalSupported: false,
    useSystemFonts: false,
    disableFontFace: true,
    useWorkerFetch: false,
    useWasm: false,
    enableXfa: false,
    cMapPacked: false,
    // Nothing is fetched: character maps are made, fonts and colour profiles are not needed for text.
    BinaryDataFactory: class {
      async fetch({ kind, filename }) {
        if (kind === "cMapUrl") return maps.bytesOf(filename);
        throw new Error(`${filename} is not there`);
      }
    },
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
    return { pages, missingMaps: [...maps.missing], hasMadeMap: maps.isMade() };
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
