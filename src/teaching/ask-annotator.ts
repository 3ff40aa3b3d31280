import type { AnswerToken, AskText, TextAnswer, TextQuestion } from "../endpoint/chat.ts";
import type { AnnotationPrompt } from "./annotation-prompt.ts";
import type { KeptAnswer } from "./answer-journal.ts";
import type { ScoredToken } from "./answer-probabilities.ts";
import { answerProbabilities, bytesOf } from "./answer-probabilities.ts";

/** How an annotator is asked. */
export interface AskSettings {
  /** Answers to each row. */
  answers: number;
  temperature: number;
  /** Of the first answer; the next one has the next seed. */
  seed: number;
  maxAnswerTokens: number;
  form: "chat" | "completion";
  /** Whether probabilities of tokens are asked for. */
  probabilities: boolean;
}

/** Tokens that are asked for at each place; servers allow 20 in chats and 5 in completions. */
const TOP = { chat: 20, completion: 5 };
const LEAST_PROBABILITY = 1e-6;
const DIGITS = 6;

/** Asks for one answer. `cost` is what the server counts; null where it does not count. */
export async function askAnnotator(
  ask: AskText,
  { rules, question }: AnnotationPrompt,
  allowed: readonly string[],
  { temperature, seed, maxAnswerTokens, form, probabilities }: AskSettings,
  answer: number,
  mayRepeat?: () => Promise<boolean>,
): Promise<{ kept: KeptAnswer; cost: number | null; lostAttempts: number }> {
  const text = rules + question;
  const wanted: TextQuestion = {
    prompt: form === "chat" ? [{ role: "user", content: text }] : text,
    maxTokens: maxAnswerTokens,
    temperature,
    seed: seed + answer,
    ...(probabilities ? { topLogprobs: TOP[form] } : {}),
    ...(form === "completion" ? { stop: ["\n"] } : {}),
  };
  const given = await ask(wanted, { mayRepeat });
  const { promptTokens, answerTokens } = given.usage;
  const shares = given.tokens && answerProbabilities(scoredTokens(given), allowed);
  const isCut = given.finishReason === "length";
  const kept: KeptAnswer = {
    text: given.text,
    ...(isCut ? { cutAt: maxAnswerTokens } : {}),
    ...(shares ? { probabilities: compact(allowed, shares) } : {}),
    ...{ promptTokens, answerTokens },
  };
  const isCounted = promptTokens + answerTokens > 0 || given.isCached;
  return { kept, cost: isCounted ? promptTokens + answerTokens : null, lostAttempts: given.lostAttempts };
}

function compact(labels: readonly string[], shares: Float64Array): Record<string, number> {
  const entries = labels.map((label, i): [string, number] => [label, Number(shares[i].toFixed(DIGITS))]);
  return Object.fromEntries(entries.filter(([, share]) => share >= LEAST_PROBABILITY));
}

/** Chats tell the bytes of a token, which its text does not hold when it is a part of a character. */
function scoredTokens({ tokens, choice }: TextAnswer): ScoredToken[] {
  const content = (choice.logprobs as { content?: unknown } | null)?.content;
  const detailed: unknown[] = Array.isArray(content) ? content : [];
  return (tokens ?? []).map((token, i) => {
    const detail = detailed[i] as { bytes?: unknown; top_logprobs?: { bytes?: unknown }[] } | undefined;
    return {
      ...scored(token, detail?.bytes),
      others: token.top.map((other, j) => scored(other, detail?.top_logprobs?.[j]?.bytes)),
    };
  });
}

function scored({ text, logprob }: Pick<AnswerToken, "text" | "logprob">, bytes: unknown) {
  const isList = Array.isArray(bytes) && bytes.every((byte) => Number.isInteger(byte) && byte >= 0 && byte < 256);
  return { bytes: isList ? String.fromCharCode(...bytes) : bytesOf(text), logProbability: logprob };
}
