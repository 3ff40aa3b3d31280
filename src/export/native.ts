import { join } from "node:path";
import { UserErrors } from "../base/errors.ts";
import { copyFileAtomic } from "../base/files.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { readJsonObject } from "../formats/json-file.ts";
import { tensorsToWrite } from "../formats/merge-lora.ts";
import { checkPeftWeights, openPeftTensors } from "../formats/peft-folder.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import type { TensorDtype } from "../formats/tensor-source.ts";
import { familyNamed, familyOf, readSpec } from "../models/families/registry.ts";
import { nativeLora, nativeSpec, nativeTensors } from "../models/native-form.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { exportMerged, TORCH_DTYPES } from "./merged.ts";
import { type PeftFacts, publicName, writeAdapterCard, writePeftConfig } from "./peft.ts";
import { exportTokenizer } from "./tokenizer-files.ts";
import { type ExportJob, trainedTensors } from "./trained-tensors.ts";

/**
 * Writes the whole model in an architecture that transformers has without the authors' code, and returns the folder. Throws a UserError for a
 * model that has none.
 */
export async function exportHf(job: ExportJob, dtype: TensorDtype | undefined): Promise<string> {
  const { checkpoint, trained, output, onNotice } = job;
  const { config, directory } = checkpoint;
  const spec = readSpec(config, directory);
  const native = nativeSpec(spec, directory);
  if (native === spec) return exportMerged(job, undefined, dtype);
  const { ignored } = familyOf(config, directory);
  const { tensors, close } = await trainedTensors(job, dtype, (name) => ignored.some((pattern) => pattern.test(name)));
  try {
    const written = nativeTensors(tensors, spec, native, directory);
    await exportTokenizer(trained.tokenizer, output, { modelType: spec.family, onNotice, native: true });
    const tokenizer = await openModelTokenizer(output, { modelType: native.family });
    const marks = { bosId: tokenizer.bosId ?? native.bosId, eosId: tokenizer.eosId ?? native.eosId };
    const own = familyNamed(native.family, directory).writeConfig({ ...native, ...marks });
    const torch_dtype = TORCH_DTYPES[dtype ?? written[0].dtype];
    await saveHuggingFaceFolder(output, { ...own, torch_dtype }, written);
    return output;
  } finally {
    await close();
  }
}

/** Entries of adapter_config.json that name modules of the base; an adapter of ours has none of these. */
const BY_MODULE = [
  ...["rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform", "exclude_modules"],
  ...["target_parameters", "trainable_token_indices", "layer_replication"],
];
const isNothing = (value: unknown) =>
  value === null ||
  value === undefined ||
  value === false ||
  (typeof value === "object" && Object.keys(value).length === 0);

/** Writes an adapter for what {@link exportHf} makes of its base, with that one's tokenizer and a model card, and returns the folder. */
export async function exportNativePeft(job: ExportJob, { recipe, baseName }: PeftFacts): Promise<string> {
  const { folder, trained, checkpoint, output, onNotice } = job;
  const { config, directory } = checkpoint;
  const spec = readSpec(config, directory);
  const native = nativeSpec(spec, directory);
  const adapter = folder.directory;
  const file = join(adapter, "adapter_config.json");
  const raw = await readJsonObject(file, "a PEFT adapter configuration");
  const isLora = raw.peft_type === "LORA";
  const named = isLora ? BY_MODULE.filter((key) => !isNothing(raw[key])) : [];
  if (named.length > 0) {
    const problems = named.map((key) => `"${key}" names modules of the base, which have other names there`);
    throw new UserErrors(`${file}: has no form for the converted base:`, problems);
  }
  const converted = native === spec ? null : architectureOf(native, directory);
  const base = baseName ?? publicName(job, converted);
  await exportTokenizer(trained.tokenizer, output, { modelType: spec.family, onNotice, native: native !== spec });
  await writeAdapterCard(job, recipe, base, converted);
  const weights = "adapter_model.safetensors";
  // Keys and values of a prefix belong to layers, which stay what they are.
  if (!isLora || native === spec) {
    await checkPeftWeights(adapter);
    await copyFileAtomic(join(adapter, weights), join(output, weights));
    await writePeftConfig(output, raw, base);
    return output;
  }
  const source = await openPeftTensors(adapter);
  try {
    const { tensors, targets } = nativeLora(tensorsToWrite(source), spec, native, adapter);
    await writeSafetensors(join(output, weights), tensors);
    await writePeftConfig(output, { ...raw, target_modules: targets }, base);
    return output;
  } finally {
    await source.close();
  }
}

/** The class of transformers that has a specification. */
function architectureOf(native: DecoderSpec, where: string): string {
  const { architectures } = familyNamed(native.family, where).writeConfig(native);
  return String((architectures as string[])[0]);
}
