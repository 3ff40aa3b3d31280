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
  /** Whether the base has a chat template of its own. */
  hasOwnTemplate: boolean;
  /** The file of the template that a server has to be given, since it would use another one, or none; null: it finds the right one. */
  templateFile: string | null;
  /** config.json of a folder of Hugging Face. */
  config: Record<string, unknown>;
  /** As the programs that serve it use it. */
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

/** Ollama's file for `ollama create`. Its texts are taken between the quotes as they are, without escapes. */
function modelfile(facts: ServingFacts, file: string): string {
  const { template, tokenizer, maxTokens, adapterOf } = facts;
  const form = template && templateForm(template, tokenizer);
  const stop = stopOf(facts);
  const lines = [
    `FROM ./${adapterOf ?? file}`,
    ...(adapterOf === null ? [] : [`ADAPTER ./${file}`]),
    ...(template && form ? [`TEMPLATE """${goTemplateOf(template, form.form)}"""`] : []),
    "PARAMETER temperature 0",
    `PARAMETER num_ctx ${maxTokens}`,
    ...(stop === null ? [] : [`PARAMETER stop "${stop}"`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** A name that Ollama, vLLM and a shell take as it is: letters, digits, "_", "-", ".", at most 80. */
export function servedName(name: string): string {
  const plain = name.replace(/[^\w.-]+/g, "-").replace(/^[.-]+|[.-]+$/g, "");
  return plain.slice(0, 80) || "model";
}

const inShell = (text: string) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function commandsOf({ name, ggufFile, adapterOf, maxTokens, templateFile, config }: ServingFacts): string[] {
  const served = servedName(name);
  if (ggufFile === null) {
    const parts = [
      `vllm serve . --served-model-name ${served} --max-model-len ${maxTokens} --generation-config vllm`,
      // vLLM computes such weights in 16 bits otherwise.
      ...(config.torch_dtype === "float32" ? ["--dtype float32"] : []),
      ...(config.auto_map === undefined ? [] : ["--trust-remote-code"]),
      ...(templateFile === null ? [] : [`--chat-template ${templateFile}`]),
    ];
    return [parts.join(" ")];
  }
  const files = adapterOf === null ? inShell(ggufFile) : `${adapterOf} --lora ${inShell(ggufFile)}`;
  const template = templateFile === null ? "" : ` --chat-template-file ${templateFile}`;
  return [
    `ollama create ${served} -f ${MODELFILE} && ollama run ${served}`,
    `llama-server --model ${files} --temp 0 --ctx-size ${maxTokens} --jinja${template}`,
  ];
}

function servingText(facts: ServingFacts): string {
  const { name, adapterOf, template, hasOwnTemplate, templateFile, change } = facts;
  const own = hasOwnTemplate
    ? "The chat template is the base's own."
    : "The model has no chat template: send whole prompts (`/v1/completions`).";
  const sections = [
    `# Serving ${name}`,
    ["In this folder:", "", "```bash", ...commandsOf(facts), "```"].join("\n"),
    template === null
      ? own
      : `A request is one message of the user: the question as \`cre prompt\` shows it. The template around it is "${template.name}". Ask with temperature 0.`,
    ...(template !== null && hasOwnTemplate && templateFile !== null
      ? [`The base has a chat template of its own; the one of training is \`${templateFile}\`.`]
      : []),
    ...(adapterOf === null ? [] : [`${adapterOf} is the base in GGUF: \`cre export BASE --to gguf\` writes it.`]),
    ...(change === null ? [] : ["## What this form changed", change]),
  ];
  return `${sections.join("\n\n")}\n`;
}
