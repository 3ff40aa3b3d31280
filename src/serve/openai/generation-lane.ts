import type { TokenConstraint } from "../../decode/constraint/constraint.ts";
import { type Drawing, drawToken, tokenScores } from "../../decode/draw.ts";
import { createLiveSequences, type LiveSequence, rowsOf } from "../../decode/live-sequences.ts";
import type { ScoredToken } from "../../decode/score-tokens.ts";
import type { Run } from "../../runs/run.ts";
import { Problem } from "../problem.ts";
import type { Job, Lane } from "../scheduler.ts";
import { createAnswerText } from "./answer-text.ts";

/** A text to continue. */
export interface Wanted {
  promptIds: readonly number[];
  maxNewTokens: number;
  drawing: Drawing;
  stop: readonly string[];
  constraint: TokenConstraint | null;
  /** Most likely tokens to tell with each; null: no probabilities at all. */
  top: number | null;
  /** Tokens to tell, too. */
  named?: readonly number[];
  signal: AbortSignal;
  /** Hears new text with its tokens as they are known. */
  onText?(text: string, tokens: readonly ScoredToken[]): void;
}

export interface Generated {
  text: string;
  tokens: ScoredToken[];
  /** stop: an end token, a stop text or the end of the language; length: maxNewTokens. */
  finish: "stop" | "length";
}

export type GenerationLane = Lane<Wanted, Generated>;

/** Keys and values that the answers in progress may have. */
const CACHE_BYTES = 256 * 2 ** 20;
const BYTES_PER_NUMBER = 4;

/** Answers of one run that are generated together, a token each turn. */
export function createGenerationLane(
  name: string,
  { model, tokenizer, renderer }: Pick<Run, "model" | "tokenizer" | "renderer">,
  maxSequences: number,
): GenerationLane {
  const { layers, keyValueHeads, headWidth, maxTokens } = model.spec;
  const rowBytes = 2 * layers * keyValueHeads * headWidth * BYTES_PER_NUMBER;
  const capacity = Math.max(maxTokens, Math.floor(CACHE_BYTES / rowBytes));
  const live = createLiveSequences(model, capacity);
  const open = new Map<LiveSequence, { wanted: Wanted; end(): void; fail(error: unknown): void }>();
  /** Taken from the queue and without room in the cache. */
  const pending: LiveSequence[] = [];

  const begin = (job: Job<Wanted, Generated>): void => {
    const wanted = job.item;
    const { promptIds, maxNewTokens, constraint, drawing, top, named, stop } = wanted;
    const answer = createAnswerText(tokenizer, stop, wanted.onText);
    let state = constraint?.start ?? 0;
    let finish: Generated["finish"] = "length";
    const sequence: LiveSequence = {
      ...{ promptIds, maxNewTokens },
      next(logits) {
        // A cached mask of this state: it always says the same of the end token.
        const mask = constraint?.allowed(state, answer.tokens.length === 0) ?? null;
        if (mask !== null) mask[renderer.eosId] = constraint?.mayEnd(state) ? 1 : 0;
        const token = drawToken(logits, drawing, mask);
        if (token < 0) {
          fail(new Problem("unusable", "No token of the model continues an answer of the wanted form."));
          return null;
        }
        if (token === renderer.eosId) {
          // As in vLLM: where the model ends at once, there would be no place to tell them at.
          if (top !== null && named !== undefined && named.length > 0) {
            const { own, top: told } = tokenScores(logits, token, top, named);
            answer.tokens.push({ id: token, logProbability: own, top: told });
          }
          finish = "stop";
          return null;
        }
        const scores = top === null ? null : tokenScores(logits, token, top, named);
        const isStopped = answer.add({ id: token, logProbability: scores?.own ?? null, top: scores?.top ?? [] });
        if (constraint) state = constraint.next(state, token, answer.tokens.length === 1);
        if (!isStopped && !(constraint?.mustEnd(state) ?? false)) return token;
        finish = "stop";
        return null;
      },
    };
    const fail = (error: unknown) => {
      open.delete(sequence);
      job.fail(error);
    };
    const end = () => {
      const text = answer.end();
      job.settle({ text, tokens: answer.tokens, finish });
    };
    open.set(sequence, { wanted, end, fail });
    if (rowsOf(sequence) > capacity) fail(new Problem("unusable", `The answer needs more than ${capacity} tokens.`));
    else if (maxNewTokens === 0) {
      open.delete(sequence);
      end();
    } else pending.push(sequence);
  };

  return {
    name: `${name} answers`,
    costOf: ({ promptIds, maxNewTokens }) => promptIds.length + maxNewTokens,
    bounds() {
      const items = maxSequences - live.size;
      return pending.length > 0 || items <= 0 ? null : { items, cost: Number.POSITIVE_INFINITY };
    },
    isLive: () => live.size > 0 || pending.length > 0,
    async turn(jobs) {
      for (const job of jobs) begin(job);
      // Nobody waits for the answer to a request that has ended.
      for (const [sequence, { wanted }] of open) {
        if (!wanted.signal.aborted) continue;
        live.remove(sequence);
        open.delete(sequence);
      }
      for (let i = 0; i < pending.length; i++) {
        if (open.has(pending[i]) && !live.add(pending[i])) continue;
        pending.splice(i--, 1);
      }
      try {
        for (const sequence of await live.step()) {
          const one = open.get(sequence);
          open.delete(sequence);
          one?.end();
        }
      } catch (error) {
        for (const [sequence, { fail }] of open) {
          live.remove(sequence);
          fail(error);
        }
        pending.length = 0;
      }
      live.free();
    },
  };
}
