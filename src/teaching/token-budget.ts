import type { AnnotationPrompt } from "./annotation-prompt.ts";

/** A limit of tokens that spending never exceeds: what a request may need is reserved before it, and what it needed is booked after it. */
export interface TokenBudget {
  /** Tokens that are booked. */
  readonly spent: number;
  /**
   * Reserves tokens for a request. Waits while requests in progress may give some back. `need` is asked anew each time. Null when what is left
   * is not enough, and ever after, so that requests are made in their order.
   */
  reserve(need: () => number): Promise<number | null>;
  /** Books a reservation as spent and reserves as much again, for another attempt. False, and nothing changes, when that does not fit now. */
  repeat(reserved: number): boolean;
  /** Books what a request needed in the place of its reservation. */
  book(reserved: number, used: number): void;
}

/** `total` is Infinity for no limit; `spent` is what earlier calls have booked. */
export function createTokenBudget(total: number, spent = 0): TokenBudget {
  let booked = spent;
  let reserved = 0;
  let inProgress = 0;
  let isOver = false;
  /** Called when a request in progress has ended. */
  let wake = () => {};
  let last: Promise<unknown> = Promise.resolve();
  const reserveNow = async (need: () => number): Promise<number | null> => {
    for (;;) {
      if (isOver) return null;
      const tokens = need();
      if (booked + reserved + tokens <= total) {
        reserved += tokens;
        inProgress++;
        return tokens;
      }
      if (inProgress === 0) {
        isOver = true;
        return null;
      }
      await new Promise<void>((go) => {
        wake = go;
      });
    }
  };
  return {
    get spent() {
      return booked;
    },
    reserve(need) {
      const mine = last.then(() => reserveNow(need));
      last = mine;
      return mine;
    },
    repeat(reservation) {
      if (booked + reserved + reservation > total) return false;
      booked += reservation;
      return true;
    },
    book(reservation, used) {
      reserved -= reservation;
      booked += used;
      inProgress--;
      wake();
    },
  };
}

/** What a chat template puts around a message, before any answer has told. */
const TEMPLATE_TOKENS = 256;
/** A cut between two parts of a text can change the tokens next to it. */
const SEAM_TOKENS = 8;

/**
 * An upper bound of the tokens of prompts: no tokenizer makes more tokens than a text has bytes. Once prompts with the same rules were counted by
 * the server, it is the least of their counts and the bytes of the question. What a count had above its bound is added from then on.
 */
export function createPromptBound() {
  const leastOf = new Map<string, number>();
  let excess = 0;
  const plainOf = ({ rules, question }: AnnotationPrompt) =>
    Buffer.byteLength(rules) + Buffer.byteLength(question) + TEMPLATE_TOKENS + excess;
  return {
    boundOf(prompt: AnnotationPrompt): number {
      const least = leastOf.get(prompt.rules);
      const learned = least === undefined ? least : least + Buffer.byteLength(prompt.question) + SEAM_TOKENS;
      return Math.min(plainOf(prompt), learned ?? Number.POSITIVE_INFINITY);
    },
    learn(prompt: AnnotationPrompt, tokens: number): void {
      const { rules } = prompt;
      excess += Math.max(0, tokens - plainOf(prompt));
      if (tokens > 0) leastOf.set(rules, Math.min(tokens, leastOf.get(rules) ?? Number.POSITIVE_INFINITY));
    },
  };
}
