import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { problemDocument, problemOf } from "./problem.ts";

export const NDJSON = "application/x-ndjson; charset=utf-8";

/** Answers line by line as values come; one that fails ends with a line {"problem"}. A slow reader holds the values back. */
export function sendLines(reply: FastifyReply, values: AsyncIterable<unknown>): FastifyReply {
  const lines = async function* () {
    try {
      for await (const value of values) yield `${JSON.stringify(value)}\n`;
    } catch (error) {
      const problem = problemOf(error);
      if (problem.code === "fault") reply.log.error(error);
      yield `${JSON.stringify({ problem: problemDocument(problem, reply.request.id) })}\n`;
    }
  };
  return reply.type(NDJSON).send(Readable.from(lines(), { objectMode: false, highWaterMark: 1 << 16 }));
}
