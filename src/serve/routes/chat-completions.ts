import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { admit, runOf, type ServeContext } from "../context.ts";
import { type Completion, complete, expectFitting } from "../openai/complete.ts";
import { sendEvents } from "../openai/event-stream.ts";
import { chatLogProbabilities } from "../openai/log-probabilities.ts";
import { type CompletionParameters, expectSupported, formOf, parameterProperties } from "../openai/parameters.ts";
import { Problem } from "../problem.ts";
import { answers, LINES, OBJECT, problems } from "../schemas.ts";

interface Message {
  role: string;
  content: string | { type: string; text?: string }[];
}

interface Body extends CompletionParameters {
  messages: Message[];
  logprobs?: boolean | null;
  top_logprobs?: number | null;
}

const USUAL_TOKENS = 256;
const MAX_MESSAGES = 32;
const MAX_TOP = 20;

/** POST /v1/chat/completions, as OpenAI's clients ask. */
export function addChatCompletionsRoute(app: FastifyInstance, context: ServeContext): void {
  const { limits } = context;
  const content = {
    anyOf: [
      { type: "string", maxLength: limits.textCharacters },
      {
        type: "array",
        items: {
          type: "object",
          properties: { type: { type: "string" }, text: { type: "string" } },
          required: ["type"],
        },
        maxItems: 64,
      },
    ],
  };
  const message = { type: "object", properties: { role: { type: "string" }, content }, required: ["role", "content"] };
  const body = {
    type: "object",
    properties: {
      messages: { type: "array", items: message, minItems: 1, maxItems: MAX_MESSAGES },
      ...parameterProperties(limits),
      max_completion_tokens: { anyOf: [{ type: "integer", minimum: 0, maximum: limits.newTokens }, { type: "null" }] },
      logprobs: { anyOf: [{ type: "boolean" }, { type: "null" }] },
      top_logprobs: { anyOf: [{ type: "integer", minimum: 0, maximum: MAX_TOP }, { type: "null" }] },
    },
    required: ["messages"],
    examples: [
      {
        messages: [{ role: "user", content: "远山集团收购了近水公司的股份。远山集团与近水公司的关系是？" }],
        structured_outputs: { choice: ["收购", "合作", "无关"] },
        temperature: 0,
        logprobs: true,
      },
    ],
  };
  const schema = {
    tags: ["OpenAI"],
    summary: "Chat completions",
    description: "The run's chat template has one round: system messages are put before the one of the user.",
    body,
    response: {
      ...answers("The answer.", { "application/json": OBJECT, "text/event-stream": LINES }),
      ...problems(404, 413, 422, 429),
    },
  };
  app.post<{ Body: Body }>("/v1/chat/completions", { schema }, async (request, reply) => {
    const { body: given } = request;
    expectSupported(given);
    const served = runOf(context, given.model);
    const { renderer, tokenizer, model } = served.run;
    formOf(given);
    const promptIds = renderer.encodeQuery(queryOf(given.messages));
    const room = Math.max(0, model.spec.maxTokens - promptIds.length);
    const maxNewTokens =
      given.max_completion_tokens ?? given.max_tokens ?? Math.min(USUAL_TOKENS, limits.newTokens, room);
    expectFitting(served, promptIds.length, maxNewTokens);
    const top = given.logprobs ? (given.top_logprobs ?? 0) : null;
    const ticket = admit(context, request, reply, given.n ?? 1);
    const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model: served.name };
    const logprobs = (tokens: Completion["tokens"]) => (top === null ? null : chatLogProbabilities(tokens, tokenizer));
    const usageOf = (completions: readonly Completion[]) => {
      const made = completions.reduce((sum, { tokens }) => sum + tokens.length, 0);
      return { prompt_tokens: promptIds.length, completion_tokens: made, total_tokens: promptIds.length + made };
    };
    if (!given.stream) {
      const completions = await complete(context, served, ticket, given, { promptIds, maxNewTokens, top });
      return {
        ...{ ...head, object: "chat.completion" },
        choices: completions.map(({ text, tokens, finish, choices }, index) => ({
          ...{ index, message: { role: "assistant", content: text, refusal: null } },
          ...{ logprobs: logprobs(tokens), finish_reason: finish },
          ...(choices ? { choice_probabilities: choices } : {}),
        })),
        usage: usageOf(completions),
      };
    }
    return sendEvents(reply, async (send) => {
      const chunk = (choice: object) => send({ ...head, object: "chat.completion.chunk", choices: [choice] });
      for (let index = 0; index < (given.n ?? 1); index++) {
        chunk({ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null });
      }
      const completions = await complete(context, served, ticket, given, {
        ...{ promptIds, maxNewTokens, top },
        onText: (index, text, tokens) =>
          chunk({ index, delta: { content: text }, logprobs: logprobs([...tokens]), finish_reason: null }),
      });
      for (const [index, { finish, choices }] of completions.entries()) {
        const extra = choices ? { choice_probabilities: choices } : {};
        chunk({ index, delta: {}, logprobs: null, finish_reason: finish, ...extra });
      }
      if (given.stream_options?.include_usage) {
        send({ ...head, object: "chat.completion.chunk", choices: [], usage: usageOf(completions) });
      }
    });
  });
}

/** The text of the one round that a template has. Throws a Problem for several rounds and for content that is no text. */
function queryOf(messages: readonly Message[]): string {
  const texts = messages.map(({ role, content }, i) => {
    const isLast = i === messages.length - 1;
    if (role !== (isLast ? "user" : role === "developer" ? "developer" : "system")) {
      throw new Problem("bad-request", `messages.${i}: has the role ${JSON.stringify(role.slice(0, 40))}.`, {
        hint: "Expected system messages and one of the user at the end: the runs answer one question.",
      });
    }
    if (typeof content === "string") return content;
    const other = content.find((part) => part.type !== "text" || part.text === undefined);
    if (other) throw new Problem("bad-request", `messages.${i}: has a part that is no text.`);
    return content.map((part) => part.text).join("");
  });
  return texts.join("\n");
}
