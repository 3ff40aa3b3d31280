import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { labelSetFromJson } from "../data/label-set.ts";
import type { AskText, TextAnswer, TextQuestion } from "../endpoint/chat.ts";
import { EndpointError } from "../endpoint/client.ts";
import { type AnswerJournal, JOURNAL_FILE, openAnswerJournal } from "./answer-journal.ts";
import type { AskSettings } from "./ask-annotator.ts";
import { estimateLabelling } from "./estimate.ts";
import { type LabelWork, labelQuestions } from "./label-questions.ts";
import { writeLabelled } from "./labelled-folder.ts";
import { leastCertain, readReviewed } from "./review.ts";

const root = mkdtempSync(join(tmpdir(), "cre-teaching-"));
afterAll(() => rmSync(root, { recursive: true }));
const labels = labelSetFromJson({ labels: ["unknown", "收购", "合作"], noRelation: "unknown" }, "labels");
const questions = Array.from({ length: 6 }, (_, i) => ({
  example: { sentence: `${i}甲与乙`, head: "甲", tail: "乙" },
  mask: null,
}));
const settings: AskSettings = {
  ...{ answers: 2, temperature: 0.7, seed: 1, maxAnswerTokens: 10, form: "chat", probabilities: true },
};
let folders = 0;
const opened: AnswerJournal[] = [];
afterEach(async () => {
  for (const journal of opened.splice(0)) await journal.close();
});
const directory = () => mkdtempSync(join(root, `${folders++}-`));
async function open(folder: string): Promise<AnswerJournal> {
  const journal = await openAnswerJournal(folder);
  opened.push(journal);
  return journal;
}

const answer = (text: string, more: Partial<TextAnswer> = {}): TextAnswer => ({
  ...{ text, finishReason: "stop", tokens: null, usage: { promptTokens: 90, answerTokens: 10 } },
  ...{ isCached: false, lostAttempts: 0, choice: {}, ...more },
});
const refused = (status: number | null, message = "the server answers 400: too long.") =>
  new EndpointError({ message, status, canRepeat: false });

/** An asker that remembers what it was asked. */
function asker(reply: (question: TextQuestion, number: number) => TextAnswer | Error) {
  const asked: TextQuestion[] = [];
  const ask: AskText = async (question) => {
    asked.push(question);
    const given = reply(question, asked.length);
    await new Promise((done) => setTimeout(done, 1));
    if (given instanceof Error) throw given;
    return given;
  };
  return { ask, asked };
}

async function label(folder: string, ask: AskText, more: Partial<LabelWork> = {}) {
  const journal = await open(folder);
  const work = { labels, questions, model: "m", settings, journal, ask, concurrency: 3 };
  return labelQuestions({ ...work, maxTokensTotal: Number.POSITIVE_INFINITY, ...more });
}

const textOf = ({ prompt }: TextQuestion) => (prompt as readonly { content: string }[])[0].content;

describe("labelling questions", () => {
  it("asks for every answer with its own seed and votes", async () => {
    const { ask, asked } = asker(({ seed }) => answer(seed === 1 ? "收购" : "合作。"));
    const { labelled, left, counts } = await label(directory(), ask);
    expect(asked.map(({ seed }) => seed).sort()).toEqual([...Array(6).fill(1), ...Array(6).fill(2)]);
    expect(asked[0]).toMatchObject({ maxTokens: 10, temperature: 0.7, topLogprobs: 20 });
    expect(labelled.map(({ verdict }) => [verdict?.label, verdict?.agreement])).toEqual(Array(6).fill(["收购", 0.5]));
    expect(labelled.map(({ question }) => question)).toEqual(questions);
    expect(left).toEqual({ questions: 0, answers: 0 });
    expect(counts).toMatchObject({ asked: 12, kept: 0, refused: 0, spent: 1200 });
  });

  it("keeps probabilities of tokens, by the bytes that chats tell", async () => {
    const bytes = (text: string) => [...Buffer.from(text)];
    const content = [
      {
        token: "\ufffd",
        bytes: bytes("收").slice(0, 2),
        logprob: Math.log(0.75),
        top_logprobs: [{ token: "合", bytes: bytes("合"), logprob: Math.log(0.25) }],
      },
    ];
    const tokens = [{ text: "\ufffd", logprob: Math.log(0.75), top: [{ text: "合", logprob: Math.log(0.25) }] }];
    const { ask } = asker(() => answer("收购", { tokens, choice: { logprobs: { content } } }));
    const { labelled } = await label(directory(), ask);
    expect([...(labelled[0].verdict?.shares ?? [])]).toEqual([0, 0.75, 0.25]);
  });

  it("counts an answer that cannot be read, and a row whose every answer is like that", async () => {
    const folder = directory();
    const { ask } = asker((question) => {
      if (textOf(question).includes("0甲")) return answer("不知道");
      return answer(textOf(question).includes("1甲") && question.seed === 1 ? "收购、合作" : "合作");
    });
    const { labelled } = await label(folder, ask);
    expect(labelled[0].verdict).toBeNull();
    expect(labelled[1].answers[0]).toEqual({ answer: 1, text: "收购、合作", label: null, problem: "several labels" });
    expect(labelled[1].verdict).toMatchObject({ label: "合作", agreement: 1 });
    const reviewed = await readReviewed([], labels);
    const counts = await writeLabelled(folder, labelled, labels, { leastAgreement: 0, reviewed });
    expect(counts).toMatchObject({
      rows: 5,
      unreadableAnswers: 3,
      unreadableRows: 1,
      unanimous: 5,
      labels: { 合作: 5 },
    });
    const listed = readFileSync(join(folder, "unreadable.jsonl"), "utf8").trim().split("\n");
    expect(listed.map((line) => JSON.parse(line).answers.length)).toEqual([2, 1]);
    expect(leastCertain(labelled, 2, reviewed).map(({ question }) => question)).toEqual(questions.slice(0, 2));
  });

  it("goes on past a row that the server refuses, and asks it again the next time", async () => {
    const folder = directory();
    const isRefused = (question: TextQuestion) => textOf(question).includes("3甲");
    const { ask } = asker((question) => (isRefused(question) ? refused(400) : answer("合作")));
    const { labelled, counts } = await label(folder, ask);
    expect(counts).toMatchObject({ asked: 10, refused: 2, spent: 1000 });
    expect(labelled[3].answers[0]).toMatchObject({ text: null, problem: "the server answers 400: too long." });
    const again = asker(() => answer("合作"));
    expect((await label(folder, again.ask)).labelled[3].verdict).toMatchObject({ label: "合作" });
    expect(again.asked).toHaveLength(2);
  });

  it("ends when the server refuses everything, or fails for good, and keeps what was answered", async () => {
    const all = asker(() => refused(400));
    await expect(label(directory(), all.ask)).rejects.toThrow("the server answers 400: too long.");
    expect(all.asked.length).toBeLessThan(12);
    const folder = directory();
    const some = asker((_, number) => (number === 5 ? refused(401, "the server refuses the API key") : answer("合作")));
    await expect(label(folder, some.ask)).rejects.toThrow("the server refuses the API key");
    const rest = asker(() => answer("合作"));
    const { counts } = await label(folder, rest.ask);
    expect(counts.kept + rest.asked.length).toBe(12);
    expect(counts.kept).toBeGreaterThanOrEqual(4);
  });

  it("books a request of a killed process at its most, and answers that are not counted", async () => {
    const folder = directory();
    const first = await openAnswerJournal(folder);
    await first.begin("lost", 500);
    await first.close();
    appendFileSync(join(folder, JOURNAL_FILE), '{"key":"half');
    const journal = await openAnswerJournal(folder);
    expect([journal.lost, journal.spent]).toEqual([1, 500]);
    await journal.close();
    const { ask, asked } = asker(() => answer("合作", { usage: { promptTokens: 0, answerTokens: 0 } }));
    const { counts } = await label(folder, ask, { questions: questions.slice(0, 1) });
    expect(counts.uncounted).toBe(2);
    const bound = Buffer.byteLength(textOf(asked[0])) + 256 + 10;
    expect(counts.spent).toBe(500 + 2 * bound);
  });

  it("asks again for an answer that was cut off before its label, when it may be longer now", async () => {
    const folder = directory();
    const cut = asker(({ seed }) => answer(seed === 1 ? "<think>先看句子" : "合作", { finishReason: "length" }));
    expect((await label(folder, cut.ask)).labelled[0].answers[0].problem).toBe("cut off");
    const longer = asker(() => answer("<think>先看句子</think>收购"));
    const { labelled } = await label(folder, longer.ask, { settings: { ...settings, maxAnswerTokens: 100 } });
    expect(longer.asked).toHaveLength(6);
    expect(labelled[0].answers.map((one) => one.label)).toEqual(["收购", "合作"]);
  });

  it("stops by a signal after the requests in progress", async () => {
    const stop = new AbortController();
    const { ask, asked } = asker((_, number) => {
      if (number === 4) stop.abort();
      return answer("合作");
    });
    const { left, labelled } = await label(directory(), ask, { signal: stop.signal });
    expect(asked.length).toBeLessThanOrEqual(6);
    expect(left.answers).toBe(12 - asked.length);
    expect(labelled.length + left.questions).toBe(6);
  });

  it("is estimated by bytes at first, and by the server's counts later", async () => {
    const folder = directory();
    const work = { labels, questions, model: "m", settings };
    const first = estimateLabelling(work, null, 1000, { input: 1, output: 10 });
    expect(first).toMatchObject({ rows: 6, requests: 12, kept: 0, answerTokens: 72, isMeasured: false });
    expect(first.price).toBeCloseTo((first.promptTokens + 720) / 1e6, 12);
    await label(folder, asker(() => answer("合作")).ask, { questions: questions.slice(0, 2) });
    const later = estimateLabelling(work, await open(folder), 1000, null);
    expect(later).toMatchObject({
      requests: 8,
      kept: 4,
      answerTokens: 80,
      promptTokens: 720,
      isMeasured: true,
      covered: 6,
    });
  });
});
