import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { Example } from "../data/example.ts";
import { percent } from "../evaluate/wording.ts";
import { readJsonObject } from "../formats/json-file.ts";
import { chatTemplate, templateText } from "../prompts/chat-template.ts";
import { promptStyle } from "../prompts/relation-prompt.ts";
import { recipeText } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { RunFolder } from "../runs/run-folder.ts";
import { shown, table } from "./markdown.ts";
import { servedName } from "./serving.ts";

export interface AdapterCardFacts {
  folder: RunFolder;
  recipe: Recipe;
  /** The name of the adapter. */
  name: string;
  /** The name of its base. */
  base: string;
  /** The architecture that the base was converted to; null: it is the base as its authors publish it. */
  converted: string | null;
}

/** The ranks that vLLM takes for --max-lora-rank. */
const VLLM_RANKS = [8, 16, 32, 64, 128, 256, 320, 512];
const QUESTION: Example = { sentence: "甲公司宣布收购乙公司。", head: "甲公司", tail: "乙公司" };
/** What a card shows of a value of a file. */
const MOST_CHARACTERS = 300;

/** The model card of an adapter: what it was trained by and on, what was measured, how it is loaded. It has no path of this machine. */
export async function adapterCard({ folder, recipe, name, base, converted }: AdapterCardFacts): Promise<string> {
  const { adapter, prompt, data } = recipe;
  const sections = [
    [
      "---",
      `base_model: ${JSON.stringify(base)}`,
      "library_name: peft",
      "pipeline_tag: text-generation",
      "language: zh",
      `tags: [${["relation-extraction", adapter.method].join(", ")}]`,
      "---",
    ].join("\n"),
    `# ${shown(name)}`,
    `An adapter for relation extraction on ${shown(base)}: it is asked for the relation between two entities of a sentence.`,
    ...(converted === null
      ? []
      : [
          `Its base is a ${converted} of transformers, which \`cre export BASE --to hf\` makes of the published model.`,
        ]),
    table(
      ["", ""],
      [
        ["base", shown(base)],
        ["method", methodText(adapter)],
        ["prompt", `style ${prompt.style}, template ${prompt.template}`],
        ["data", data.path === undefined ? "not noted" : shown(basename(resolve(data.path)))],
        ...(await labelRows(folder)),
      ],
    ),
    "## Measured",
    await measuredText(folder),
    "## Prompt",
    `The question that it was trained with, for one sentence, to the last line break. ${beginText(recipe)}`,
    fenced(promptText(recipe)),
    "## Use",
    "In PEFT, with FOLDER for this folder:",
    fenced(peftCode(base, endOf(recipe)), "python"),
    ...vllmText(recipe, name, base),
    "## Recipe",
    fenced(recipeText(withoutPaths(recipe, base)).trimEnd(), "yaml"),
  ];
  return `${sections.join("\n\n")}\n`;
}

function fenced(text: string, language = ""): string {
  // A longer fence than any in the text.
  const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), ([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${text}\n${fence}`;
}

function methodText(adapter: Recipe["adapter"]): string {
  if (adapter.method === "prefix") return `prefix tuning, ${adapter.virtualTokens} virtual tokens`;
  if (adapter.method !== "lora" && adapter.method !== "dora") return adapter.method;
  const { method, rank, alpha, scaling, targets } = adapter;
  const modules = typeof targets === "string" ? targets : targets.join(", ");
  const name = { lora: "LoRA", dora: "DoRA" }[method];
  return `${name}, rank ${rank}, alpha ${alpha}${scaling === "rslora" ? " (rsLoRA)" : ""}, modules: ${modules}`;
}

async function labelRows({ directory }: RunFolder): Promise<string[][]> {
  const file = join(directory, "labels.json");
  if (!existsSync(file)) return [];
  const { labels, noRelation } = await readJsonObject(file, "the run's labels");
  if (!Array.isArray(labels)) return [];
  const text = labels.map(String).join(", ");
  const part = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
  const none = typeof noRelation === "string" ? `; "${noRelation}" is no relation` : "";
  return [["labels", shown(`${labels.length}: ${part}${none}`)]];
}

/** Scores of `cre evaluate`; else the best validation of the training. */
async function measuredText(folder: RunFolder): Promise<string> {
  if (existsSync(folder.metrics)) return metricsText(await readJsonObject(folder.metrics, "the metrics of a run"));
  if (existsSync(folder.done)) {
    const { best } = await readJsonObject(folder.done, "the end of a training");
    const { metric, step } = (best ?? {}) as Record<string, unknown>;
    if (typeof metric === "number")
      return `Best validation, at step ${step}: F1 ${percent(metric)} %. Not evaluated on a test split.`;
  }
  return "Not measured.";
}

interface Scores {
  conventions?: Record<string, { precision: number; recall: number; f1: number }>;
  macro?: { f1: number };
}

interface Measured extends Scores {
  intervals?: Record<string, { low: number; high: number }> | null;
  counts?: { rows: number };
  data?: string;
  split?: string;
  companion?: { mixture: unknown; model: Scores };
}

function metricsText(metrics: Record<string, unknown>): string {
  const { intervals, counts, data, split, companion, ...run } = metrics as Measured;
  // The companion is no part of the folder.
  const isMixed = companion !== undefined && companion.mixture !== null;
  const { conventions = {}, macro } = isMixed ? companion.model : run;
  const range = (name: string) => {
    const one = isMixed ? null : intervals?.[name];
    return one ? `${percent(one.low)} – ${percent(one.high)}` : "–";
  };
  const rows = Object.entries(conventions).map(([name, { precision, recall, f1 }]) => [
    name,
    ...[precision, recall, f1].map(percent),
    range(name),
  ]);
  if (macro) rows.push(["macro", "–", "–", percent(macro.f1), range("macro")]);
  const where = data === undefined ? "" : ` of ${data}, ${split}`;
  const whole = Object.entries(run.conventions ?? {}).map(([name, { f1 }]) => `${name} F1 ${percent(f1)}`);
  return [
    `On ${counts?.rows ?? "?"} rows${shown(where)}, in percent (conventions: docs/metrics.md of cre-llm); labels are chosen by their probabilities.`,
    table(["convention", "precision", "recall", "F1", "95 % interval"], rows),
    ...(isMixed
      ? [`The run mixes in its linear companion, which is no part of this folder: ${whole.join(", ")}.`]
      : []),
  ].join("\n\n");
}

function beginText({ prompt }: Recipe): string {
  const hasMark = chatTemplate(prompt.template).begin === "bos";
  return hasMark
    ? "The tokenizer sets the mark of the beginning before it."
    : "No mark of the beginning comes before it.";
}

function promptText({ prompt }: Recipe): string {
  const style = promptStyle(prompt.style);
  return templateText(chatTemplate(prompt.template), style.renderQuery(QUESTION));
}

/** The token that ends an answer; null: the tokenizer's own end token, of which other programs know. */
const endOf = ({ prompt }: Recipe): string | null => chatTemplate(prompt.template).end;

function peftCode(base: string, end: string | null): string {
  const ends = end === null ? "" : `, eos_token_id=tokenizer.convert_tokens_to_ids(${JSON.stringify(end)})`;
  return [
    "from peft import PeftModel",
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
    `model = AutoModelForCausalLM.from_pretrained(${JSON.stringify(base)})`,
    'model = PeftModel.from_pretrained(model, "FOLDER").eval()',
    'inputs = tokenizer(prompt, return_tensors="pt")',
    `answer = model.generate(**inputs, max_new_tokens=32, do_sample=False${ends})`,
    'print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))',
  ].join("\n");
}

function vllmText(recipe: Recipe, name: string, base: string): string[] {
  const { adapter } = recipe;
  if (adapter.method !== "lora") {
    const instead = adapter.method === "dora" ? ": export the run with --to merged and serve that model" : "";
    return [`vLLM serves no adapter of this method${instead}.`];
  }
  const rank = VLLM_RANKS.find((one) => one >= adapter.rank) ?? adapter.rank;
  const served = servedName(name);
  const end = endOf(recipe);
  const stop = end === null ? "" : `, \`stop_token_ids\` with the id of \`${end}\``;
  return [
    `In vLLM, then with \`temperature\` 0${stop} and the prompt above at \`/v1/completions\`, model \`${served}\`:`,
    fenced(
      `vllm serve ${base} --generation-config vllm --enable-lora --max-lora-rank ${rank} --lora-modules ${served}=FOLDER`,
    ),
  ];
}

/** The recipe with names in the place of paths. */
function withoutPaths(recipe: Recipe, base: string): Recipe {
  const { model, data, adapter } = recipe;
  const named = (path: string | undefined) => (path === undefined ? undefined : basename(resolve(path)));
  return {
    ...recipe,
    model: { ...model, path: base, ...(model.tokenizer === undefined ? {} : { tokenizer: named(model.tokenizer) }) },
    data: { ...data, ...(data.path === undefined ? {} : { path: named(data.path) }) },
    adapter: "start" in adapter && adapter.start !== undefined ? { ...adapter, start: named(adapter.start) } : adapter,
  };
}
