import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { createRandom, type Random } from "../base/random.ts";
import { labelSetFromJson } from "../data/label-set.ts";
import { createAskText } from "../endpoint/chat.ts";
import { createEndpointClient } from "../endpoint/client.ts";
import { openAnswerJournal } from "./answer-journal.ts";
import type { AskSettings } from "./ask-annotator.ts";
import { type LabelOutcome, labelQuestions } from "./label-questions.ts";

// Spending against a server that counts what it really computed, over connections that break, with calls that are killed.

const RUNS = 10;
const labels = labelSetFromJson({ labels: ["unknown", "收购", "合作"], noRelation: "unknown" }, "labels");
const questions = Array.from({ length: 8 }, (_, i) => ({
  example: { sentence: `${"远山集团".repeat(1 + (i % 4))}${i}与近水`, head: "远山", tail: "近水" },
  mask: null,
}));
const settings: AskSettings = {
  ...{ answers: 2, temperature: 0.7, seed: 1, maxAnswerTokens: 40, form: "chat", probabilities: false },
};
const root = mkdtempSync(join(tmpdir(), "cre-spending-"));
/** What the server of the present run has computed, and its dice. */
let computed = 0;
let random: Random = createRandom(0);
const server = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  const { messages, max_tokens: most } = JSON.parse(body);
  const send = (status: number, value: unknown) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(typeof value === "string" ? value : JSON.stringify(value));
  };
  const dice = random.uniform();
  if (dice < 0.08) return request.socket.destroy();
  if (dice < 0.12) return send(503, { error: { message: "overloaded" } });
  if (dice < 0.14) return send(400, { error: { message: "a text that is refused" } });
  const usage = {
    prompt_tokens: [...messages[0].content].length + 20,
    completion_tokens: 1 + Math.floor(random.uniform() * most),
  };
  computed += usage.prompt_tokens + usage.completion_tokens;
  await sleep(3 * random.uniform());
  if (dice < 0.24) return request.socket.destroy();
  if (dice < 0.3) return send([500, 502, 504][Math.floor(random.uniform() * 3)], "<html>");
  if (dice < 0.36) {
    response.writeHead(200, { "content-length": "500" });
    response.write('{"choices": [');
    return void setTimeout(() => response.destroy(), 1);
  }
  if (dice < 0.37) return send(200, "no JSON");
  // Never answered.
  if (dice < 0.38) return;
  const choices = [{ message: { role: "assistant", content: "合作" }, finish_reason: "stop" }];
  send(200, dice < 0.45 ? { choices } : { choices, usage });
});
let url = "";

beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  rmSync(root, { recursive: true });
});

/** One call of cre label, killed after some time where `killedAfterMs` says so: nothing of it writes any more. */
async function call(folder: string, limit: number, concurrency: number, killedAfterMs: number | null) {
  const journal = await openAnswerJournal(folder);
  const retries = { backoffMs: 1, timeoutMs: 60, attempts: 4, random };
  const client = await createEndpointClient({ url, model: "m", concurrency, ...retries });
  const timer = killedAfterMs === null ? null : setTimeout(() => client.close(), killedAfterMs);
  const work = { labels, questions, model: "m", settings, journal, concurrency, maxTokensTotal: limit };
  let outcome: LabelOutcome | null = null;
  try {
    outcome = await labelQuestions({ ...work, ask: createAskText(client) });
  } catch (error) {
    // The server failed for good, or the call was killed.
    expect(error instanceof UserError || (error as Error).message.includes("is closed")).toBe(true);
  }
  if (timer) clearTimeout(timer);
  client.close();
  await journal.close();
  return outcome;
}

it("never passes the budget, and counts no less than the server, through failures, concurrency and kills", async () => {
  const ends = { spent: 0, finished: 0, lost: 0 };
  for (let run = 0; run < RUNS; run++) {
    random = createRandom(100 + run);
    computed = 0;
    const folder = mkdtempSync(join(root, "run-"));
    // Enough for everything in every other run.
    const limit = run % 2 === 0 ? 2000 + Math.floor(random.uniform() * 5000) : 200_000;
    const concurrency = 1 + Math.floor(random.uniform() * 6);
    for (let calls = 0; calls < 12; calls++) {
      const killedAfterMs = random.uniform() < 0.3 ? 60 * random.uniform() : null;
      const outcome = await call(folder, limit, concurrency, killedAfterMs);
      const journal = await openAnswerJournal(folder);
      const { spent } = journal;
      await journal.close();
      const about = `run ${run}, call ${calls}: limit ${limit}, booked ${spent}, computed ${computed}`;
      expect(spent, about).toBeLessThanOrEqual(limit);
      expect(computed, about).toBeLessThanOrEqual(spent);
      if (outcome === null) continue;
      expect(outcome.counts, about).toMatchObject({ spent, over: 0 });
      ends.lost += outcome.counts.lostAttempts;
      if (outcome.isBudgetSpent) {
        ends.spent++;
        // The least that any further request may need does not fit.
        const most = 3 * 600 + 256 + settings.maxAnswerTokens;
        expect(limit - spent, about).toBeLessThan(most);
        break;
      }
      if (outcome.left.answers === 0 && outcome.counts.refused === 0) {
        ends.finished++;
        break;
      }
    }
  }
  // All ends and all failures were seen.
  expect(Math.min(ends.spent, ends.finished, ends.lost), JSON.stringify(ends)).toBeGreaterThan(1);
}, 120_000);
