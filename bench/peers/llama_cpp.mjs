// Greedy answers of llama.cpp (node-llama-cpp) to the prompts of bench/compare.mjs, a turn for every line "step" of standard input:
//   node bench/peers/llama_cpp.mjs --work FILE --model FILE.gguf --package DIR [--sequences 1] [--threads 2]
// DIR has node-llama-cpp in its node_modules (test/llama-cpp). Each sequence keeps the beginning that a prompt shares with the one before it.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { fail, options, serveTurns, stopwatch, wholeNumber } from "../compare/protocol.mjs";

const given = options({
  work: { type: "string" },
  model: { type: "string" },
  package: { type: "string" },
  sequences: { type: "string", default: "1" },
  threads: { type: "string", default: "2" },
});
for (const name of ["work", "model", "package"]) if (given[name] === undefined) fail(`--${name} is missing.`);
const threads = wholeNumber("--threads", given.threads);
const count = wholeNumber("--sequences", given.sequences);
const folder = resolve(given.package, "node_modules", "node-llama-cpp");
if (!existsSync(folder)) fail(`${given.package}: has no node_modules/node-llama-cpp (npm ci --prefix test/llama-cpp).`);
const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const entry = createRequire(join(folder, "..", "..", "package.json")).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(entry).href);

const { rows, eosId, maxNewTokens } = JSON.parse(readFileSync(given.work, "utf8"));
const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: threads,
  logLevel: "error",
  skipDownload: true,
});
const model = await llama.loadModel({ modelPath: given.model, gpuLayers: 0 });
const longest = Math.max(...rows.map(({ promptIds }) => promptIds.length));
const context = await model.createContext({ contextSize: longest + maxNewTokens, sequences: count, threads });
const sequences = Array.from({ length: count }, () => context.getSequence());

/** The ids of an answer, without the end token. */
async function answer(sequence, promptIds) {
  await sequence.adaptStateToTokens(promptIds, false);
  const left = promptIds.slice(sequence.nextTokenIndex);
  const ids = [];
  // The last token of the prompt is always read: its logits are not kept.
  const fed = left.length > 0 ? left : promptIds.slice(-1);
  if (left.length === 0)
    await sequence.eraseContextTokenRanges([{ start: promptIds.length - 1, end: promptIds.length }]);
  for await (const token of sequence.evaluate(fed, { temperature: 0, yieldEogToken: true })) {
    if (token === eosId || ids.push(token) >= maxNewTokens) break;
  }
  return ids;
}

async function answers(some) {
  const found = [];
  let next = 0;
  await Promise.all(
    sequences.map(async (sequence) => {
      while (next < some.length) {
        const at = next++;
        found[at] = await answer(sequence, some[at].promptIds);
      }
    }),
  );
  return found;
}

await answers(rows.slice(0, 4));
await serveTurns(
  { versions: { "node-llama-cpp": version }, precision: given.model.split("-").at(-1), threads },
  async (turn) => {
    const read = stopwatch();
    const answerIds = await answers(rows);
    return { rows: rows.length, ...read(), ...(turn === 1 && { answerIds }) };
  },
);
process.exit(0);
