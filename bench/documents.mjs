// Prints the speed of the sentence splitter and of the readers of many documents, and the peak of resident memory while reading:
//   node bench/documents.mjs sentences FILE [--megabytes 20]      a text in UTF-8; the median of 7 passes over its first megabytes
//   node bench/documents.mjs read FILE|FOLDER …                   documents, MB/s of the files, and resident memory at its highest
import { readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { codePointOffsets } from "../dist/documents/offsets.js";
import { emptyReadCounts } from "../dist/documents/read/format.js";
import { readDocuments } from "../dist/documents/read/read-documents.js";
import { splitSentences } from "../dist/documents/sentences.js";

const PASSES = 7;
const MEGABYTE = 1e6;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { megabytes: { type: "string" } } });
const [what, ...files] = positionals;
if (!["sentences", "read"].includes(what) || files.length === 0) {
  console.error("usage: node bench/documents.mjs sentences FILE [--megabytes 20] | read FILE|FOLDER …");
  process.exit(1);
}

function median(numbers) {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1];
}

function timeSentences(file) {
  const bytes = readFileSync(file).subarray(0, Number(values.megabytes ?? 20) * MEGABYTE);
  const text = bytes.toString("utf8");
  const speedOf = (work) => {
    const speeds = Array.from({ length: PASSES }, () => {
      const start = performance.now();
      work();
      return bytes.length / 1e3 / (performance.now() - start);
    });
    return median(speeds).toFixed(0);
  };
  const { length } = splitSentences(text);
  const sentences = speedOf(() => splitSentences(text));
  const offsets = speedOf(() => codePointOffsets(text));
  console.log(`${file}: ${length} sentences, ${sentences} MB/s; offsets ${offsets} MB/s`);
}

async function timeReading() {
  const counts = emptyReadCounts();
  let characters = 0;
  let peak = 0;
  const start = performance.now();
  for await (const item of readDocuments(files, { counts })) {
    if (!("bad" in item)) characters += item.text.length;
    if ((counts.documents & 1023) === 0) peak = Math.max(peak, process.memoryUsage.rss());
  }
  peak = Math.max(peak, process.memoryUsage.rss());
  const seconds = (performance.now() - start) / 1e3;
  const bytes = files.reduce((sum, file) => sum + (statSync(file).isFile() ? statSync(file).size : 0), 0);
  const speed = bytes === 0 ? "" : `, ${(bytes / MEGABYTE / seconds).toFixed(0)} MB/s`;
  console.log(
    `${counts.documents} documents, ${characters} characters, ${seconds.toFixed(1)} s${speed}, ${(peak / MEGABYTE).toFixed(0)} MB`,
  );
  if (counts.bad > 0) console.log(`${counts.bad} bad`);
}

if (what === "sentences") for (const file of files) timeSentences(file);
else await timeReading();
