// How fast a dictionary of names is loaded and matched, on one core:
//   node bench/dictionary.mjs [NAMES] [TEXT]
// Writes a CSV of NAMES (default 1,000,000) generated names with types, ids and aliases to a temporary folder, loads it in a process of its
// own (time, peak resident memory), then finds its names in 20 MB of text: TEXT (.txt or .txt.gz), or by default the demonstration's
// sentences, each followed by one of the names.
import { execFileSync } from "node:child_process";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { gunzipSync } from "node:zlib";
import { createRandom } from "../dist/base/random.js";
import { readDictionary } from "../dist/documents/dictionary.js";

const TEXT_BYTES = 20e6;
const DOCUMENT_CHARACTERS = 5000;
const ROUNDS = 5;
const ENDINGS = ["有限公司", "股份有限公司", "集团", "银行", "科技", "大学", "医院", "证券", "药业", ""];
const TYPES = ["公司", "人物", "地点", "机构"];

if (process.argv[2] === "--measure") await measure(process.argv[3], process.argv[4]);
else await main(Number(process.argv[2] ?? 1_000_000), process.argv[3]);

async function main(count, textFile) {
  const folder = mkdtempSync(join(tmpdir(), "cre-dictionary-"));
  try {
    const sentences = demoSentences();
    const csv = join(folder, "names.csv");
    const names = await writeNames(csv, count, textFile === undefined ? sentences.join("") : readText(textFile));
    let text = textFile === undefined ? "" : readText(textFile);
    if (textFile === undefined) {
      const parts = [];
      for (let bytes = 0, i = 0; bytes < TEXT_BYTES; i++) {
        const part = `${sentences[i % sentences.length]}${names[(i * 7919) % names.length]}。`;
        parts.push(part);
        bytes += Buffer.byteLength(part);
      }
      text = parts.join("");
    }
    const file = join(folder, "text.txt");
    const stream = createWriteStream(file);
    stream.end(text);
    await finished(stream);
    const output = execFileSync(process.execPath, [import.meta.filename, "--measure", csv, file], { encoding: "utf8" });
    process.stdout.write(output);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(csv, textFile) {
  const before = process.memoryUsage().rss;
  const [cpu, started] = [process.cpuUsage(), performance.now()];
  const dictionary = await readDictionary([csv]);
  const { user, system } = process.cpuUsage(cpu);
  const seconds = (performance.now() - started) / 1000;
  const peak = process.resourceUsage().maxRSS * 1024;
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
  const { counts } = dictionary;
  console.log(`file        ${megabytes(statSync(csv).size)}, ${counts.rows} rows, ${counts.badRows} bad`);
  console.log(`names       ${counts.names} of ${counts.entities} entities, ${counts.ambiguous} ambiguous`);
  console.log(`load        ${seconds.toFixed(2)} s (${((user + system) / 1e6).toFixed(2)} s of processor time)`);
  console.log(`peak memory ${megabytes(peak)} resident (${megabytes(before)} before)`);
  const text = readFileSync(textFile, "utf8").slice(0, TEXT_BYTES);
  const documents = [];
  for (let at = 0; at < text.length; at += DOCUMENT_CHARACTERS) {
    documents.push({ id: "", text: text.slice(at, at + DOCUMENT_CHARACTERS), fields: {} });
  }
  const bytes = documents.reduce((sum, document) => sum + Buffer.byteLength(document.text), 0);
  for (const overlap of ["longest", "all"]) {
    const finder = dictionary.finder(overlap);
    const speeds = [];
    let mentions = 0;
    for (let round = 0; round < ROUNDS; round++) {
      mentions = 0;
      const start = process.cpuUsage();
      for (const document of documents) mentions += finder.find(document, []).length;
      const { user } = process.cpuUsage(start);
      speeds.push(bytes / user);
    }
    speeds.sort((a, b) => a - b);
    const [median, best] = [speeds[ROUNDS >> 1], speeds[ROUNDS - 1]].map((speed) => speed.toFixed(1));
    console.log(
      `${overlap.padEnd(11)} ${median} MB/s of UTF-8 in the median, ${best} at best; ${mentions} mentions in ${megabytes(bytes)}`,
    );
  }
}

function readText(file) {
  const bytes = readFileSync(file);
  return (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
}

function demoSentences() {
  const rows = readFileSync(join(import.meta.dirname, "..", "demo", "train.jsonl"), "utf8")
    .trim()
    .split("\n");
  return [...new Set(rows.map((row) => JSON.parse(row).sentence))];
}

/** Names of two characters of the text, two or three drawn ones, and an ending; every fourth row has an alias. Returns some of them. */
async function writeNames(file, count, text) {
  const random = createRandom(1);
  const characters = Array.from(text.slice(0, 2_000_000)).filter((character) => /\p{Script=Han}/u.test(character));
  const draw = () => characters[random.below(characters.length)];
  const stream = createWriteStream(file);
  const kept = [];
  let lines = ["name,type,id,aliases\n"];
  for (let i = 0; i < count; i++) {
    const at = random.below(characters.length - 1);
    const middle = draw() + draw() + (i % 2 === 0 ? draw() : "");
    const short = characters[at] + characters[at + 1] + middle;
    const name = short + ENDINGS[random.below(ENDINGS.length)];
    const alias = i % 4 === 0 ? short : "";
    lines.push(`${name},${TYPES[random.below(TYPES.length)]},Q${i},${alias}\n`);
    if (i % 1000 === 0) kept.push(name);
    if (lines.length < 10_000) continue;
    stream.write(lines.join(""));
    lines = [];
  }
  stream.end(lines.join(""));
  await finished(stream);
  return kept;
}
