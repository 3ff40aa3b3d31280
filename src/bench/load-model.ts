import { defaultTargets } from "../adapters/lora-modules.ts";
import { adapterSchema, attachAdapter } from "../adapters/methods.ts";
import { createRandom } from "../base/random.ts";
import type { Backend, WeightStorage } from "../compute/backend.ts";
import { generate } from "../decode/generate.ts";
import { DTYPE_BYTES, elementCount, type TensorDtype } from "../formats/tensor-source.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { loadDecoder } from "../models/load.ts";
import { recipeSchema } from "../recipe/schema.ts";
import { planSteps } from "../train/batches.ts";
import { train } from "../train/train.ts";

export interface LoadOptions {
  storage: WeightStorage;
  /** Of the one training step. */
  sequences: number;
  tokensEach: number;
  newTokens: number;
  onLoad?: (done: number, total: number) => void;
}

export interface LoadResult {
  /** Of the tensors in the files; blocks of few bits do not count. */
  fileBytes: number;
  loadSeconds: number;
  /** Of the process, before the model came. */
  residentBytesBefore: number;
  /** What the weights take when they are loaded, as the backend counts them. */
  weightBytes: number;
  /** The most that the process ever had: when the model was loaded, after the step, after generating. */
  peakBytesLoaded: number;
  peakBytesTrained: number;
  peakBytesGenerated: number;
  stepSeconds: number;
  loss: number;
  generateSeconds: number;
}

const peakResidentBytes = () => process.resourceUsage().maxRSS * 1024;

/** Loads a model folder, makes one LoRA step on random tokens and generates from a random prompt. */
export async function measureLoad(backend: Backend, path: string, options: LoadOptions): Promise<LoadResult> {
  const checkpoint = await openCheckpoint(path);
  const residentBytesBefore = process.memoryUsage.rss();
  const started = performance.now();
  const model = await loadDecoder(backend, checkpoint, {
    storage: options.storage,
    trainable: false,
    onProgress: options.onLoad,
  }).finally(() => checkpoint.source.close());
  await backend.sync();
  const loadSeconds = (performance.now() - started) / 1000;
  const { bytes: weightBytes } = backend.memory();
  const peakBytesLoaded = peakResidentBytes();

  const random = createRandom(1);
  const ids = (count: number) => Int32Array.from({ length: count }, () => random.below(model.spec.tokenCount));
  const examples = Array.from({ length: options.sequences }, () => {
    const promptTokens = options.tokensEach >> 1;
    return { promptIds: ids(promptTokens), answerIds: ids(options.tokensEach - promptTokens) };
  });
  const targets = [...defaultTargets(model.spec.family)];
  const groups = await attachAdapter(model, adapterSchema.parse({ method: "lora", dropout: 0, targets }), 1);
  const settings = recipeSchema.shape.train.parse({
    epochs: 1,
    batchExamples: options.sequences,
    learningRate: 1e-4,
    recompute: true,
  });
  let [loss, stepSeconds] = [0, 0];
  for await (const step of train(model, groups, examples, planSteps(examples.length, settings, 1), settings, 1)) {
    [loss, stepSeconds] = [step.loss, step.seconds];
  }
  const peakBytesTrained = peakResidentBytes();

  const generating = performance.now();
  await generate(model, [ids(32)], { maxNewTokens: options.newTokens, eosId: null });
  return {
    fileBytes: [...checkpoint.source.tensors.values()].reduce(
      (sum, { dtype, shape }) => sum + (DTYPE_BYTES[dtype as TensorDtype] ?? 0) * elementCount(shape),
      0,
    ),
    loadSeconds,
    residentBytesBefore,
    weightBytes,
    peakBytesLoaded,
    peakBytesTrained,
    peakBytesGenerated: peakResidentBytes(),
    stepSeconds,
    loss,
    generateSeconds: (performance.now() - generating) / 1000,
  };
}
