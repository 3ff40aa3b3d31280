import { buildLabelTrie } from "../../decode/label-trie.ts";
import type { ScoredToken } from "../../decode/score-tokens.ts";
import type { ServeContext } from "../context.ts";
import { Problem } from "../problem.ts";
import type { Ticket } from "../scheduler.ts";
import type { ServedRun } from "../served-run.ts";
import { completingRun } from "./completing-run.ts";
import type { Generated } from "./generation-lane.ts";
import { type CompletionParameters, drawingsOf, formOf, stopsOf } from "./parameters.ts";

/** One answer to a prompt. */
export interface Completion extends Generated {
  /** The probability of every text of a choice. */
  choices?: { text: string; probability: number }[];
}

export interface CompleteOptions {
  promptIds: readonly number[];
  maxNewTokens: number;
  /** Most likely tokens to tell with each; null: no probabilities. */
  top: number | null;
  /** Tokens to tell with each, too; not of a choice. */
  named?: readonly number[];
  onText?(index: number, text: string, tokens: readonly ScoredToken[]): void;
}

/** Throws a Problem for a prompt whose answer does not fit the model. */
export function expectFitting({ run }: ServedRun, promptTokens: number, maxNewTokens: number): void {
  const { maxTokens } = run.model.spec;
  if (promptTokens === 0) throw new Problem("bad-request", "The prompt has no tokens, expected text.");
  if (promptTokens + maxNewTokens <= maxTokens) return;
  const got = `The prompt has ${promptTokens} tokens and the answer up to ${maxNewTokens}`;
  throw new Problem("bad-request", `${got}, expected at most ${maxTokens} together.`, {
    hint: "Shorten the prompt or lower max_tokens.",
  });
}

/** The `n` answers to a prompt. */
export async function complete(
  context: ServeContext,
  served: ServedRun,
  ticket: Ticket,
  body: CompletionParameters,
  options: CompleteOptions,
): Promise<Completion[]> {
  const form = formOf(body);
  const drawings = drawingsOf(body);
  const lanes = completingRun(served, context.limits);
  const { promptIds, maxNewTokens, top, named, onText } = options;
  if (form.kind === "choice") return chosen(served, ticket, form.texts, drawings, options, context);
  const constraint = form.kind === "pattern" ? await lanes.constraintOf(form.key, form.read) : null;
  const wanted = drawings.map((drawing, index) => ({
    ...{ promptIds, maxNewTokens, drawing, constraint, top, named, signal: ticket.signal },
    stop: stopsOf(body),
    onText: onText && ((text: string, tokens: readonly ScoredToken[]) => onText(index, text, tokens)),
  }));
  const answers = await ticket.ask(lanes.answers, wanted);
  context.metrics.generated(
    served.name,
    answers.reduce((sum, { tokens }) => sum + tokens.length, 0),
  );
  return answers;
}

/** One of some texts: their exact probabilities decide, in one pass, and not token by token. */
async function chosen(
  served: ServedRun,
  ticket: Ticket,
  texts: readonly string[],
  drawings: ReturnType<typeof drawingsOf>,
  { promptIds, top, onText }: CompleteOptions,
  context: ServeContext,
): Promise<Completion[]> {
  const { renderer } = served.run;
  const lanes = completingRun(served, context.limits);
  const answers = texts.map((text) => ({ label: text, ids: renderer.encodeText(text) }));
  const longest = answers.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  expectFitting(served, promptIds.length, longest);
  const [probabilities] = await ticket.ask(lanes.choices, [{ promptIds, trie: buildLabelTrie(answers) }]);
  const choices = texts.map((text, i) => ({ text, probability: probabilities[i] }));
  const completions: Completion[] = [];
  for (const [index, { temperature, random }] of drawings.entries()) {
    const place = drawn(probabilities, temperature, random.uniform());
    const ids = answers[place].ids.slice(0, -1);
    const all = [...promptIds, ...ids];
    const scored = { ids: all, from: promptIds.length, top: top ?? 0, promptTokens: promptIds.length };
    const tokens: ScoredToken[] =
      top === null || ids.length === 0
        ? ids.map((id) => ({ id, logProbability: null, top: [] }))
        : (await ticket.ask(lanes.scores, [scored]))[0];
    onText?.(index, texts[place], tokens);
    completions.push({ text: texts[place], tokens, finish: "stop", choices });
  }
  context.metrics.generated(
    served.name,
    completions.reduce((sum, { tokens }) => sum + tokens.length, 0),
  );
  return completions;
}

/** The most probable one at temperature 0, else one by the probabilities raised to 1 / temperature. */
function drawn(probabilities: Float64Array, temperature: number, uniform: number): number {
  const best = probabilities.reduce((most, p, i) => (p > probabilities[most] ? i : most), 0);
  if (temperature === 0) return best;
  const weights = probabilities.map((p) => (p / probabilities[best]) ** (1 / temperature));
  let target = uniform * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [i, weight] of weights.entries()) {
    target -= weight;
    if (target < 0) return i;
  }
  return best;
}
