import { basename } from "node:path";
import { parameterCount } from "../models/layer.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { PretrainRecipe } from "../pretrain/recipe.ts";
import { type Decay, finalStep, totalSteps } from "../pretrain/schedule.ts";
import { rowEnds } from "../pretrain/sequences.ts";
import type { TrainedElsewhere } from "../runs/collected.ts";
import type { PretrainData, PretrainValidation } from "../runs/pretrain-run.ts";
import type { LogLine } from "../runs/run-folder.ts";
import { shown, table } from "./markdown.ts";

/** A text that the model continued, as the card shows it. */
export interface CardText {
  start: string;
  continuation: string;
}

export interface CardFacts {
  name: string;
  recipe: PretrainRecipe;
  spec: DecoderSpec;
  data: PretrainData;
  /** The run's log up to the exported checkpoint. */
  log: readonly LogLine[];
  step: number;
  decay: Decay | null;
  texts: readonly CardText[];
  /** How the texts were drawn. */
  sampling: string;
  /** Null for weights trained by `cre model pretrain` itself. */
  elsewhere: TrainedElsewhere | null;
}

const MOST_CURVE_ROWS = 24;
const whole = (count: number) => Math.round(count).toLocaleString("en");
const million = (count: number) => `${(count / 1e6).toFixed(2)} M`;

/** The model card of a pretrained model: every number in it comes from the run's recipe, text and log. */
export function modelCard(facts: CardFacts): string {
  const { name, recipe, spec, data, step } = facts;
  const { train } = recipe;
  const tokensPerStep = train.sequenceTokens * train.passSequences * train.accumulation;
  const sections = [
    frontMatter(recipe),
    `# ${name}: a small Chinese base model`,
    [
      `A Llama-architecture language model of ${million(parameterCount(spec))} parameters, ${beginning(recipe)} by cre-llm on the text below.`,
      "It continues Chinese text; it was not tuned to follow instructions. Its purpose is to be fine-tuned for relation extraction on one",
      "ordinary machine: `cre train recipes/finre-base.yaml`. It loads in transformers as a `LlamaForCausalLM`.",
    ].join("\n"),
    table(
      ["", ""],
      [
        ["parameters", `${whole(parameterCount(spec))} (embedding and head are one matrix)`],
        ["width, layers, heads, feed-forward", `${spec.width}, ${spec.layers}, ${spec.heads}, ${spec.feedForward}`],
        ["vocabulary", `${whole(spec.vocabularySize)} SentencePiece pieces (BPE, byte fallback, no dummy prefix)`],
        ["trained context", `${train.sequenceTokens} tokens (positions: rotary, base ${recipe.model.init.rotaryBase})`],
        ...(train.prefixShare ? [["prefixes", prefixText(train.prefixShare, train.maskShare)]] : []),
        ...(recipe.model.start === undefined ? [] : [["began as", startText(recipe.model)]]),
        [
          recipe.model.start === undefined ? "training tokens" : "tokens of this training",
          `${whole(step * tokensPerStep)} in ${whole(step)} steps of ${whole(tokensPerStep)}`,
        ],
        ["optimizer", optimizerText(facts)],
        ["training time", trainingTime(facts)],
        ["weights", "bfloat16"],
      ],
    ),
    "## Text",
    sourceTable(facts, tokensPerStep),
    [
      `“Rounds” is how often ${recipe.model.start === undefined ? "" : "this training saw "}the training part of a source${recipe.model.start === undefined ? " was seen" : ""}. Held-out documents were chosen by a hash of their text and never trained on${recipe.model.start === undefined ? "" : " here; whether the model that it began as had read them is not known"}.`,
      "Of FinRE and SanWen only training sentences are used, without those that repeat a validation or test sentence or share 18 characters",
      "with one; `node bench/corpus-overlap.mjs` checks that and the other sources.",
    ].join("\n"),
    "## Validation",
    [
      "Bits per character on the held-out documents: the bits to write the text with the model's probabilities, end marks included, divided by",
      `the number of characters; windows of ${train.sequenceTokens} tokens that do not see each other.`,
    ].join("\n"),
    curveTable(facts, tokensPerStep),
    "## Ten texts, not selected",
    `${facts.sampling} The starts are part of the program, the continuations are the first ones drawn.`,
    facts.texts
      .map(({ start, continuation }, i) => `${i + 1}. **${shown(start) || "(nothing)"}**${shown(continuation)}`)
      .join("\n"),
    "## Limits",
    [
      `- ${million(data.sources.reduce((sum, { train: part }) => sum + part.tokens.length, 0))} tokens of a few kinds of text${recipe.model.start === undefined ? "" : ", and what the model that it began as had read"}: what they do not speak of, the model does not know.`,
      "- It states falsehoods fluently, and repeats itself. Nothing it writes is a fact.",
      "- Statutes, stories about old times and an author who died in 1936 bring their time's views and words with them.",
      "- English and code were seen only inside of technical articles.",
    ].join("\n"),
    "## How it was made",
    [
      "```",
      ...(facts.elsewhere
        ? [
            "cre model pretrain recipes/base-zh-gpu.yaml --set data.folder=DIR --hand-over hand-over",
            "python engines/torch/pretrain.py hand-over --output out",
            "cre model pretrain recipes/base-zh-gpu.yaml --set data.folder=DIR --collect out",
          ]
        : recipe.model.start === undefined
          ? ["cre model pretrain recipes/base-zh.yaml --set data.folder=DIR"]
          : ["cre model pretrain RECIPE --run RUN"]),
      recipe.model.start === undefined
        ? "cre model export-base runs/base-zh --output models/base-zh"
        : `cre model export-base RUN --output ${name}`,
      "```",
    ].join("\n"),
  ];
  return `${sections.join("\n\n")}\n`;
}

function beginning({ model }: PretrainRecipe): string {
  return model.start === undefined ? "trained from nothing" : `trained on from ${startText(model)}`;
}

/** What a training went on from: its origin as the recipe says it, or the name of its folder. */
function startText({ start = "", startOrigin }: PretrainRecipe["model"]): string {
  return startOrigin ?? `the model ${basename(start)}`;
}

function frontMatter(recipe: PretrainRecipe): string {
  const licences = [...new Set(Object.values(recipe.data.sources).map(({ licence }) => licence))].filter(Boolean);
  return [
    "---",
    "language: zh",
    "license: mit",
    "pipeline_tag: text-generation",
    `# Licences of the text: ${licences.join("; ")}`,
    "---",
  ].join("\n");
}

function optimizerText({ recipe, decay, elsewhere }: CardFacts): string {
  const { learningRate, warmupSteps, schedule, decaySteps, beta1, beta2, weightDecay, clipNorm } = recipe.train;
  const end = decay ? decay.steps : decaySteps;
  const shape =
    schedule === "cosine"
      ? "cosine"
      : `constant, straight down over the last ${whole(end)} steps (${whole(totalSteps(recipe.train, decay))} in all)`;
  // engines/torch/pretrain.py never had another optimizer.
  const muon =
    elsewhere || recipe.train.optimizer === "muon"
      ? "Muon for the layers' matrices; for the rest, at half the rate, "
      : "";
  return `${muon}AdamW (betas ${beta1} and ${beta2}, weight decay ${weightDecay}), gradient clipped to norm ${clipNorm}, learning rate ${learningRate}: ${whole(warmupSteps)} steps of warm-up, ${shape}`;
}

function prefixText(share: number, maskShare = 0): string {
  const percent = (value: number) => `${(100 * value).toFixed(0)} %`;
  const masks = maskShare > 0 ? `about ${percent(maskShare)} of its tokens masked and predicted` : "not predicted";
  return `${percent(share)} of the sequences had documents with a prefix of random length: read in both directions, ${masks}`;
}

function trainingTime({ log, elsewhere }: CardFacts): string {
  const steps = log.filter(({ kind }) => kind === "step");
  const seconds = steps.map((line) => Number(line.seconds)).sort((a, b) => a - b);
  if (seconds.length === 0) return "not logged";
  // The median: a run that was paused for a while did not compute meanwhile.
  const median = seconds[seconds.length >> 1];
  const tokens = steps.reduce((sum, line) => sum + Number(line.tokens), 0) / steps.length;
  const hours = (median * steps.length) / 3600;
  const program = elsewhere ? ` by engines/torch/pretrain.py on ${elsewhere.device} (PyTorch ${elsewhere.torch})` : "";
  return `${hours.toFixed(1)} h of computing${program}, ${whole(tokens / median)} tokens/s`;
}

function sourceTable({ recipe, data, log, step, decay }: CardFacts, tokensPerStep: number): string {
  const last = validationsOf(log).at(-1);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const all = Object.values(recipe.data.sources);
  const total = sum(all.map(({ weight }) => weight));
  const finalTotal = sum(all.map(({ weight, finalWeight = weight }) => finalWeight));
  const early = Math.min(step, finalStep(recipe.train, decay));
  const rows = data.sources.map(({ name, train, heldOut }) => {
    const { weight, finalWeight, origin, licence } = recipe.data.sources[name];
    const share = weight / total;
    const finalShare = (finalWeight ?? weight) / finalTotal;
    const steps = share * early + finalShare * (step - early);
    const rounds = (steps * tokensPerStep) / (rowEnds(train).at(-1) ?? 1);
    const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
    return [
      name,
      origin,
      licence,
      whole(train.ends.length),
      million(train.characters),
      million(train.tokens.length),
      finalWeight === undefined ? percent(share) : `${percent(share)}, at the end ${percent(finalShare)}`,
      rounds.toFixed(1),
      whole(heldOut.characters),
      last?.sources[name]?.bitsPerCharacter.toFixed(3) ?? "–",
    ];
  });
  const head = [
    "source",
    "origin",
    "licence",
    "documents",
    "characters",
    "tokens",
    "share",
    "rounds",
    "held-out characters",
    "bits per character",
  ];
  return table(head, rows);
}

function validationsOf(log: readonly LogLine[]): PretrainValidation[] {
  return log.filter(({ kind }) => kind === "validation") as unknown as PretrainValidation[];
}

/** The curve: every validation, thinned to fit a page; the last one is always there. */
function curveTable({ log, data }: CardFacts, tokensPerStep: number): string {
  const all = validationsOf(log);
  const stride = Math.max(1, Math.ceil(all.length / MOST_CURVE_ROWS));
  const kept = all.filter((_, i) => (all.length - 1 - i) % stride === 0);
  const names = data.sources.map(({ name }) => name);
  const rows = kept.map(({ step, bitsPerCharacter, sources }) => [
    whole(step),
    `${((step * tokensPerStep) / 1e6).toFixed(1)} M`,
    bitsPerCharacter.toFixed(3),
    ...names.map((name) => sources[name]?.bitsPerCharacter.toFixed(3) ?? "–"),
  ]);
  return table(["step", "tokens", "all", ...names], rows);
}
