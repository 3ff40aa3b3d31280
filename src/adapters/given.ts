import { mergeLoraInto } from "../formats/merge-lora.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import type { PeftFolder } from "../formats/peft-adapter.ts";
import { readPeftConfig } from "../formats/peft-config-file.ts";
import { openPeftFolder } from "../formats/peft-folder.ts";
import { readPeftPrefix } from "../formats/peft-prefix.ts";
import { targetSettings } from "../formats/peft-targets.ts";
import { familyNamed, readSpec } from "../models/families/registry.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { linearModules } from "../models/tensors.ts";
import { changedBase } from "./changed-base.ts";
import { joinedAdapter } from "./joined-lora.ts";
import { ggufAdapterOfLora, ggufLoraOf } from "./lora-files.ts";
import { attachPeft } from "./lora-load.ts";
import { shortName, type Targets } from "./lora-modules.ts";
import type { SavedAdapter } from "./method.ts";
import type { AdapterSettings } from "./methods.ts";
import { prefix } from "./prefix.ts";

/** An adapter that another program made, with its base. */
export interface GivenAdapter {
  /** The settings as a recipe has them, as far as it can say them. */
  settings: AdapterSettings;
  /** The name of the base in the adapter's configuration. */
  baseModel: string | null;
  /** Whether its modules have other names than the base's: it was made for the base's form in transformers. */
  isJoined: boolean;
  /** The base with what the adapter changes outside of the layers' products. It closes with the base that was given. */
  checkpoint: Checkpoint;
  /** How it is put on a model of `checkpoint`, merged and written for other programs. */
  saved: Omit<SavedAdapter<AdapterSettings>, "save" | "saveInHalves">;
  close(): Promise<void>;
}

/**
 * Opens the PEFT folder of an adapter for its base, whose weights are not read. Throws a UserError for a kind of adapter or a setting that is
 * not computed here, and for tensors that do not fit the base.
 */
export async function openGivenAdapter(directory: string, base: Checkpoint): Promise<GivenAdapter> {
  const { raw } = await readPeftConfig(directory);
  if (raw.peft_type === "PREFIX_TUNING") return openGivenPrefix(directory, base);
  const opened = await openPeftFolder(directory);
  const close = () => opened.tensors.close();
  try {
    const form = readSpec(base.config, base.directory);
    const { adapter, isJoined } = await joinedAdapter(opened, form, directory);
    const { checkpoint, merged } = changedBase(base, adapter, directory);
    const spec = readSpec(checkpoint.config, checkpoint.directory);
    return {
      settings: settingsOf(adapter, spec),
      baseModel: adapter.config.baseModel,
      isJoined,
      checkpoint,
      saved: {
        kind: "adapter",
        async load(model) {
          await attachPeft(model, adapter, directory, { merged });
        },
        merge: async (tensors, _, where) => ({
          tensors: mergeLoraInto(tensors, adapter, where, merged),
          close: async () => {},
        }),
        ggufAdapter: ggufAbility(adapter, merged, isJoined),
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openGivenPrefix(directory: string, base: Checkpoint): Promise<GivenAdapter> {
  const { config } = await readPeftPrefix(directory);
  return {
    settings: { method: "prefix", virtualTokens: config.tokens },
    baseModel: config.baseModel,
    isJoined: false,
    checkpoint: base,
    saved: prefix.saved,
    close: async () => {},
  };
}

function ggufAbility(
  adapter: PeftFolder,
  merged: ReadonlySet<string>,
  isJoined: boolean,
): SavedAdapter<AdapterSettings>["ggufAdapter"] {
  if (adapter.config.hasMagnitudes)
    return { because: "has trained lengths of rows, which llama.cpp's adapters cannot hold" };
  if (merged.size === 0 && !isJoined) return ggufAdapterOfLora;
  if (merged.size === 0) {
    return async (_, spec, where) => ({ ...ggufLoraOf(adapter, spec, where), close: async () => {} });
  }
  return { because: "changes weights of the base itself, which llama.cpp's adapters cannot hold" };
}

function settingsOf(adapter: PeftFolder, spec: DecoderSpec): AdapterSettings {
  const { config } = adapter;
  const family = familyNamed(spec.family, "LoRA");
  const names = Array.from({ length: spec.layers }, (_, index) => linearModules(spec, family, index)).flat();
  const modules = names.map(({ name }) => name);
  const found = [...targetSettings(adapter, modules).keys()];
  const isAll = found.length === 0 || found.length === modules.length;
  const targets: Targets = isAll ? "all" : [...new Set(found.map(shortName))];
  const { rank, alpha, dropout, scaling, hasMagnitudes } = config;
  const settings = {
    rank,
    alpha,
    dropout,
    scaling,
    learningRateRatio: 1,
    targets: typeof targets === "string" ? targets : [...targets],
  };
  return hasMagnitudes ? { method: "dora", ...settings } : { method: "lora", ...settings };
}
