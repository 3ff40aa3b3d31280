import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import type { Backend } from "../../src/compute/backend.ts";
import { openReference } from "../../src/compute/reference/backend.ts";
import { worstOf } from "./backends.ts";
import { elsewhereLogits, readElsewhere, theirLogits } from "./elsewhere.ts";

// Every kind of configuration that PEFT writes: computed as PEFT computes it, or refused in one line.

// Made by test/golden/make/peft_elsewhere.py: transformers, peft and torch as golden.json says, float32.
const FOLDER = join(import.meta.dirname, "peft-elsewhere");
const golden = readElsewhere(FOLDER);
const names = (read: boolean) => Object.keys(golden.cases).filter((name) => golden.cases[name].read === read);

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

const ours = (name: string, base = golden.cases[name].base) =>
  elsewhereLogits(backend, join(FOLDER, name), base, golden.sequences);

/** How the message of each case that is refused goes on after its folder. */
const REFUSED: Readonly<Record<string, string>> = {
  "init-pissa": unusable('"init_lora_weights" is "pissa", which is not supported: PEFT changes the base by it'),
  "init-olora": unusable('"init_lora_weights" is "olora", which is not supported: PEFT changes the base by it'),
  "init-corda": unusable('"init_lora_weights" is "corda", which is not supported: PEFT changes the base by it'),
  "init-loftq": unusable('"init_lora_weights" is "loftq", which is not supported: PEFT changes the base by it'),
  adalora: '/adapter_config.json: "peft_type" is "ADALORA", which is not supported: ',
  loha: '/adapter_config.json: "peft_type" is "LOHA", which is not supported: ',
  lokr: '/adapter_config.json: "peft_type" is "LOKR", which is not supported: ',
  ia3: '/adapter_config.json: "peft_type" is "IA3", which is not supported: ',
  vera: '/adapter_config.json: "peft_type" is "VERA", which is not supported: ',
  oft: '/adapter_config.json: "peft_type" is "OFT", which is not supported: ',
  boft: '/adapter_config.json: "peft_type" is "BOFT", which is not supported: ',
  hra: '/adapter_config.json: "peft_type" is "HRA", which is not supported: ',
  "prompt-tuning": '/adapter_config.json: "peft_type" is "PROMPT_TUNING" (virtual tokens at the input alone), ',
  "p-tuning": '/adapter_config.json: "peft_type" is "P_TUNING" (virtual tokens at the input alone), ',
  "trainable-tokens": '/adapter_config.json: "peft_type" is "TRAINABLE_TOKENS", which is not supported: ',
  "layer-replication": unusable('"layer_replication" is [[0,2],[1,2]], which is not supported: it gives the base more'),
  qalora: unusable('"use_qalora" is true, which is not supported: '),
  activated: unusable('"alora_invocation_tokens" is [5,44], which is not supported: '),
  parameters: unusable('"target_parameters" is ["mlp.down_proj.weight"], which is not supported: '),
  "weight-tying": unusable('"ensure_weight_tying" is true, which is not supported: '),
  classification: unusable('"task_type" is "SEQ_CLS", expected "CAUSAL_LM" or null'),
  several: ": has no adapter_config.json, but 1 of its folders have one (second).",
  "lora-bias-none-there": misfit(
    '"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias" is a bias of a module',
  ),
  "on-embedding-dora": misfit('"model.embed_tokens" has DoRA on the embedding, which is not supported.'),
  extended: misfit('"base_model.model.lm_head.weight" is [64,16], expected [61,16]: tokens were added to the vocab'),
};

function unusable(cause: string): string {
  return `/adapter_config.json: the adapter cannot be used: ${cause}`;
}

function misfit(cause: string): string {
  return `: the adapter does not fit the model: ${cause}`;
}

describe("adapters of PEFT", () => {
  it("are of many kinds", () => {
    expect(names(true).length).toBeGreaterThanOrEqual(22);
    expect(names(false).sort()).toEqual(Object.keys(REFUSED).sort());
  });

  it.each(names(true))("%s: the logits of PEFT", async (name) => {
    const worst = worstOf(await ours(name), await theirLogits(FOLDER, name));
    expect(worst).toSatisfy(({ difference }) => difference < 1e-4);
  });

  it.each(names(false))("%s: refused in one line that names the cause first", async (name) => {
    const folder = join(FOLDER, name);
    const error = await ours(name).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect(error.message.startsWith(`${folder}${REFUSED[name]}`), error.message).toBe(true);
    expect(error.message).not.toContain("\n");
  });

  it("are refused on a base whose modules have other names", async () => {
    const folder = join(FOLDER, "full-names");
    // chatglm2 in transformers has modules of these names, of another size.
    await expect(ours("full-names", "chatglm2")).rejects.toThrow(
      `${folder}: the adapter does not fit the model: "model.layers.0.self_attn.q_proj" has [2,16], expected [2,32] (and 1 more problems)`,
    );
    await expect(ours(join("..", "chatglm2", "adapter"), "qwen2")).rejects.toThrow(
      /the adapter does not fit the model: no module of it is called \["query_key_value"\], but q_proj, k_proj, v_proj, o_proj/,
    );
  });
});
