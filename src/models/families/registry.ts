import { showValue, UserError } from "../../base/errors.ts";
import type { Family } from "../family.ts";
import type { DecoderSpec } from "../spec.ts";
import { baichuan } from "./baichuan.ts";
import { chatglm } from "./chatglm.ts";
import { glm } from "./glm.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

/** Every family. A new family needs its file, a place in this list and a golden test. */
export const FAMILIES: readonly Family[] = [llama, chatglm, baichuan, qwen2, qwen3, mistral, glm];

/** The `model_type` of every family. */
export const FAMILY_NAMES: readonly string[] = FAMILIES.map(({ modelType }) => modelType);

/** The code by which the families read their tokenizers, as `openTokenizer` expects it. */
export const TOKENIZER_RULES = FAMILIES.flatMap(({ modelType, tokenizer }) =>
  tokenizer ? [{ modelType, ...tokenizer }] : [],
);

/** The family of a config.json; throws a UserError that names the supported ones. */
export function familyOf(config: Readonly<Record<string, unknown>>, where: string): Family {
  return familyNamed(config.model_type, where);
}

/** The family with a `model_type`; throws a UserError that names the supported ones. */
export function familyNamed(modelType: unknown, where: string): Family {
  const family = FAMILIES.find((candidate) => candidate.modelType === modelType);
  if (family) return family;
  throw new UserError(`${where}: model_type is ${showValue(modelType)}, supported: ${FAMILY_NAMES.join(", ")}.`);
}

/** The specification of a config.json. */
export function readSpec(config: Readonly<Record<string, unknown>>, where: string): DecoderSpec {
  return familyOf(config, where).readConfig(config, where);
}
