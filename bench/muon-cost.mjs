#!/usr/bin/env node
// What an update by Muon costs: processor seconds of the updates of a model's matrices, and of the passes of a step.
//
//   node bench/muon-cost.mjs [--model models/base-zh] [--tokens 16384] [--rounds 3]
//
// Processor time, not time by the clock: other programs may run meanwhile. A step reads --tokens in passes of 4,096.
import { parseArgs } from "node:util";
import { createTape } from "../dist/compute/autograd.js";
import { openBackend } from "../dist/compute/open.js";
import { openCheckpoint } from "../dist/models/checkpoint.js";
import { decoderWeights, forward } from "../dist/models/decoder.js";
import { loadDecoder } from "../dist/models/load.js";
import { muonWeights } from "../dist/pretrain/pretrain.js";

const PASS_TOKENS = 4096;
const SEQUENCE_TOKENS = 512;

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "models/base-zh" },
    tokens: { type: "string", default: "16384" },
    rounds: { type: "string", default: "3" },
  },
});
const backend = openBackend("auto", () => {});
const checkpoint = await openCheckpoint(values.model);
const model = await loadDecoder(backend, checkpoint, { storage: "bfloat16", trainable: true });
await checkpoint.source.close();
const { matrices, rest } = muonWeights(model, decoderWeights(model));
const adamW = {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  step: 1,
  gradientScale: 1,
};
const muon = { learningRate: 1e-4, momentum: 0.95, weightDecay: 0.1 };

/** A pass forward and back over ids that no text has: the work is the same. */
function pass() {
  const ids = Int32Array.from({ length: PASS_TOKENS }, (_, i) => (i * 7919) % model.spec.vocabularySize);
  const segments = Array.from({ length: PASS_TOKENS / SEQUENCE_TOKENS }, (_, s) => {
    const start = s * SEQUENCE_TOKENS;
    return { start, length: SEQUENCE_TOKENS, keyStart: start, position: 0, context: [] };
  });
  const tape = createTape(backend, { record: true });
  const weights = new Float32Array(PASS_TOKENS).fill(1 / PASS_TOKENS);
  tape.backward(tape.crossEntropy(forward(model, tape, { ids, segments }), ids, weights));
}

async function processorSeconds(work) {
  await backend.sync();
  const before = process.cpuUsage();
  work();
  await backend.sync();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

const kinds = {
  "pass of 4,096 tokens": pass,
  "AdamW, matrices": () => backend.adamW(matrices, adamW),
  "AdamW, the rest": () => backend.adamW(rest, adamW),
  "Muon, matrices": () => backend.muon(matrices, muon),
};
const medians = {};
for (const kind of Object.keys(kinds)) medians[kind] = [];
for (let round = 0; round <= Number(values.rounds); round++) {
  for (const [kind, work] of Object.entries(kinds)) {
    const seconds = await processorSeconds(work);
    // The first round warms up.
    if (round > 0) medians[kind].push(seconds);
  }
}
for (const [kind, all] of Object.entries(medians)) {
  medians[kind] = all.sort((a, b) => a - b)[all.length >> 1];
  console.log(`${kind.padEnd(22)} ${medians[kind].toFixed(3)} s`);
}
const passes = (Number(values.tokens) / PASS_TOKENS) * medians["pass of 4,096 tokens"] + medians["AdamW, the rest"];
const [byAdamW, byMuon] = [passes + medians["AdamW, matrices"], passes + medians["Muon, matrices"]];
console.log(
  `a step of ${values.tokens} tokens: AdamW ${byAdamW.toFixed(2)} s, Muon ${byMuon.toFixed(2)} s of processor time`,
);
console.log(`Muon costs ${(100 * (byMuon / byAdamW - 1)).toFixed(1)} % more (${backend.description})`);
await backend.close();
