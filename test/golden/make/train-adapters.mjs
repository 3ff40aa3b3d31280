// Trains an adapter on each of the families' folders in test/golden (or on those named) with this project and saves it as trained/, for PEFT to load:
//   npm run build && node test/golden/make/train-adapters.mjs [FAMILY ...] && python -P test/golden/make/families.py --trained FAMILY ... [--code DIR]
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { saveLora } from "../../../dist/adapters/lora-files.js";
import { attachLora, loraWeights } from "../../../dist/adapters/lora-weights.js";
import { createTape } from "../../../dist/compute/autograd.js";
import { openReference } from "../../../dist/compute/reference/backend.js";
import { openCheckpoint } from "../../../dist/models/checkpoint.js";
import { forward } from "../../../dist/models/decoder.js";
import { loadDecoder } from "../../../dist/models/load.js";

const FAMILIES = [
  ...["qwen2", "qwen3", "chatglm2", "baichuan2-7b", "baichuan2-13b", "baichuan2-13b-six-heads"],
  ...["mistral", "glm4", "llama3", "llama-linear", "qwen2-yarn"],
];
const LORA = { rank: 3, alpha: 6, dropout: 0, targets: "all" };
const SEED = 5;
const STEPS = 6;
const ADAM = { learningRate: 0.02, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, gradientScale: 1 };

const named = process.argv.slice(2);
for (const family of named.length > 0 ? named : FAMILIES) {
  const folder = join(import.meta.dirname, "..", family);
  const { sequences } = JSON.parse(readFileSync(join(folder, "golden.json"), "utf8"));
  const ids = sequences.at(-1);
  const backend = openReference({ precision: "float32" });
  const checkpoint = await openCheckpoint(folder);
  const model = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
  await checkpoint.source.close();
  attachLora(model, LORA, SEED);
  const weights = loraWeights(model);
  const losses = [];
  for (let step = 1; step <= STEPS; step++) {
    const tape = createTape(backend, { record: true });
    backend.zeroGradients(weights);
    const count = ids.length - 1;
    const logits = forward(model, tape, {
      ids: Int32Array.from(ids),
      positions: Int32Array.from(ids.keys()),
      segments: [{ start: 0, length: ids.length, keyStart: 0, position: 0, context: [] }],
      outputRows: Int32Array.from({ length: count }, (_, i) => i),
    });
    const loss = tape.crossEntropy(logits, Int32Array.from(ids.slice(1)), new Float32Array(count).fill(1 / count));
    losses.push((await backend.read(loss.tensor))[0].toFixed(3));
    tape.backward(loss);
    tape.dispose();
    backend.adamW(weights, { ...ADAM, step });
  }
  await saveLora(model, LORA, join(folder, "trained"), null);
  await backend.close();
  console.log(family, losses.join(" "));
}
