import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { ownTurn } from "../base/loop-turns.ts";
import { problemDocument, problemOf } from "./problem.ts";

/** Characters of an answer between two pauses: a reader that is quick takes all that it gets in one turn of the event loop. */
const PIECE = 1 << 15;

export const NDJSON = "application/x-ndjson; charset=utf-8";

/** Answers line by line as values come; one that fails ends with a line {"problem"}. A slow reader holds the values back. */
export function sendLines(reply: FastifyReply, values: AsyncIterable<unknown>): FastifyReply {
  const lines = async function* () {
    try {
      let written = 0;
      for await (const value of values) {
        const line = `${JSON.stringify(value)}\n`;
        yield line;
        written += line.length;
        if (written < PIECE) continue;
        written = 0;
        await ownTurn();
      }
    } catch (error) {
      const problem = problemOf(error);
      if (problem.code === "fault") reply.log.error(error);
      yield `${JSON.stringify({ problem: problemDocument(problem, reply.request.id) })}\n`;
    }
  };
  return reply.type(NDJSON).send(Readable.from(lines(), { objectMode: false, highWaterMark: 1 << 16 }));
}

/** Items of a list that are written at a time. */
const PART = 200;

/** Answers with an object whose lists may be long: it is written in parts, so that the event loop is not held. */
export function sendObject(reply: FastifyReply, value: Record<string, unknown>): FastifyReply {
  const parts = async function* () {
    let before = "{";
    for (const [key, one] of Object.entries(value)) {
      yield `${before}${JSON.stringify(key)}:`;
      before = ",";
      if (!Array.isArray(one)) {
        yield JSON.stringify(one) ?? "null";
        continue;
      }
      yield "[";
      for (let from = 0; from < one.length; from += PART) {
        if (from > 0) await ownTurn();
        yield (from > 0 ? "," : "") + JSON.stringify(one.slice(from, from + PART)).slice(1, -1);
      }
      yield "]";
    }
    yield before === "{" ? "{}" : "}";
  };
  return reply.type("application/json; charset=utf-8").send(Readable.from(parts(), { objectMode: false }));
}
