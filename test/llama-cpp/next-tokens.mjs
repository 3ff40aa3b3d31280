// Runs GGUF files with llama.cpp: node next-tokens.mjs < jobs.json > answers.json
//   jobs:    [{ "model": FILE, "lora": FILE or null, "prompts": [[id, ...], ...], "newTokens": N, "tokenCount": ids from here on only
//              fill the vocabulary up and are not taken, "texts": [TEXT, ...],
//              "chats": whole prompts with their special tokens, or nothing }, ...]
//   answers: [{ "prompts": [{ "logProbabilities": [of each id, after the prompt], "tokens": [N ids, each the likeliest] }, ...],
//               "ids": [[id, ...] of each text, without begin and end marks], "chats": the same of chats }, ...]
// Keys and values are kept in float32 and nothing is approximated, so that only the order of additions differs from ours.
import { text } from "node:stream/consumers";
import { getLlama } from "node-llama-cpp";

const llama = await getLlama({ gpu: false, build: "never", maxThreads: 1, logLevel: "error", skipDownload: true });

/** The probabilities of the token after these. */
async function next(sequence, ids) {
  const asked = { generateNext: { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } };
  const input = ids.map((id, i) => (i === ids.length - 1 ? [id, asked] : id));
  const output = await sequence.controlledEvaluate(input);
  return output[ids.length - 1].next.probabilities;
}

/** The likeliest token; the map has it sorted. */
function best(probabilities, tokenCount) {
  for (const [id] of probabilities) if (id < tokenCount) return id;
  throw new Error("No token has a probability.");
}

async function run({ model: modelPath, lora, prompts, newTokens, tokenCount, texts, chats = [] }) {
  const model = await llama.loadModel({ modelPath, gpuLayers: 0, useMmap: false });
  const context = await model.createContext({
    contextSize: 128,
    batchSize: 128,
    threads: 1,
    flashAttention: false,
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
    ...(lora ? { lora } : {}),
  });
  const sequence = context.getSequence();
  const answers = [];
  for (const prompt of prompts) {
    await sequence.clearHistory();
    let probabilities = await next(sequence, prompt);
    const logProbabilities = [];
    for (const [id, probability] of probabilities) logProbabilities[id] = Math.log(probability);
    const tokens = [];
    while (tokens.length < newTokens) {
      const token = best(probabilities, tokenCount);
      tokens.push(token);
      if (tokens.length < newTokens) probabilities = await next(sequence, [token]);
    }
    answers.push({ logProbabilities, tokens });
  }
  const ids = texts.map((line) => model.tokenize(line, false));
  const chatIds = chats.map((chat) => model.tokenize(chat, true));
  await context.dispose();
  await model.dispose();
  return { prompts: answers, ids, chats: chatIds };
}

const answers = [];
for (const job of JSON.parse(await text(process.stdin))) answers.push(await run(job));
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
