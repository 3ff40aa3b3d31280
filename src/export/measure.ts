import { existsSync } from "node:fs";
import { messageOf, UserError } from "../base/errors.ts";
import { openBackend } from "../compute/open.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import { createExtractor, type Extractor } from "../extract/extractor.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { readSpec } from "../models/families/registry.ts";
import { loadDecoder } from "../models/load.ts";
import type { Recipe } from "../recipe/schema.ts";
import { expectRoom, weightNeed } from "../runs/memory.ts";
import { openTrained } from "../runs/open.ts";

const ROWS = 20;

/**
 * What an export changed: the largest change of a label's probability on the first rows of the run's data, the run against what was written,
 * as a sentence. Says why where that cannot be measured: without the rows, without the memory.
 */
export async function measureChange(run: string, recipe: Recipe, written: string): Promise<string> {
  try {
    const rows = await firstRows(recipe);
    if (typeof rows === "string") return `Not measured: ${rows}.`;
    const { before, after } = await probabilitiesOf(run, rows, written);
    const changes = before.flatMap((row, i) => Array.from(row, (value, label) => Math.abs(value - after[i][label])));
    const kept = before.filter((row, i) => best(row) === best(after[i])).length;
    const most = Math.max(...changes);
    return `On ${rows.length} rows of the run's data the probability of a label changed by ${shownChange(most)} at most; the most probable label stayed for ${kept} of ${rows.length}.${most > 0.01 ? " `--type F32` changes less." : ""}`;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return `Not measured: ${messageOf(error)}`;
  }
}

const shownChange = (value: number) => (value < 1e-6 ? "less than 0.000001" : value.toPrecision(2));
const best = (row: Float64Array) => row.indexOf(Math.max(...row));

/** Rows that the run was validated on, or others of its data; a text where there are none. */
async function firstRows({ data }: Recipe): Promise<Example[] | string> {
  if (data.path === undefined || !existsSync(data.path)) return "the data folder of the run is not there";
  const dataset = await openDataset(data.path, { format: data.format, normalize: data.normalize });
  const [split] = [...dataset.splitNames].sort((a, b) => Number(b === "valid") - Number(a === "valid"));
  if (split === undefined) return "the data folder has no rows";
  const { examples } = await dataset.split(split, { onBadRow: "skip" });
  return examples.slice(0, ROWS);
}

/** Label probabilities of the run, then of what was written: one model is in memory at a time. */
async function probabilitiesOf(run: string, rows: readonly Example[], written: string) {
  const opened = await openTrained(run);
  const { recipe, tokenizer, renderer } = opened;
  const settings = { ...opened.extractor.settings, method: "labels", bothDirections: false } as const;
  const ask = async (model: Parameters<typeof createExtractor>[0]): Promise<Float64Array[]> => {
    const extractor: Extractor = createExtractor(model, tokenizer, renderer, settings, recipe.data.normalize);
    return (await extractor.extract(rows)).map(({ modelProbabilities }) => modelProbabilities);
  };
  let before: Float64Array[];
  try {
    before = await ask(opened.model);
  } finally {
    await opened.close();
  }
  const checkpoint = await openCheckpoint(written);
  const backend = openBackend(recipe.precision);
  try {
    const isFloat32 = [...checkpoint.source.tensors.values()].every(({ dtype }) => dtype === "F32");
    const storage = isFloat32 ? "float32" : "bfloat16";
    expectRoom(written, weightNeed(readSpec(checkpoint.config, written), storage));
    const tokenCount = tokenizer.vocabularySize;
    const model = await loadDecoder(backend, checkpoint, { storage, trainable: false, tokenCount });
    return { before, after: await ask(model) };
  } finally {
    await checkpoint.source.close();
    await backend.close();
  }
}
