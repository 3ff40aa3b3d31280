import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { encodePlain } from "../../tokenizers/tokenizer.ts";
import { admit, runOf, type ServeContext } from "../context.ts";
import { canScore } from "../openai/choice-lane.ts";
import { type Completion, complete, expectFitting } from "../openai/complete.ts";
import { completingRun } from "../openai/completing-run.ts";
import { sendEvents } from "../openai/event-stream.ts";
import { completionLogProbabilities } from "../openai/log-probabilities.ts";
import { type CompletionParameters, expectSupported, formOf, parameterProperties } from "../openai/parameters.ts";
import { Problem } from "../problem.ts";
import type { Ticket } from "../scheduler.ts";
import { answers, LINES, OBJECT, problems } from "../schemas.ts";
import type { ServedRun } from "../served-run.ts";

interface Body extends CompletionParameters {
  prompt: string | string[] | number[] | number[][];
  logprobs?: number | null;
  echo?: boolean | null;
  /** Extensions, as vLLM names them. */
  logprob_token_ids?: number[] | null;
  return_tokens_as_token_ids?: boolean | null;
}

/** OpenAI's own default. */
const USUAL_TOKENS = 16;
const MAX_PROMPTS = 64;
const MAX_TOP = 20;
/** vLLM's own limit. */
const MAX_NAMED = 128;

/** POST /v1/completions, as OpenAI's clients and evaluation harnesses ask: with echo and logprobs, the prompt is scored. */
export function addCompletionsRoute(app: FastifyInstance, context: ServeContext): void {
  const { limits } = context;
  const token = { type: "integer", minimum: 0 };
  const text = { type: "string", maxLength: limits.textCharacters };
  const ids = { type: "array", items: token, minItems: 1, maxItems: 100_000 };
  const body = {
    type: "object",
    properties: {
      prompt: {
        anyOf: [
          text,
          { type: "array", items: text, minItems: 1, maxItems: MAX_PROMPTS },
          ids,
          { type: "array", items: ids, minItems: 1, maxItems: MAX_PROMPTS },
        ],
      },
      ...parameterProperties(limits),
      logprobs: { anyOf: [{ type: "integer", minimum: 0, maximum: MAX_TOP }, { type: "null" }] },
      echo: { anyOf: [{ type: "boolean" }, { type: "null" }] },
      logprob_token_ids: {
        anyOf: [{ type: "array", items: token, maxItems: MAX_NAMED }, { type: "null" }],
        description: "Tokens whose probabilities are told at each place, with logprobs.",
      },
      return_tokens_as_token_ids: { anyOf: [{ type: "boolean" }, { type: "null" }] },
    },
    required: ["prompt"],
    examples: [{ prompt: "远山集团收购了", max_tokens: 8, temperature: 0, logprobs: 1 }],
  };
  const schema = {
    tags: ["OpenAI"],
    summary: "Completions",
    body,
    response: {
      ...answers("The answer.", { "application/json": OBJECT, "text/event-stream": LINES }),
      ...problems(404, 413, 422, 429),
    },
  };
  app.post<{ Body: Body }>("/v1/completions", { schema }, async (request, reply) => {
    const { body: given } = request;
    expectSupported(given);
    formOf(given);
    const served = runOf(context, given.model);
    const prompts = promptsOf(given.prompt, served);
    const maxNewTokens = given.max_tokens ?? USUAL_TOKENS;
    for (const promptIds of prompts) expectFitting(served, promptIds.length, maxNewTokens);
    const top = given.logprobs ?? null;
    const n = given.n ?? 1;
    const named = given.logprob_token_ids ?? [];
    for (const id of named) expectToken(id, "logprob_token_ids", served);
    if (named.length > 0 && (top === null || given.echo || formOf(given).kind === "choice")) {
      throw new Problem("bad-request", "logprob_token_ids: expected logprobs with it, and neither echo nor a choice.");
    }
    const byId = given.return_tokens_as_token_ids ?? false;
    if (given.echo) expectEcho(given, served);
    const ticket = admit(context, request, reply, n * prompts.length);
    const head = {
      id: `cmpl-${randomUUID()}`,
      object: "text_completion",
      created: Math.floor(Date.now() / 1000),
      model: served.name,
    };
    const { tokenizer } = served.run;
    const completeOne = (promptIds: number[], onText?: Parameters<typeof complete>[4]["onText"]) =>
      complete(context, served, ticket, given, { promptIds, maxNewTokens, top, named, onText });
    const usageOf = (completions: readonly Completion[]) => {
      const [read, made] = [
        prompts.reduce((sum, { length }) => sum + length, 0),
        completions.reduce((sum, { tokens }) => sum + tokens.length, 0),
      ];
      return { prompt_tokens: read, completion_tokens: made, total_tokens: read + made };
    };
    if (!given.stream) {
      const answers = await Promise.all(
        prompts.map(async (promptIds) => {
          const echoed = given.echo ? await echo(context, served, ticket, promptIds, top) : null;
          return (await completeOne(promptIds)).map((completion) => ({ completion, echoed }));
        }),
      );
      return {
        ...head,
        choices: answers.flat().map(({ completion: { text: own, tokens, finish, choices }, echoed }, index) => ({
          ...{ index, text: (echoed?.text ?? "") + own, finish_reason: finish },
          logprobs:
            top === null
              ? null
              : completionLogProbabilities([...(echoed?.tokens ?? []), ...tokens], tokenizer, 0, byId),
          ...(choices ? { choice_probabilities: choices } : {}),
        })),
        usage: usageOf(answers.flat().map(({ completion }) => completion)),
      };
    }
    return sendEvents(reply, async (send) => {
      const chunk = (choice: object) => send({ ...head, choices: [choice] });
      const all = await Promise.all(
        prompts.map(async (promptIds, p) => {
          const offsets = new Array(n).fill(0);
          const completions = await completeOne(promptIds, (index, own, tokens) => {
            const logprobs = top === null ? null : completionLogProbabilities(tokens, tokenizer, offsets[index], byId);
            offsets[index] += own.length;
            chunk({ index: p * n + index, text: own, logprobs, finish_reason: null });
          });
          for (const [index, { finish }] of completions.entries()) {
            chunk({ index: p * n + index, text: "", logprobs: null, finish_reason: finish });
          }
          return completions;
        }),
      );
      if (given.stream_options?.include_usage) send({ ...head, choices: [], usage: usageOf(all.flat()) });
    });
  });
}

/** The ids of each prompt: texts have the begin token in front where the tokenizer has one. */
function promptsOf(prompt: Body["prompt"], served: ServedRun): number[][] {
  const { run } = served;
  const { tokenizer } = run;
  const encode = (text: string) => [
    ...(tokenizer.bosId === null ? [] : [tokenizer.bosId]),
    ...encodePlain(tokenizer, text),
  ];
  if (typeof prompt === "string") return [encode(prompt)];
  const list = prompt.every((one) => typeof one === "number")
    ? [prompt as number[]]
    : (prompt as (string | number[])[]);
  return list.map((one) => {
    if (typeof one === "string") return encode(one);
    for (const id of one) expectToken(id, "prompt", served);
    return one;
  });
}

function expectToken(id: number, name: string, { run }: ServedRun): void {
  const { tokenCount } = run.model.spec;
  if (id < tokenCount) return;
  throw new Problem("bad-request", `${name}: has the id ${id}, expected ids below ${tokenCount}.`);
}

function expectEcho({ stream }: Body, { run }: ServedRun): void {
  if (stream) throw new Problem("bad-request", "echo is not supported together with stream.");
  if (run.model.spec.promptAttention === "both") {
    throw new Problem("bad-request", "echo is not supported: tokens of this run's prompts see those after them.");
  }
}

/** The prompt as the beginning of the answer, with its probabilities where they are asked for. */
async function echo(
  context: ServeContext,
  served: ServedRun,
  ticket: Ticket,
  promptIds: number[],
  top: number | null,
): Promise<{ text: string; tokens: Completion["tokens"] }> {
  const { tokenizer } = served.run;
  const own = tokenizer.bosId !== null && promptIds[0] === tokenizer.bosId ? promptIds.slice(1) : promptIds;
  const text = tokenizer.decode(own);
  if (top === null) return { text, tokens: [] };
  const wanted = { ids: promptIds, from: promptIds.length - own.length, top, promptTokens: 0 };
  if (!canScore(served.run, wanted)) {
    throw new Problem("unusable", "The prompt has too many tokens to tell the most likely ones of each.", {
      hint: "Ask with logprobs: 0, or send a shorter prompt.",
    });
  }
  const [tokens] = await ticket.ask(completingRun(served, context.limits).scores, [wanted]);
  return { text, tokens };
}
