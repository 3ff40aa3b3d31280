import type { FastifyInstance } from "fastify";
import type { ReadItem } from "../../documents/read/format.ts";
import { exampleOf, type GivenExample, pairAnswer } from "../answers.ts";
import { admit, runOf, type ServeContext } from "../context.ts";
import type { GivenEntity } from "../given-entities.ts";
import { sendLines, sendObject } from "../ndjson.ts";
import { Problem } from "../problem.ts";
import type { Ticket } from "../scheduler.ts";
import { answers, extractBody, LINES, PAIR_ANSWER, problems, TRIPLE } from "../schemas.ts";
import type { ServedRun } from "../served-run.ts";
import { finderFor, type TextEvent, type TextSettings, textEvents } from "../text-work.ts";

interface Body extends TextSettings {
  run?: string;
  examples?: GivenExample[];
  text?: string;
  entities?: GivenEntity[];
  find?: boolean;
  probabilities?: boolean;
  stream?: boolean;
}

/** Examples of a streamed answer that are asked together. */
const STREAM_EXAMPLES = 64;

/** POST /v1/extract: the relations of pairs, or of a text. */
export function addExtractRoute(app: FastifyInstance, context: ServeContext): void {
  const answer = {
    type: "object",
    description: "With stream: one JSON line each: a result, or mentions, triples, counts.",
    properties: {
      run: { type: "string" },
      results: { type: "array", items: PAIR_ANSWER, description: "One for each example, in order." },
      mentions: { type: "array", items: { type: "object", additionalProperties: true } },
      triples: { type: "array", items: TRIPLE },
      counts: { type: "object", additionalProperties: true },
    },
  };
  const schema = {
    tags: ["extraction"],
    summary: "Relations of pairs, or of a text",
    description: "Give either examples, or a text.",
    body: extractBody(context.limits),
    response: {
      ...answers("The relations.", { "application/json": answer, "application/x-ndjson": LINES }),
      ...problems(404, 413, 422, 429),
    },
  };
  app.post<{ Body: Body }>("/v1/extract", { schema }, async (request, reply) => {
    const { body } = request;
    const served = runOf(context, body.run);
    if ((body.examples === undefined) === (body.text === undefined)) {
      throw new Problem("bad-request", 'Expected either "examples" or "text".', {
        hint: 'Give pairs as {"examples": [{"sentence", "head", "tail"}]}, or a text as {"text", "entities"}.',
      });
    }
    const { examples, text } = body;
    const ticket = admit(context, request, reply, examples?.length ?? 1);
    if (examples) {
      if (body.stream) return sendLines(reply, exampleLines(context, served, ticket, examples, body));
      return { run: served.name, results: await ask(context, served, ticket, examples, body) };
    }
    const finder = finderFor(context, served, ticket, body, text as string);
    const events = textEvents(context, served, ticket, oneText(text as string), finder, body);
    if (body.stream) return sendLines(reply, events);
    return sendObject(reply, { run: served.name, ...(await collected(events)) });
  });
}

async function ask(
  { metrics }: ServeContext,
  served: ServedRun,
  ticket: Ticket,
  examples: readonly GivenExample[],
  { minProbability, probabilities }: Body,
) {
  const questions = examples.map((example) => ({ example: exampleOf(example), mask: null }));
  const results = await ticket.ask(served.pairs, questions);
  metrics.answers(served.name, results);
  return results.map((result, i) =>
    pairAnswer(result, served.run.labels, { id: examples[i].id, minProbability, probabilities }),
  );
}

async function* exampleLines(
  context: ServeContext,
  served: ServedRun,
  ticket: Ticket,
  examples: readonly GivenExample[],
  body: Body,
) {
  for (let from = 0; from < examples.length; from += STREAM_EXAMPLES) {
    yield* await ask(context, served, ticket, examples.slice(from, from + STREAM_EXAMPLES), body);
  }
}

/** A text as documents are read. */
export async function* oneText(text: string): AsyncGenerator<ReadItem> {
  yield { id: "text", text, fields: {} };
}

/** All events of a text as one answer. */
export async function collected(events: AsyncIterable<TextEvent>) {
  const answer: { mentions: unknown[]; triples: unknown[]; badDocuments?: unknown[]; counts?: unknown } = {
    mentions: [],
    triples: [],
  };
  for await (const event of events) {
    if ("triple" in event) answer.triples.push(event.triple);
    else if ("mentions" in event) {
      for (const mention of event.mentions) answer.mentions.push({ document: event.document, ...mention });
    } else if ("counts" in event) answer.counts = event.counts;
    else answer.badDocuments = [...(answer.badDocuments ?? []), { document: event.badDocument, reason: event.reason }];
  }
  return answer;
}
