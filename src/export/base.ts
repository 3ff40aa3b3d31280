import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { createRandom } from "../base/random.ts";
import { generate } from "../decode/generate.ts";
import { type Decoder, decoderWeights } from "../models/decoder.ts";
import { saveDecoder } from "../models/save.ts";
import type { PretrainRecipe } from "../pretrain/recipe.ts";
import { readTrainedElsewhere } from "../runs/collected.ts";
import { type PretrainData, readDecay } from "../runs/pretrain-run.ts";
import { type RunFolder, readLog } from "../runs/run-folder.ts";
import { loadWeightValues, readTrainingProgress } from "../runs/training-state.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { type CardText, modelCard } from "./card.ts";
import { exportTokenizer } from "./tokenizer-files.ts";

/** How the ten texts of a card begin. */
const STARTS = [
  "",
  "",
  "",
  "昨日，公司",
  "春天的早晨，",
  "第一条 为了",
  "在 Linux 系统中，",
  "他站在门口，",
  "上海市",
  "母亲说：",
];
const CONTINUATION = { tokens: 80, temperature: 0.8, topP: 0.9 };

/**
 * Writes the last checkpoint of a run as a Hugging Face folder in bfloat16, with its tokenizer and a model card made from recipe, text and
 * log. Throws a UserError for a run without a checkpoint. `model` has the run's sizes; its weights are replaced.
 */
export async function exportBase(
  model: Decoder,
  tokenizer: Tokenizer,
  recipe: PretrainRecipe,
  data: PretrainData,
  folder: RunFolder,
  directory: string,
  onNotice: (line: string) => void = () => {},
): Promise<{ step: number }> {
  if (!existsSync(folder.state)) {
    throw new UserError(`${folder.directory}: has no checkpoint yet.`, {
      hint: "Ctrl-C saves one, and so does every checkpointSeconds of the recipe.",
    });
  }
  const { step } = await readTrainingProgress(folder.state);
  await loadWeightValues(model.backend, decoderWeights(model), folder.state);
  const log = (await readLog(folder)).filter((line) => line.step <= step);
  const texts = await continueStarts(model, tokenizer, data.marks.start);
  await exportTokenizer(recipe.model.tokenizer, directory, {
    modelType: recipe.model.init.family,
    onNotice,
    config: { model_max_length: recipe.model.init.maxTokens },
  });
  await saveDecoder(model, directory, { dtype: "BF16" });
  const { tokens, temperature, topP } = CONTINUATION;
  const sampling = `Temperature ${temperature}, top-p ${topP}, at most ${tokens} tokens, seeds 1 to ${STARTS.length}.`;
  const decay = await readDecay(folder);
  const name = basename(resolve(directory));
  const elsewhere = await readTrainedElsewhere(folder.directory);
  const card = modelCard({ name, recipe, spec: model.spec, data, log, step, decay, texts, sampling, elsewhere });
  await writeFileAtomic(join(directory, "README.md"), card);
  return { step };
}

async function continueStarts(model: Decoder, tokenizer: Tokenizer, startId: number): Promise<CardText[]> {
  const texts: CardText[] = [];
  for (const [i, start] of STARTS.entries()) {
    const prompt = [startId, ...tokenizer.encode(start)];
    const { temperature, topP, tokens: maxNewTokens } = CONTINUATION;
    const sampling = { temperature, topP, topK: 0, random: createRandom(i + 1) };
    const [{ ids }] = await generate(model, [prompt], { maxNewTokens, eosId: tokenizer.eosId, sampling });
    texts.push({ start, continuation: tokenizer.decode([...prompt, ...ids]).slice(start.length) });
  }
  return texts;
}
