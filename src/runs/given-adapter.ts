import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type GivenAdapter, openGivenAdapter } from "../adapters/given.ts";
import { messageOf, UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { openDataset } from "../data/dataset.ts";
import type { LabelSet } from "../data/example.ts";
import { chineseNreLabelSet, parseLabelList, parseRelation2id } from "../data/label-set.ts";
import { readPeftConfig } from "../formats/peft-config-file.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { AUTO_TEMPLATE } from "../prompts/chat-template.ts";
import { readRecipeParts, resolveRecipe } from "../recipe/read.ts";
import { resolveNames } from "../recipe/resolve.ts";
import type { Recipe } from "../recipe/schema.ts";
import { type RunFolder, runFolder } from "./run-folder.ts";
import { openModelTokenizer } from "./tokenizer.ts";
import { type TrainedResult, tokenizerPath } from "./trained.ts";

/** An adapter that another program made, with what a run folder would hold besides. */
export interface AdapterSource {
  /** The PEFT folder. Nothing is written into it. */
  adapter: string;
  /** The folder of its base model; default: that of the recipe. */
  base?: string;
  /** labels.json, relation2id.txt, a JSON list of labels or a data folder; default: the labels of the recipe's data. */
  labels?: string;
  /** A recipe for prompt and decoding; default: CRE-LLM's settings. */
  recipe?: string;
}

/** What is used: a run folder, or an adapter that another program made. */
export type RunSource = string | AdapterSource;

/** The folder that a message about a run or an adapter names. */
export const sourceFolder = (source: RunSource): string => (typeof source === "string" ? source : source.adapter);

/** An adapter made elsewhere, in the place of a finished run. */
export interface OpenedGiven {
  /** Its folder; of the files of a run it has none. */
  folder: RunFolder;
  recipe: Recipe;
  trained: TrainedResult;
  /** Whether the adapter was made for the base's form in transformers. */
  isJoined: boolean;
  /** The base with what the adapter changes outside of the layers' products. */
  checkpoint: GivenAdapter["checkpoint"];
  close(): Promise<void>;
}

/** Opens an adapter made elsewhere with its base; no weight has been read. Throws a UserError for what is missing or cannot be used. */
export async function openGiven(source: AdapterSource): Promise<OpenedGiven> {
  const base = await basePath(source);
  const checkpoint = await openCheckpoint(base);
  try {
    const given = await openGivenAdapter(source.adapter, checkpoint);
    const close = async () => {
      await given.close();
      await checkpoint.source.close();
    };
    try {
      const modelType = String(given.checkpoint.config.model_type);
      const named = await recipeOf(source, base, given.settings);
      const isAuto = named.prompt.template === AUTO_TEMPLATE;
      const tokenizer = isAuto ? await openModelTokenizer(tokenizerPath(named), { modelType }) : null;
      const recipe = resolveNames(named, modelType, tokenizer);
      const adapter = given.saved;
      const trained = { model: base, tokenizer: tokenizerPath(recipe), adapter };
      return {
        folder: runFolder(source.adapter),
        recipe,
        trained,
        isJoined: given.isJoined,
        checkpoint: given.checkpoint,
        close,
      };
    } catch (error) {
      await given.close();
      throw error;
    }
  } catch (error) {
    await checkpoint.source.close();
    throw error;
  }
}

async function basePath({ adapter, base, recipe }: AdapterSource): Promise<string> {
  if (base !== undefined) return resolve(base);
  const path = recipe === undefined ? undefined : (await readRecipeParts({ file: recipe })).parts.model.path;
  if (path !== undefined) return path;
  const { raw } = await readPeftConfig(adapter);
  const name = raw.base_model_name_or_path;
  const named = typeof name === "string" ? ` (the adapter calls it ${JSON.stringify(name.slice(0, 200))})` : "";
  throw new UserError(`${adapter}: needs the folder of its base model${named}: --base DIR.`);
}

/** The recipe with the adapter and its base in the place of its own. */
async function recipeOf({ recipe: file }: AdapterSource, base: string, adapter: Recipe["adapter"]): Promise<Recipe> {
  // An adapter made elsewhere has no linear companion.
  const values = { model: { path: base }, adapter, decode: { companion: "none" } };
  if (file === undefined) return (await resolveRecipe({ values })).recipe;
  const overrides = [
    `model.path=${JSON.stringify(base)}`,
    `adapter=${JSON.stringify(adapter)}`,
    "decode.companion=none",
  ];
  return (await resolveRecipe({ file, overrides })).recipe;
}

const MAX_LABELS_BYTES = 4_000_000;

/** The labels that the adapter answers with; without a file those of `data`. Throws a UserError when they cannot be read or are not given. */
export async function openGivenLabels(
  { adapter, labels }: AdapterSource,
  data: string | undefined,
): Promise<{ labels: LabelSet; file: string }> {
  const file = labels ?? data;
  if (file === undefined) {
    throw new UserError(`${adapter}: needs the labels that it answers with: --labels FILE.`, {
      hint: "A labels.json, a relation2id.txt, a JSON list of labels, or a data folder.",
    });
  }
  const info = await stat(file).catch((error: unknown) => {
    throw new UserError(`${file}: cannot be read (${messageOf(error)}), expected labels.`);
  });
  if (info.isDirectory()) return { labels: (await openDataset(file)).labels, file };
  const text = await readTextFile(file, "labels", MAX_LABELS_BYTES);
  const isList = file.endsWith(".txt");
  return { labels: isList ? chineseNreLabelSet(parseRelation2id(text, file), file) : parseLabelList(text, file), file };
}
