import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { isUnable, weightsOf } from "../src/adapters/method.ts";
import { adapterSchema, attachAdapter, methodOf } from "../src/adapters/methods.ts";
import { createRandom } from "../src/base/random.ts";
import type { Backend } from "../src/compute/backend.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { saveHuggingFaceFolder } from "../src/formats/hf-folder.ts";
import { tensorsToWrite } from "../src/formats/merge-lora.ts";
import { openCheckpoint } from "../src/models/checkpoint.ts";
import type { Decoder } from "../src/models/decoder.ts";
import { loadDecoder } from "../src/models/load.ts";
import { saveDecoder } from "../src/models/save.ts";
import { temporaryFolder } from "./e2e/support.ts";
import { worstOf } from "./golden/backends.ts";
import { TINY_FAMILIES } from "./tiny-families.ts";
import { randomIds, sequenceLogits, tinyDecoder } from "./tiny-model.ts";

// Adapters of ours in PEFT (Python): the same logits. The other way round, adapters of PEFT here, is test/golden/peft-methods.test.ts.

const PYTHON = process.env.CRE_PYTHON || "python3";
const LIBRARIES = "import torch, transformers, peft";
const found = spawnSync(PYTHON, ["-c", `${LIBRARIES}; print(peft.__version__)`], { encoding: "utf8" });
const installed = found.status === 0;
if (!installed) {
  const reason = found.error?.message ?? found.stderr.trim().split("\n").at(-1);
  console.warn(`peft.test.ts: skipped, "${LIBRARIES}" fails in ${PYTHON} (${reason}); CRE_PYTHON names another one`);
}

const temporary = temporaryFolder("peft");
afterAll(() => temporary.remove());
let count = 0;
const newFolder = () => join(temporary.path, String(count++));

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

const SEQUENCES = [randomIds(createRandom(1), 9), randomIds(createRandom(2), 1), randomIds(createRandom(3), 30)];
const ADAPTERS = [
  { method: "lora", rank: 3, alpha: 6, targets: "all", scaling: "rslora", learningRateRatio: 4 },
  { method: "dora", rank: 3, alpha: 6, targets: "all" },
  { method: "dora", rank: 2, alpha: 6, targets: ["q_proj", "down_proj"], scaling: "rslora" },
  { method: "prefix", virtualTokens: 7 },
  { method: "prefix", virtualTokens: 1, encoderWidth: 5 },
].map((values) => adapterSchema.parse(values));

async function ours(model: Decoder): Promise<number[]> {
  const logits: number[] = [];
  for (const ids of SEQUENCES) logits.push(...Array.from(await sequenceLogits(model, ids)));
  return logits;
}

/** A model that PEFT is to load, with the logits that it has here. */
interface Case {
  name: string;
  base: string;
  adapter: string | null;
  logits: number[];
}

function theirs(models: readonly Pick<Case, "base" | "adapter">[]): number[][] {
  const input = JSON.stringify({ models, sequences: SEQUENCES });
  const script = join(import.meta.dirname, "peft", "logits.py");
  const { status, stdout, stderr } = spawnSync(PYTHON, ["-P", script], { input, encoding: "utf8", maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

async function reload(directory: string): Promise<Decoder> {
  const checkpoint = await openCheckpoint(directory);
  try {
    return await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
  } finally {
    await checkpoint.source.close();
  }
}

/** A base, every adapter on it, and what is merged of DoRA. */
async function casesOf(family: string): Promise<Case[]> {
  const base = newFolder();
  const spec = TINY_FAMILIES[family];
  await saveDecoder(await tinyDecoder(backend, { seed: 5, spec, deviation: 0.3 }), base, { dtype: "F32" });
  const cases: Case[] = [{ name: family, base, adapter: null, logits: await ours(await reload(base)) }];
  const random = createRandom(4);
  for (const settings of ADAPTERS) {
    const model = await reload(base);
    const { saved } = methodOf(settings);
    if (saved.kind !== "adapter") throw new Error("no adapter");
    for (const weight of weightsOf(await attachAdapter(model, settings, 6))) {
      const values = await backend.readWeight(weight);
      backend.writeWeight(
        weight,
        values.map((value) => value * (1 + 0.2 * random.normal()) + 0.2 * random.normal()),
      );
    }
    const adapter = newFolder();
    await saved.save(model, settings, adapter, base);
    const logits = await ours(model);
    expect(worstOf(logits, cases[0].logits).difference).toBeGreaterThan(0.1);
    const name = `${family}, ${JSON.stringify(settings)}`;
    cases.push({ name, base, adapter, logits });
    if (settings.method !== "dora" || isUnable(saved.merge)) continue;
    const checkpoint = await openCheckpoint(base);
    const merged = newFolder();
    const { tensors, close } = await saved.merge(tensorsToWrite(checkpoint.source), adapter, merged);
    await saveHuggingFaceFolder(merged, { ...checkpoint.config }, tensors);
    await Promise.all([close(), checkpoint.source.close()]);
    cases.push({ name: `${name}, merged`, base: merged, adapter: null, logits });
  }
  return cases;
}

describe.skipIf(!installed)("adapters of ours in PEFT", () => {
  it("compute the same, on every family that transformers has", async () => {
    const cases: Case[] = [];
    for (const family of ["llama", "qwen2", "qwen3"]) cases.push(...(await casesOf(family)));
    const answers = theirs(cases);
    for (const [i, { name, logits }] of cases.entries()) {
      expect({ name, ...worstOf(answers[i], logits) }).toSatisfy(({ difference }) => difference < 1e-4);
    }
  }, 600_000);
});
