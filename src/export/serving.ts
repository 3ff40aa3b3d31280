import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import type { ChatTemplate } from "../prompts/chat-template.ts";
import { goTemplateOf } from "../prompts/template-text.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { templateForm } from "./chat.ts";

export const SERVING_FILE = "SERVING.md";
export const MODELFILE = "Modelfile";

/** What is served, and how. */
export interface ServingFacts {
  name: string;
  /** The file of a GGUF export in the folder; null for a folder of Hugging Face. */
  ggufFile: string | null;
  /** The base of an adapter file: what Ollama and llama.cpp are given in front of it. */
  adapterOf: string | null;
  /** The longest sequence. */
  maxTokens: number;
  template: ChatTemplate | null;
  /** As the exported folder has it. */
  tokenizer: Tokenizer;
  /** What merging or writing in fewer bits changed; null when there is nothing to say. */
  change: string | null;
}

/** Writes SERVING.md, and for GGUF files Ollama's Modelfile: the commands that serve an export, with the prompts of the recipe. */
export async function writeServing(directory: string, facts: ServingFacts): Promise<void> {
  if (facts.ggufFile !== null) await writeFileAtomic(join(directory, MODELFILE), modelfile(facts, facts.ggufFile));
  await writeFileAtomic(join(directory, SERVING_FILE), servingText(facts));
}

function stopOf({ template, tokenizer }: ServingFacts): string | null {
  return template?.end ?? (tokenizer.eosId === null ? null : tokenizer.pieceOf(tokenizer.eosId));
}

/** Ollama's file for `ollama create`. */
function modelfile(facts: ServingFacts, file: string): string {
  const { template, tokenizer, maxTokens, adapterOf } = facts;
  const form = template && templateForm(template, tokenizer);
  const stop = stopOf(facts);
  const lines = [
    `FROM ${adapterOf ?? `./${file}`}`,
    ...(adapterOf === null ? [] : [`ADAPTER ./${file}`]),
    ...(template && form ? [`TEMPLATE """${goTemplateOf(template, form.form)}"""`] : []),
    "PARAMETER temperature 0",
    `PARAMETER num_ctx ${maxTokens}`,
    ...(stop === null ? [] : [`PARAMETER stop ${JSON.stringify(stop)}`]),
  ];
  return `${lines.join("\n")}\n`;
}

function servingText(facts: ServingFacts): string {
  const { name, ggufFile, adapterOf, maxTokens, template, change } = facts;
  const quoted = /^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
  const commands =
    ggufFile === null
      ? [`vllm serve . --served-model-name ${quoted} --max-model-len ${maxTokens} --generation-config vllm`]
      : [
          `ollama create ${quoted} -f ${MODELFILE} && ollama run ${quoted}`,
          adapterOf === null
            ? `llama-server --model '${ggufFile}' --temp 0 --ctx-size ${maxTokens}`
            : `llama-server --model ${adapterOf} --lora '${ggufFile}' --temp 0 --ctx-size ${maxTokens}`,
        ];
  const sections = [
    `# Serving ${name}`,
    ["In this folder:", "", "```bash", ...commands, "```"].join("\n"),
    template === null
      ? "The model was not trained with a chat template: send whole prompts (`/v1/completions`)."
      : `A request is one message of the user: the question as \`cre prompt\` shows it. The template around it is "${template.name}". Ask with temperature 0.`,
    ...(adapterOf === null ? [] : [`${adapterOf} is the base in GGUF: \`cre export BASE --to gguf\` writes it.`]),
    ...(change === null ? [] : ["## What this form changed", change]),
  ];
  return `${sections.join("\n\n")}\n`;
}
