import type { LabelSet } from "../data/example.ts";
import type { AnswerJournal } from "./answer-journal.ts";
import type { AskSettings } from "./ask-annotator.ts";
import { requestsOf } from "./label-questions.ts";
import type { Question } from "./questions.ts";

/** What labelling would cost. Token counts are of prompts and answers. */
export interface LabelEstimate {
  rows: number;
  /** Answers that are there already, and requests that are to be made. */
  kept: number;
  requests: number;
  promptTokens: number;
  answerTokens: number;
  /** No tokenizer makes more of the prompts, and no answer is longer. */
  mostTokens: number;
  /** Whether the tokens a byte were counted by the server in earlier answers. */
  isMeasured: boolean;
  /** Requests that a limit of tokens covers at this rate; all without a limit. */
  covered: number;
  /** In the unit of the given prices; null without them. */
  price: number | null;
}

/** Of these prompts, tokenizers that know Chinese make 0.28 to 0.31 tokens a byte (ChatGLM2, Baichuan2), that of Llama 2 makes 0.5. */
const TOKENS_A_BYTE = 0.35;
/** A chat template around the prompt. */
const TEMPLATE_TOKENS = 30;
const MOST_TEMPLATE_TOKENS = 256;
/** A label. */
const ANSWER_TOKENS = 6;

export interface Prices {
  /** For a million tokens of prompts and of answers. */
  input: number;
  output: number;
}

/** Estimates requests, tokens and price; asks nothing. */
export function estimateLabelling(
  work: { questions: readonly Question[]; labels: LabelSet; model: string; settings: AskSettings },
  journal: Pick<AnswerJournal, "answer" | "spent"> | null,
  maxTokensTotal: number,
  prices: Prices | null,
): LabelEstimate {
  const { questions, settings } = work;
  const requestOf = requestsOf(work);
  let [kept, requests, bytes] = [0, 0, 0];
  const counted = { answers: 0, bytes: 0, promptTokens: 0, answerTokens: 0 };
  const sizes: number[] = [];
  for (const question of questions) {
    for (let answer = 0; answer < settings.answers; answer++) {
      const { prompt, key } = requestOf(question, answer);
      const size = Buffer.byteLength(prompt.rules) + Buffer.byteLength(prompt.question);
      const earlier = journal?.answer(key);
      if (earlier) {
        kept++;
        if (earlier.promptTokens > 0) {
          counted.answers++;
          counted.bytes += size;
          counted.promptTokens += earlier.promptTokens;
          counted.answerTokens += earlier.answerTokens;
        }
      } else {
        requests++;
        bytes += size;
        sizes.push(size);
      }
    }
  }
  const isMeasured = counted.answers > 0;
  const promptOf = (size: number, number: number) =>
    isMeasured ? (size * counted.promptTokens) / counted.bytes : size * TOKENS_A_BYTE + number * TEMPLATE_TOKENS;
  const answerTokensEach = isMeasured
    ? counted.answerTokens / counted.answers
    : Math.min(ANSWER_TOKENS, settings.maxAnswerTokens);
  const promptTokens = Math.round(promptOf(bytes, requests));
  const answerTokens = Math.round(requests * answerTokensEach);
  let [left, covered] = [maxTokensTotal - (journal?.spent ?? 0), 0];
  for (const size of sizes) {
    left -= promptOf(size, 1) + answerTokensEach;
    if (left < 0) break;
    covered++;
  }
  return {
    ...{ rows: questions.length, kept, requests, promptTokens, answerTokens, isMeasured, covered },
    mostTokens: bytes + requests * (MOST_TEMPLATE_TOKENS + settings.maxAnswerTokens),
    price: prices && (promptTokens * prices.input + answerTokens * prices.output) / 1e6,
  };
}
