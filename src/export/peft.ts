import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { UserError } from "../base/errors.ts";
import { copyFileAtomic, writeFileAtomic } from "../base/files.ts";
import { readJsonObject } from "../formats/json-file.ts";
import { CONFIG_FILE } from "../formats/peft-config.ts";
import { checkPeftWeights, PEFT_WEIGHTS } from "../formats/peft-folder.ts";
import { readSpec } from "../models/families/registry.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { UsedAdapter } from "../runs/trained.ts";
import { adapterCard } from "./adapter-card.ts";
import { exportTokenizer } from "./tokenizer-files.ts";
import type { ExportJob } from "./trained-tensors.ts";

/** What the folder says about the adapter. */
export interface PeftFacts {
  recipe: Recipe;
  /** The name of the base for those who use the folder; null: found out. */
  baseName: string | null;
}

/** Writes an adapter as Hugging Face PEFT loads it, with the tokenizer of its base and a model card, and returns the folder. */
export async function exportPeft(job: ExportJob, adapter: UsedAdapter, facts: PeftFacts): Promise<string> {
  const { folder, trained, checkpoint, output, onNotice } = job;
  const { config, directory } = checkpoint;
  const base = facts.baseName ?? publicName(job, null);
  await exportTokenizer(trained.tokenizer, output, { modelType: String(config.model_type), onNotice });
  if (config.rope_layout === "interleaved") {
    if (!adapter.saveInHalves) throw new UserError(`${folder.directory}: has no form for a base of llama2.c.`);
    await adapter.saveInHalves(folder.directory, output, readSpec(config, directory));
    await writeConfig(output, output, base);
  } else {
    await checkPeftWeights(folder.directory);
    const weights = PEFT_WEIGHTS.find((name) => existsSync(join(folder.directory, name))) as string;
    await copyFileAtomic(join(folder.directory, weights), join(output, weights));
    await writeConfig(folder.directory, output, base);
  }
  await writeAdapterCard(job, facts.recipe, base, null);
  return output;
}

/** Writes README.md of an exported adapter; see {@link AdapterCardFacts}. */
export async function writeAdapterCard(
  { folder, output }: ExportJob,
  recipe: Recipe,
  base: string,
  converted: string | null,
): Promise<void> {
  const card = await adapterCard({ folder, recipe, base, converted, name: basename(resolve(folder.directory)) });
  await writeFileAtomic(join(output, "README.md"), card);
}

/** The configuration with another name of the base: a path of this machine would be of use nowhere else. */
async function writeConfig(from: string, to: string, base: string): Promise<void> {
  const config = await readJsonObject(join(from, CONFIG_FILE), "a PEFT adapter configuration");
  await writePeftConfig(to, config, base);
}

export async function writePeftConfig(to: string, config: Record<string, unknown>, base: string): Promise<void> {
  const named = { ...config, base_model_name_or_path: base };
  await writeFileAtomic(join(to, CONFIG_FILE), `${JSON.stringify(named, null, 2)}\n`);
}

const HUB_NAME = /^[\w-][\w.-]{0,95}\/[\w-][\w.-]{0,95}$/;

/**
 * The base's name on Hugging Face, where its config.json notes one; else the name of its folder, with a notice. Never a path. A converted base
 * (see {@link AdapterCardFacts}) is published under no name that is known here.
 */
export function publicName({ checkpoint, trained, onNotice }: ExportJob, converted: string | null): string {
  const noted = checkpoint.config._name_or_path;
  if (converted === null && typeof noted === "string" && HUB_NAME.test(noted)) return noted;
  const name = basename(resolve(trained.model));
  const made = converted === null ? "" : " (a copy that `cre export BASE --to hf` wrote)";
  onNotice(
    `the adapter calls its base "${name}"${made}: PEFT looks for a folder of that name, then on Hugging Face. --base-name NAME gives another name.`,
  );
  return name;
}
