import { createRandom } from "../base/random.ts";
import type { Backend, WeightStorage } from "../compute/backend.ts";
import { measureReadSpeed } from "../compute/peak.ts";
import { generate } from "../decode/generate.ts";
import type { ShapeName } from "./shapes.ts";
import { median, randomDecoder } from "./train-step.ts";

export interface DecodeOptions {
  shape: ShapeName;
  layers?: number;
  storage: WeightStorage;
  /** Sequences continued together. */
  rows: number;
  promptTokens: number;
  newTokens: number;
}

export interface DecodeResult {
  /** Median time of one new token of every sequence, the first one (which reads the prompt) left out. */
  secondsPerToken: number;
  /** Wall and processor time until the first new token, for which every prompt is read; the second of two generations. */
  prompt: { seconds: number; processorSeconds: number };
  /** Weights that every token reads. */
  weightBytes: number;
  /** Bytes a second that memory gives, in 10⁹, before and after, the better one; null on the reference backend. */
  readGigabytes: number | null;
}

/** Times greedy decoding on random weights. */
export async function measureDecode(backend: Backend, options: DecodeOptions): Promise<DecodeResult> {
  const { rows, promptTokens, newTokens } = options;
  const model = await randomDecoder(backend, options.shape, options.layers, options.storage);
  await backend.sync();
  // Of the embedding only the rows of the tokens are read.
  const { vocabularySize, width, tiedHead } = model.spec;
  const tableBytes = tiedHead ? 0 : vocabularySize * width * (backend.precision === "bfloat16" ? 2 : 4);
  const weightBytes = backend.memory().bytes - tableBytes;
  const before = await measureReadSpeed(backend);
  const random = createRandom(3);
  const prompts = Array.from({ length: rows }, () =>
    Int32Array.from({ length: promptTokens }, () => random.below(vocabularySize)),
  );
  const times: number[] = [];
  await generate(model, prompts, { maxNewTokens: 1, eosId: null });
  const [started, usage] = [performance.now(), process.cpuUsage()];
  let used = { user: 0, system: 0 };
  await generate(model, prompts, {
    maxNewTokens: newTokens,
    eosId: null,
    onToken: (index) => {
      if (index !== 0) return;
      if (times.length === 0) used = process.cpuUsage(usage);
      times.push(performance.now());
    },
  });
  const after = await measureReadSpeed(backend);
  const seconds = times.slice(1).map((time, i) => (time - times[i]) / 1000);
  const readGigabytes = before === null || after === null ? null : Math.max(before, after);
  const prompt = { seconds: (times[0] - started) / 1e3, processorSeconds: (used.user + used.system) / 1e6 };
  return { secondsPerToken: median(seconds), prompt, weightBytes, readGigabytes };
}
