import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadLora, saveLora } from "../../src/adapters/lora-files.ts";
import { detachLora } from "../../src/adapters/lora-weights.ts";
import { createTape } from "../../src/compute/autograd.ts";
import type { Backend, Weight } from "../../src/compute/backend.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import type { SafetensorsFile } from "../../src/formats/safetensors-read.ts";
import { openCheckpoint } from "../../src/models/checkpoint.ts";
import { type Decoder, decoderWeights, forward } from "../../src/models/decoder.ts";
import { loadDecoder } from "../../src/models/load.ts";
import { saveDecoder } from "../../src/models/save.ts";
import { TESTED_BACKENDS, worstOf } from "./backends.ts";
import { lossAndGradients, packed } from "./loss-and-gradients.ts";

/** Folders made by test/golden/make/families.py; each golden.json says with which libraries, and whose modelling code. */
const FAMILIES = [
  ...(["qwen2", "qwen3", "chatglm2", "baichuan2-7b", "baichuan2-13b", "baichuan2-13b-six-heads"] as const),
  ...(["mistral", "glm4", "llama3", "llama-linear", "qwen2-yarn"] as const),
];

interface Golden {
  origin: string;
  sequences: number[][];
  promptTokens: number[];
  base: { lastLogits: number[][]; loss: number };
  adapted: { lastLogits: number[][]; loss: number };
}

async function loadFrom(backend: Backend, directory: string, trainable = false): Promise<Decoder> {
  const checkpoint = await openCheckpoint(directory);
  try {
    const storage = backend.precision === "bfloat16" ? "bfloat16" : "float32";
    return await loadDecoder(backend, checkpoint, { storage, trainable });
  } finally {
    await checkpoint.source.close();
  }
}

async function logitsOf(model: Decoder, golden: Golden): Promise<ArrayLike<number>> {
  const tape = createTape(model.backend, { record: false });
  try {
    return await model.backend.read(forward(model, tape, packed(golden).tokens).tensor);
  } finally {
    tape.dispose();
  }
}

/** The length of the difference as a share of the length of the wanted numbers, beside the worst difference. */
function compare(got: ArrayLike<number>, wanted: ArrayLike<number>) {
  const worst = worstOf(got, wanted);
  const difference = Math.hypot(...Array.from(wanted, (value, i) => value - got[i]));
  return { ...worst, relative: difference / Math.hypot(...Array.from(wanted)) };
}

/** Weights of the decoder by the tensor that keeps them: "name:slot" is a part of "name". */
function byTensor(weights: readonly Weight[]): Map<string, Weight[]> {
  const tensors = new Map<string, Weight[]>();
  for (const weight of weights) {
    const [name] = weight.name.split(":");
    tensors.set(name, [...(tensors.get(name) ?? []), weight]);
  }
  return tensors;
}

/** The gradients of all that the file has under a prefix, ours and PyTorch's, one behind the other; each must be there. */
async function gradients(model: Decoder, numbers: SafetensorsFile, prefix: string) {
  const parts = byTensor(decoderWeights(model));
  const got: number[] = [];
  const wanted: number[] = [];
  let count = 0;
  for (const key of numbers.tensors.keys()) {
    if (!key.startsWith(prefix) || key.endsWith(".logits")) continue;
    const weights = parts.get(key.slice(prefix.length).replace(/(lora_[AB])\.weight$/, "$1"));
    if (!weights) throw new Error(`The decoder has nothing for ${key}.`);
    for (const weight of weights) got.push(...(await model.backend.readWeight(weight, "gradient")));
    wanted.push(...(await numbers.read(key)));
    count++;
  }
  return { got, wanted, count };
}

describe.each(FAMILIES)("%s of its makers with an adapter of PEFT", (family) => {
  const folder = join(import.meta.dirname, family);
  const adapter = join(folder, "adapter");
  const golden = JSON.parse(readFileSync(join(folder, "golden.json"), "utf8")) as Golden;

  describe.each(TESTED_BACKENDS)("on $name", ({ open, exact }) => {
    let backend: Backend;
    let numbers: SafetensorsFile;
    beforeEach(async () => {
      backend = open();
      numbers = await openSafetensors(join(folder, "numbers.safetensors"));
    });
    afterEach(async () => {
      await numbers.close();
      await backend.close();
    });
    const scratch = mkdtempSync(join(tmpdir(), `cre-golden-${family}-`));
    afterAll(() => rmSync(scratch, { recursive: true }));

    const expectNear = (got: ArrayLike<number>, wanted: ArrayLike<number>) => {
      const found = compare(got, wanted);
      expect(found).toSatisfy(({ difference, relative }) => (exact ? difference < 1e-4 : relative < 3e-2));
    };

    it("gives the logits, loss and gradients of the official implementation", async () => {
      const model = await loadFrom(backend, folder, true);
      const logits = await logitsOf(model, golden);
      expectNear(logits, await numbers.read("base.logits"));
      const last = packed(golden).lastRows.map((row) =>
        Array.from(logits).slice(row * model.spec.vocabularySize, (row + 1) * model.spec.vocabularySize),
      );
      expectNear(last.flat(), golden.base.lastLogits.flat());
      const loss = await lossAndGradients(model, packed(golden));
      expectNear([loss], [golden.base.loss]);
      const { got, wanted, count } = await gradients(model, numbers, "base.");
      // Norms of both layers and the last one; biases and further norms come to these.
      expect(count).toBeGreaterThanOrEqual(5);
      expectNear(got, wanted);
    });

    it("gives the same with the adapter, and its gradients", async () => {
      const model = await loadFrom(backend, folder);
      const settings = await loadLora(model, adapter, { trainable: true });
      expect(settings).toMatchObject({ rank: 2, alpha: 8, dropout: 0 });
      expectNear(await logitsOf(model, golden), await numbers.read("adapted.logits"));
      const loss = await lossAndGradients(model, packed(golden));
      expectNear([loss], [golden.adapted.loss]);
      const { got, wanted, count } = await gradients(model, numbers, "adapter.base_model.model.");
      // Both halves for one fused target or two of their own, in both layers.
      expect(count).toBe(/^(chatglm|baichuan)/.test(family) ? 4 : 8);
      expectNear(got, wanted);
    });

    it("gives the logits that PEFT gives with an adapter trained here", async () => {
      const trained = await openSafetensors(join(folder, "trained", "numbers.safetensors"));
      const model = await loadFrom(backend, folder);
      await loadLora(model, join(folder, "trained"));
      expectNear(await logitsOf(model, golden), await trained.read("logits"));
      await trained.close();
    });

    if (!exact) return;
    it("saves model and adapter as their makers have them", async () => {
      const model = await loadFrom(backend, folder);
      const base = await logitsOf(model, golden);
      await saveDecoder(model, join(scratch, "saved"), { dtype: "F32" });
      const settings = await loadLora(model, adapter);
      await saveLora(model, settings, join(scratch, "adapter"), folder);
      detachLora(model);
      expect(await logitsOf(await loadFrom(backend, join(scratch, "saved")), golden)).toEqual(base);
      const [ours, theirs] = await Promise.all(
        [join(scratch, "adapter"), adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
      );
      expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort());
      for (const name of theirs.tensors.keys()) expect(await ours.read(name)).toEqual(await theirs.read(name));
      await ours.close();
      await theirs.close();
    });
  });
});
