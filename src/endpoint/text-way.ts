import { UserError } from "../base/errors.ts";
import type { AskText, TextQuestion } from "./chat.ts";
import { EndpointError } from "./client.ts";
import type { Asker, EndpointQuestion } from "./question.ts";

/** Asks with the form of the answer, if any; token ids are sent where there are some, else a chat. */
export type AskQuestion = (question: EndpointQuestion, form?: Record<string, unknown>) => ReturnType<AskText>;

/** Statuses of a server that takes no token ids. */
const NO_IDS = [400, 422, 500];

/**
 * Makes the asker of text questions. A server that takes no token ids is sent their text; one without chats is asked to continue the text.
 */
export function createAskQuestion(
  ask: AskText,
  { maxAnswerTokens, context, spelling }: Pick<Asker, "maxAnswerTokens" | "context" | "spelling">,
): AskQuestion {
  let hasChats = true;
  let takesIds = true;
  return async ({ text, tokens }, form) => {
    const room = tokens && context !== null ? Math.max(1, context - tokens.promptIds.length) : maxAnswerTokens;
    const common: Omit<TextQuestion, "prompt"> = { maxTokens: Math.min(maxAnswerTokens, room), form };
    if (tokens && takesIds) {
      try {
        return await ask({ prompt: tokens.promptIds, ...common });
      } catch (error) {
        if (!spelling || !(error instanceof EndpointError) || !NO_IDS.includes(error.status ?? 0)) throw error;
        // It may be something else that is refused: the text shows.
        const answer = await ask({ prompt: spelling.textOf(tokens.promptIds), ...common });
        takesIds = false;
        return answer;
      }
    }
    if (tokens && spelling) return ask({ prompt: spelling.textOf(tokens.promptIds), ...common });
    if (hasChats) {
      try {
        return await ask({ prompt: [{ role: "user", content: text }], ...common });
      } catch (error) {
        if (!(error instanceof EndpointError) || error.status !== 404 || !/no such route/.test(error.message))
          throw error;
        hasChats = false;
      }
    }
    // Without a template the answer ends with its line.
    return ask({ prompt: text, stop: ["\n"], ...common });
  };
}

/** A text as llama.cpp's grammars (GBNF) write it. */
function grammarText(text: string): string {
  const escaped = text.replace(/["\\]/g, "\\$&").replace(/\r/g, "\\r").replace(/\n/g, "\\n").replace(/\t/g, "\\t");
  return `"${escaped}"`;
}

/** The fields by which servers have the answer be one of some texts. */
export const CHOICE_FORMS: { field: string; formOf(texts: readonly string[]): Record<string, unknown> }[] = [
  // vLLM, and this program's own server.
  { field: "structured_outputs", formOf: (choice) => ({ structured_outputs: { choice } }) },
  // vLLM before version 0.12.
  { field: "guided_choice", formOf: (choice) => ({ guided_choice: choice }) },
  // llama.cpp, and llama-cpp-python.
  { field: "grammar", formOf: (choice) => ({ grammar: `root ::= ${choice.map(grammarText).join(" | ")}` }) },
];

/** The probability of each text of a choice, where the server tells them; null where it does not. */
export function choiceProbabilities(
  choice: Record<string, unknown>,
  texts: readonly string[],
  url: string,
): Float64Array | null {
  const told = choice.choice_probabilities;
  if (!Array.isArray(told)) return null;
  const known = new Map<string, number>(told.map((one) => [String(one?.text), Number(one?.probability)]));
  const values = Float64Array.from(texts, (text) => known.get(text) ?? Number.NaN);
  const total = values.reduce((sum, value) => sum + value, 0);
  if (!(total > 0)) throw new UserError(`${url}: "choice_probabilities" lacks some of the texts.`);
  return values.map((value) => value / total);
}
