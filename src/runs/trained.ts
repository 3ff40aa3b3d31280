import { existsSync } from "node:fs";
import { join } from "node:path";
import type { SavedAdapter } from "../adapters/method.ts";
import { type AdapterSettings, methodOf } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { checkFolderFiles } from "../formats/folder-sums.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Recipe } from "../recipe/schema.ts";
import { expectBaseSums, expectSameBase, type RunFolder } from "./run-folder.ts";

/** An adapter as it is used once it is trained. */
export type UsedAdapter = Omit<SavedAdapter<AdapterSettings>, "save" | "saveInHalves"> &
  Partial<Pick<SavedAdapter<AdapterSettings>, "saveInHalves">>;

/** What a finished run has trained. */
export interface TrainedResult {
  /** Path of the model to open: the run's own `model/`, or the base of its adapter. */
  model: string;
  /** Path of the tokenizer that belongs to it. */
  tokenizer: string;
  /** How the adapter in the run folder is used; null for a whole model. */
  adapter: UsedAdapter | null;
}

/** The path of the tokenizer that a recipe means. */
export function tokenizerPath(recipe: Recipe): string {
  return recipe.model.tokenizer ?? (recipe.model.path as string);
}

/**
 * Finds the result of a run. Throws a UserError when training has not finished, when the base of an adapter is another model now, or for a
 * file that is not what the run wrote.
 */
export async function findTrained(folder: RunFolder, recipe: Recipe): Promise<TrainedResult> {
  const { saved } = methodOf(recipe.adapter);
  const isAdapter = saved.kind === "adapter";
  // Both are written last.
  const lastFile = isAdapter ? join(folder.directory, "adapter_config.json") : join(folder.model, "config.json");
  if (!existsSync(lastFile)) {
    throw new UserError(`${folder.directory}: training has not finished (there is no ${lastFile}).`, {
      hint: `Resume it with: cre train --resume --run ${folder.directory}`,
    });
  }
  await checkFolderFiles(nodeFolder(folder.directory));
  if (!isAdapter) {
    await checkFolderFiles(nodeFolder(folder.model));
    return { model: folder.model, tokenizer: folder.model, adapter: null };
  }
  await expectSameBase(folder, recipe);
  return { model: recipe.model.path as string, tokenizer: tokenizerPath(recipe), adapter: saved };
}

/** Opens the model of a run's result; weights that are not those of the run are an error when they are read. */
export async function openTrainedModel(folder: RunFolder, { model, adapter }: TrainedResult): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(model);
  try {
    if (adapter) await expectBaseSums(folder, checkpoint.source);
    return checkpoint;
  } catch (error) {
    await checkpoint.source.close();
    throw error;
  }
}
