/**
 * Whether a server of an export answers as the run does: node bench/served.mjs RUN --url URL --model NAME [--data DIR] [--rows 20] [--as WAY]
 * Asks the first rows of the test split and compares the text and the number of prompt tokens with greedy generation here, of float32 weights.
 * WAY: chat (OpenAI's /v1/chat/completions, the default), text (/v1/completions with the whole prompt), ollama (/api/chat, by which the Modelfile sets
 * the temperature).
 */
import { parseArgs } from "node:util";
import { openDataset } from "../dist/data/dataset.js";
import { generate } from "../dist/decode/generate.js";
import { templateText } from "../dist/prompts/chat-template.js";
import { openTrained } from "../dist/runs/open.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: "string" },
    model: { type: "string" },
    data: { type: "string", default: "demo" },
    rows: { type: "string", default: "20" },
    as: { type: "string", default: "chat" },
  },
});
const { url, model, as } = values;
const [run] = positionals;
if (!run || !url || !model || !["chat", "text", "ollama"].includes(as)) {
  console.error(
    "usage: node bench/served.mjs RUN --url URL --model NAME [--data DIR] [--rows 20] [--as chat|text|ollama]",
  );
  process.exit(2);
}

async function post(path, body) {
  const response = await fetch(new URL(path, url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, ...body }),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** The answer to a question, and the number of prompt tokens as the server counts them. */
async function ask(question, template, maxTokens) {
  const messages = [{ role: "user", content: question }];
  if (as === "ollama") {
    const { message, prompt_eval_count } = await post("/api/chat", { messages, stream: false });
    return { text: message.content, tokens: prompt_eval_count };
  }
  const settings = { temperature: 0, max_tokens: maxTokens };
  const { choices, usage } =
    as === "text"
      ? await post("/v1/completions", { prompt: templateText(template, question), ...settings })
      : await post("/v1/chat/completions", { messages, ...settings });
  return { text: choices[0].message?.content ?? choices[0].text, tokens: usage.prompt_tokens };
}

const opened = await openTrained(run, { storage: "float32" });
const { renderer, tokenizer, recipe } = opened;
const dataset = await openDataset(values.data);
const examples = (await dataset.split("test")).examples.slice(0, Number(values.rows));
const prompts = examples.map((example) => renderer.renderPrompt(example).ids);
const { maxAnswerTokens } = recipe.prompt;
const own = await generate(opened.model, prompts, { maxNewTokens: maxAnswerTokens, eosId: renderer.eosId });
let same = 0;
for (const [i, example] of examples.entries()) {
  const wanted = tokenizer.decode(own[i].ids.filter((id) => id !== renderer.eosId));
  const got = await ask(renderer.style.renderQuery(example), renderer.template, maxAnswerTokens);
  if (got.text === wanted && got.tokens === prompts[i].length) same++;
  else
    console.log(
      `row ${i}: ${JSON.stringify(got)}, here ${JSON.stringify({ text: wanted, tokens: prompts[i].length })}`,
    );
}
console.log(`${model}, ${as}: ${same} of ${examples.length} answers are the same`);
await opened.close();
