import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { problemDocument, problemOf } from "../problem.ts";

/** Answers with server-sent events as OpenAI's clients read them; `[DONE]` is the last one. */
export function sendEvents(reply: FastifyReply, work: (send: (value: object) => void) => Promise<void>): FastifyReply {
  const stream = new Readable({ read() {} });
  const send = (value: object) => {
    if (!stream.destroyed) stream.push(`data: ${JSON.stringify(value)}\n\n`);
  };
  void work(send)
    .catch((error: unknown) => {
      const problem = problemOf(error);
      if (problem.code === "fault") reply.log.error(error);
      send(problemDocument(problem, reply.request.id));
    })
    .finally(() => {
      if (stream.destroyed) return;
      stream.push("data: [DONE]\n\n");
      stream.push(null);
    });
  return reply.type("text/event-stream; charset=utf-8").send(stream);
}
