import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { promptStyle } from "../../src/prompts/relation-prompt.ts";
import { writeToyBase, writeToyLora } from "../toy-runs.ts";
import { type Serving, serving } from "./serving.ts";
import { buildCli, cre, temporaryFolder, toyRows, writeToyData } from "./support.ts";

// The official client of OpenAI asks cre serve.

const temporary = temporaryFolder("cli-serve-openai");
const file = (name: string) => `${temporary.path}/${name}`;
const rows = toyRows(4, 9).map(({ relations: _, ...row }) => row);
const labels = ["unknown", "收购", "被收购", "合作"];
const style = promptStyle("marked");
let server: Serving;
let client: OpenAI;

/** Settings beside those of OpenAI. */
type Extended = { structured_outputs?: { choice?: string[]; regex?: string } };
const chat = (
  body: Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, "model"> & Extended,
): Promise<OpenAI.ChatCompletion> => client.chat.completions.create({ model: "toy", ...body });
const ask = (content: string) => [{ role: "user" as const, content }];
/** The status and message of a call that is refused. */
async function refusal(call: Promise<unknown>): Promise<[number | undefined, string]> {
  const error = await call.then(() => null).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpenAI.APIError);
  const { status, message } = error as InstanceType<typeof OpenAI.APIError>;
  return [status, message];
}

beforeAll(async () => {
  await buildCli();
  const base = await writeToyBase(file("base"));
  const changes = { decode: { companion: 0 } };
  const recipe = writeToyLora(file("toy.yaml"), writeToyData(file("data")), base, changes);
  const trained = await cre(["train", recipe, "--run", file("toy")]);
  expect(trained.code, trained.stderr).toBe(0);
  server = await serving([file("toy")]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
}, 60_000);
afterAll(async () => {
  await server?.end();
  temporary.remove();
});

describe("chat completions", () => {
  it("choose among the labels with the probabilities that cre extract has of the language model", async () => {
    for (const row of rows) {
      const answers = labels.map((label) => style.answerFor(row, label));
      const response = await server.post("/v1/extract", { examples: [row], probabilities: true });
      const { results } = (await response.json()) as { results: { modelProbabilities: Record<string, number> }[] };
      const messages = ask(style.renderQuery(row));
      const answer = await chat({ messages, temperature: 0, logprobs: true, structured_outputs: { choice: answers } });
      const [choice] = answer.choices as (OpenAI.ChatCompletion.Choice & {
        choice_probabilities: { text: string; probability: number }[];
      })[];
      let largest = 0;
      for (const [i, { text, probability }] of choice.choice_probabilities.entries()) {
        expect(text).toBe(answers[i]);
        largest = Math.max(largest, Math.abs(probability - results[0].modelProbabilities[labels[i]]));
      }
      expect(largest).toBeLessThanOrEqual(1.001e-6);
      const best = choice.choice_probabilities.reduce((a, b) => (b.probability > a.probability ? b : a));
      expect([choice.message.content, choice.finish_reason]).toEqual([best.text, "stop"]);
      // The model's own probability of the whole answer is at most that among the choices.
      const log = (choice.logprobs?.content ?? []).reduce((sum, { logprob }) => sum + logprob, 0);
      expect(log).toBeLessThanOrEqual(1e-6);
      expect(Math.exp(log)).toBeLessThanOrEqual(best.probability + 1e-6);
      expect(Math.exp(log)).toBeGreaterThan(0);
    }
  });

  it("write JSON of a schema, and texts of an expression, whatever the model would say", async () => {
    const schema = {
      type: "object",
      properties: { relation: { enum: labels }, isSure: { type: "boolean" }, year: { type: "integer" } },
      required: ["relation", "isSure", "year"],
      additionalProperties: false,
    };
    const response_format = { type: "json_schema" as const, json_schema: { name: "answer", schema } };
    for (const temperature of [0, 1.5]) {
      const { choices } = await chat({
        messages: ask("远山收购近水"),
        max_tokens: 120,
        temperature,
        seed: 3,
        n: 3,
        response_format,
      });
      expect(choices).toHaveLength(3);
      for (const { message, finish_reason } of choices) {
        expect(finish_reason).toBe("stop");
        const value = JSON.parse(message.content ?? "");
        expect(labels).toContain(value.relation);
        expect([Object.keys(value), typeof value.isSure, Number.isInteger(value.year)]).toEqual([
          ["relation", "isSure", "year"],
          "boolean",
          true,
        ]);
      }
    }
    const { choices } = await chat({
      ...{ messages: ask("何时？"), max_tokens: 60, temperature: 1, seed: 4, n: 4 },
      structured_outputs: { regex: "(19|20)\\d{2}年(1[0-2]|[1-9])月" },
    });
    for (const { message } of choices) expect(message.content).toMatch(/^(19|20)\d{2}年(1[0-2]|[1-9])月$/);
  });

  it("stream the same text, with its probabilities and usage", async () => {
    const body = {
      messages: ask("远山收购近水"),
      max_tokens: 24,
      temperature: 0.8,
      seed: 11,
      logprobs: true,
      top_logprobs: 2,
    };
    const whole = await chat(body);
    const again = await chat(body);
    expect(again.choices[0].message.content).toBe(whole.choices[0].message.content);
    const stream = await client.chat.completions.create({
      model: "toy",
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    const tokens: number[] = [];
    let finish: string | null = null;
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      usage = chunk.usage ?? usage;
      for (const { delta, logprobs, finish_reason } of chunk.choices) {
        text += delta.content ?? "";
        tokens.push(...(logprobs?.content ?? []).map(({ logprob }) => logprob));
        finish = finish_reason ?? finish;
      }
    }
    expect([text, finish, usage]).toEqual([
      whole.choices[0].message.content,
      whole.choices[0].finish_reason,
      whole.usage,
    ]);
    const expected = whole.choices[0].logprobs?.content ?? [];
    expect(tokens).toHaveLength(expected.length);
    for (const [i, { logprob, top_logprobs }] of expected.entries()) {
      expect(tokens[i]).toBeCloseTo(logprob, 4);
      expect(top_logprobs).toHaveLength(2);
      expect(top_logprobs[0].logprob).toBeGreaterThanOrEqual(logprob - 1e-6);
    }
    expect(expected.length).toBe(whole.usage?.completion_tokens);
  });

  it("end before a stop text", async () => {
    const body = { messages: ask("远山收购近水"), max_tokens: 24, temperature: 0 };
    const { choices } = await chat(body);
    const text = choices[0].message.content ?? "";
    const stop = text.slice(2, 4);
    const stopped = await chat({ ...body, stop: [stop, "不会有的"] });
    expect([stopped.choices[0].message.content, stopped.choices[0].finish_reason]).toEqual([
      text.slice(0, text.indexOf(stop)),
      "stop",
    ]);
  });

  it("refuse what would be ignored or cannot be enforced", async () => {
    const messages = ask("甲");
    expect(await refusal(chat({ messages, frequency_penalty: 1 }))).toEqual([
      400,
      expect.stringContaining("frequency_penalty is not supported"),
    ]);
    expect(await refusal(chat({ messages, tools: [{ type: "function", function: { name: "f" } }] }))).toEqual([
      400,
      expect.stringContaining("tools is not supported"),
    ]);
    expect(await refusal(chat({ messages, response_format: { type: "json_object" } }))).toEqual([
      400,
      expect.stringContaining("json_object is not supported"),
    ]);
    const recursive = { type: "json_schema" as const, json_schema: { name: "x", schema: { $ref: "#" } } };
    expect(await refusal(chat({ messages, response_format: recursive }))).toEqual([
      422,
      expect.stringContaining("refers to itself"),
    ]);
    expect(await refusal(chat({ messages, structured_outputs: { regex: "(?=a)b" } }))).toEqual([
      422,
      expect.stringContaining("look-around"),
    ]);
    expect(await refusal(chat({ messages: [...messages, { role: "assistant", content: "乙" }, ...messages] }))).toEqual(
      [400, expect.stringContaining("answer one question")],
    );
    expect(await refusal(chat({ messages, max_tokens: 1000 }))).toEqual([
      400,
      expect.stringContaining("expected at most 256 together"),
    ]);
    expect(await refusal(client.chat.completions.create({ model: "none", messages }))).toEqual([
      404,
      expect.stringContaining('There is no run "none"'),
    ]);
    expect(await refusal(chat({ messages, structured_outputs: { choice: ["甲", "甲"], regex: "a" } }))).toEqual([
      400,
      expect.stringContaining("several forms"),
    ]);
  });
});

describe("completions", () => {
  it("score a given text with echo, as evaluation harnesses ask", async () => {
    const { choices } = await client.completions.create({
      model: "toy",
      prompt: ["远山收购近水", "甲"],
      max_tokens: 1,
      echo: true,
      logprobs: 1,
      temperature: 0,
    });
    expect(choices.map(({ index }) => index)).toEqual([0, 1]);
    const { text, logprobs } = choices[0];
    expect(text.startsWith("远山收购近水")).toBe(true);
    const scores = logprobs?.token_logprobs ?? [];
    expect(scores.length).toBe(logprobs?.tokens?.length);
    // The begin token is in front, so the first token has a probability too.
    for (const score of scores) expect(score).toBeLessThanOrEqual(1e-6);
    expect(logprobs?.tokens?.join("")).toBe(text);
    expect(logprobs?.text_offset?.[0]).toBe(0);
    // The token that greedy decoding added is the most likely one at its place.
    const [most] = Object.values(logprobs?.top_logprobs?.at(-1) ?? {});
    expect(most).toBeCloseTo(scores.at(-1) as number, 4);
  });

  it("continue ids and texts alike, and stream", async () => {
    const prompt = "远山收购";
    const one = await client.completions.create({ model: "toy", prompt, max_tokens: 6, temperature: 0 });
    expect(one.usage?.completion_tokens).toBeLessThanOrEqual(6);
    let text = "";
    for await (const chunk of await client.completions.create({
      model: "toy",
      prompt,
      max_tokens: 6,
      temperature: 0,
      stream: true,
    })) {
      text += chunk.choices[0].text;
    }
    expect(text).toBe(one.choices[0].text);
    expect(await refusal(client.completions.create({ model: "toy", prompt: [1, 999_999] }))).toEqual([
      400,
      expect.stringContaining("has the id 999999"),
    ]);
  });

  it("tell named tokens by their ids, and refuse them where they would not be told", async () => {
    const complete = (more: object, prompt = "远山收购") =>
      client.completions.create({ model: "toy", prompt, max_tokens: 1, temperature: 0, ...more });
    const named = { logprob_token_ids: [17, 23, 5], return_tokens_as_token_ids: true };
    // Also where the model ends at once.
    for (const prompt of ["远山收购", "收购", "合作", "被收购", "甲"]) {
      const { choices } = await complete({ logprobs: 1, ...named }, prompt);
      const [top] = choices[0].logprobs?.top_logprobs ?? [];
      expect(Object.keys(top)).toEqual(expect.arrayContaining(["token_id:5", "token_id:17", "token_id:23"]));
      const all = Object.values(top);
      expect(Math.max(...all)).toBeLessThan(0);
      expect(all.reduce((sum, score) => sum + Math.exp(score), 0)).toBeLessThanOrEqual(1 + 1e-6);
    }
    for (const more of [{}, { logprobs: 1, echo: true }, { logprobs: 1, structured_outputs: { choice: ["甲"] } }]) {
      expect(await refusal(complete({ ...named, ...more }))).toEqual([
        400,
        expect.stringContaining("expected logprobs with it, and neither echo nor a choice"),
      ]);
    }
    expect(await refusal(complete({ logprobs: 1, logprob_token_ids: [999_999] }))).toEqual([
      400,
      expect.stringContaining("logprob_token_ids: has the id 999999"),
    ]);
  }, 60_000);

  it("list the runs as models", async () => {
    const models = await client.models.list();
    expect(models.data).toEqual([
      expect.objectContaining({ id: "toy", object: "model", owned_by: "cre-llm", max_model_len: 256 }),
    ]);
    expect((await client.models.retrieve("toy")).id).toBe("toy");
  });
});
