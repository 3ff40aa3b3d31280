import { UserError } from "../base/errors.ts";
import type { LabelSet } from "../data/example.ts";
import type { AskText } from "../endpoint/chat.ts";
import { EndpointError } from "../endpoint/client.ts";
import { countsOf, type Verdict, type Vote, verdictOf } from "./agreement.ts";
import { allowedLabels, annotationPrompts } from "./annotation-prompt.ts";
import { type AnswerJournal, type KeptAnswer, requestKey } from "./answer-journal.ts";
import { type AnswerModel, fitAnswers } from "./answer-model.ts";
import { type AskSettings, askAnnotator } from "./ask-annotator.ts";
import type { Question } from "./questions.ts";
import { answerReader } from "./read-answer.ts";
import { createPromptBound, createTokenBudget } from "./token-budget.ts";

/** One answer to a question: a label, or why there is none. */
export interface ReadAnswer {
  /** Counts from 1. */
  answer: number;
  /** Null where the server refused the question. */
  text: string | null;
  label: string | null;
  /** Why no label could be read, or what the server said. */
  problem: string | null;
}

export interface LabelledQuestion {
  question: Question;
  answers: ReadAnswer[];
  /** Null when no answer could be read. */
  verdict: Verdict | null;
}

/** How several answers to a row become its soft labels. */
export const COMBINE_WAYS = ["model", "mean"] as const;
export type CombineWay = (typeof COMBINE_WAYS)[number];

export interface LabelProgress {
  /** Answers that are there, of all rows. */
  done: number;
  total: number;
  /** Tokens that are spent, with those of earlier calls. */
  spent: number;
  unreadable: number;
}

export interface LabelWork {
  labels: LabelSet;
  questions: readonly Question[];
  /** Part of the requests' names: another model has other answers. */
  model: string;
  settings: AskSettings;
  journal: AnswerJournal;
  ask: AskText;
  concurrency: number;
  /** Whether the several answers to a row are read by how often answers are right, or by their mean; by default the first. */
  combine?: CombineWay;
  /** Most tokens of all requests, those of earlier calls included; Infinity for no limit. */
  maxTokensTotal: number;
  /** Stops after the requests in progress. */
  signal?: AbortSignal;
  onProgress?: (progress: Readonly<LabelProgress>) => void;
}

export interface LabelOutcome {
  /** Questions with all of their answers, in order. */
  labelled: LabelledQuestion[];
  /** Questions that lack answers, and the answers they lack. */
  left: { questions: number; answers: number };
  /** Whether the budget ended the work. */
  isBudgetSpent: boolean;
  /** How often answers are right, by how far they agree; null without rows of several answers. */
  answerModel: AnswerModel | null;
  counts: {
    /** Requests of this call, and answers that were there. */
    asked: number;
    kept: number;
    refused: number;
    /** Requests whose tokens the server did not count: their reservation is booked. */
    uncounted: number;
    /** Attempts without an answer that may have cost tokens: each is booked at its reservation. */
    lostAttempts: number;
    /** Answers that cost more than was reserved: the server counts what it was not asked for. Only these can exceed the budget. */
    over: number;
    spent: number;
  };
}

/** Refused questions before any answer: then it is the request that is wrong, not the text. */
const MOST_REFUSED_AT_START = 8;
const REFUSED = [400, 413, 422];

/** The name of every request, with what is needed to make it. */
export function requestsOf({ labels, model, settings }: Pick<LabelWork, "labels" | "model" | "settings">) {
  const render = annotationPrompts(labels);
  const { form, temperature, seed, probabilities } = settings;
  return ({ example, mask }: Question, answer: number) => {
    const prompt = render(example, mask);
    const how = { form, temperature, seed: seed + answer, probabilities };
    return { prompt, key: requestKey(model, how, prompt.rules, prompt.question) };
  };
}

/**
 * Asks for the answers that a journal does not have, in the order of the questions, and stops before the first request that the budget might not
 * cover. Throws what the server refuses for good, after the requests in progress; all answers are in the journal.
 */
export async function labelQuestions(work: LabelWork): Promise<LabelOutcome> {
  const { labels, questions, settings, journal, signal, combine = "model", onProgress = () => {} } = work;
  const requestOf = requestsOf(work);
  const readers = new Map<string, ReturnType<typeof answerReader>>();
  const readerOf = ({ mask }: Question) => {
    const allowed = allowedLabels(labels, mask);
    const key = mask === null ? "" : mask.join("");
    const reader = readers.get(key) ?? answerReader(allowed);
    readers.set(key, reader);
    return { allowed, read: reader };
  };
  const budget = createTokenBudget(work.maxTokensTotal, journal.spent);
  const bound = createPromptBound();
  const counts = { asked: 0, kept: 0, refused: 0, uncounted: 0, lostAttempts: 0, over: 0 };
  const answers: (KeptAnswer | { refused: string } | undefined)[][] = questions.map(() => []);
  const total = questions.length * settings.answers;
  let [done, unreadable, isBudgetSpent, hasAnswer] = [0, 0, false, false];
  /** A server may count more than it was asked for. */
  let longestAnswer = settings.maxAnswerTokens;
  let failure: unknown = null;
  /** Requests whose next attempt did not fit next to those in progress. */
  const postponed: { place: number; answer: number }[] = [];
  const tell = () => onProgress({ done, total, spent: budget.spent, unreadable });
  const isReadable = (place: number, { text }: KeptAnswer) => {
    return readerOf(questions[place]).read(text, questions[place].example).label !== null;
  };
  const keep = (place: number, answer: number, kept: KeptAnswer) => {
    answers[place][answer] = kept;
    hasAnswer = true;
    done++;
    if (!isReadable(place, kept)) unreadable++;
  };

  const askOne = async (place: number, answer: number, reserved: number): Promise<void> => {
    const question = questions[place];
    const { prompt, key } = requestOf(question, answer);
    const { allowed } = readerOf(question);
    /** Of the last attempt; until it is known, the most that it can be. */
    let cost = reserved;
    let repeated = 0;
    // Nobody knows what an attempt without an answer cost.
    const mayRepeat = async () => {
      if (!budget.repeat(reserved)) return false;
      repeated++;
      counts.lostAttempts++;
      await journal.begin(key, reserved);
      return true;
    };
    try {
      await journal.begin(key, reserved);
      const given = await askAnnotator(work.ask, prompt, allowed, settings, answer, mayRepeat);
      counts.asked++;
      if (given.cost === null) counts.uncounted++;
      if (given.cost !== null && given.cost > reserved) counts.over++;
      cost = given.cost ?? reserved;
      bound.learn(prompt, given.kept.promptTokens);
      longestAnswer = Math.max(longestAnswer, given.kept.answerTokens);
      await journal.end(key, given.kept, cost + repeated * reserved);
      keep(place, answer, given.kept);
    } catch (error) {
      if (!(error instanceof EndpointError)) throw error;
      const isLost = error.lostAttempts > repeated;
      if (isLost) counts.lostAttempts++;
      cost = isLost ? reserved : 0;
      await journal.fail(key, cost + repeated * reserved);
      if (error.isGivenUp) {
        postponed.push({ place, answer });
        return;
      }
      if (!REFUSED.includes(error.status ?? 0)) throw error;
      counts.refused++;
      if (!hasAnswer && counts.refused >= MOST_REFUSED_AT_START) throw error;
      answers[place][answer] = { refused: error.message };
      done++;
    } finally {
      budget.book(reserved, cost);
      tell();
    }
  };

  for (const [place, question] of questions.entries()) {
    for (let answer = 0; answer < settings.answers; answer++) {
      const kept = journal.answer(requestOf(question, answer).key);
      if (kept === undefined || (mayBeLonger(kept, settings) && !isReadable(place, kept))) continue;
      bound.learn(requestOf(question, answer).prompt, kept.promptTokens);
      counts.kept++;
      keep(place, answer, kept);
    }
  }
  tell();
  const inProgress = new Set<Promise<void>>();
  const missing = function* () {
    for (const [place] of questions.entries()) {
      for (let answer = 0; answer < settings.answers; answer++) {
        if (answers[place][answer] === undefined) yield { place, answer };
      }
    }
    while (postponed.length > 0 || inProgress.size > 0) {
      const next = postponed.shift();
      if (next) yield next;
      else yield null;
    }
  };
  // The first answer shows how the server counts.
  const most = () => (hasAnswer || work.maxTokensTotal === Number.POSITIVE_INFINITY ? work.concurrency : 1);
  for (const next of missing()) {
    if (next === null) {
      await Promise.race(inProgress);
      continue;
    }
    const { place, answer } = next;
    // Rows whose prompts are alike: asked once.
    const same = journal.answer(requestOf(questions[place], answer).key);
    if (same !== undefined && !mayBeLonger(same, settings)) {
      counts.kept++;
      keep(place, answer, same);
      continue;
    }
    while (inProgress.size >= most()) await Promise.race(inProgress);
    if (signal?.aborted || failure !== null) break;
    const { prompt } = requestOf(questions[place], answer);
    const reserved = await budget.reserve(() => bound.boundOf(prompt) + longestAnswer);
    if (reserved === null) {
      isBudgetSpent = true;
      break;
    }
    if (signal?.aborted || failure !== null) {
      budget.book(reserved, 0);
      break;
    }
    const one: Promise<void> = askOne(place, answer, reserved)
      .catch((error: unknown) => {
        failure ??= error;
      })
      .finally(() => inProgress.delete(one));
    inProgress.add(one);
  }
  await Promise.all(inProgress);
  if (failure !== null) throw failure;
  if (!hasAnswer && counts.refused > 0) {
    const refused = answers.flat().find((one) => one !== undefined && "refused" in one) as { refused: string };
    throw new UserError(`Not one of ${counts.refused} questions was answered: ${refused.refused}`);
  }
  return outcome();

  function outcome(): LabelOutcome {
    const read: { question: Question; answers: ReadAnswer[]; votes: Vote[] }[] = [];
    const left = { questions: 0, answers: 0 };
    for (const [place, question] of questions.entries()) {
      const given = Array.from({ length: settings.answers }, (_, i) => answers[place][i]);
      const lacking = given.filter((one) => one === undefined).length;
      if (lacking > 0) {
        left.questions++;
        left.answers += lacking;
      } else read.push({ question, ...readAnswers(question, given as (KeptAnswer | { refused: string })[]) });
    }
    const choicesOf = ({ mask }: Question) => allowedLabels(labels, mask).length;
    const counted = read.flatMap(({ question, votes }) => countsOf(votes, labels.labels, choicesOf(question)) ?? []);
    const model = combine === "model" ? fitAnswers(counted, labels.labels.length) : null;
    const labelled = read.map(({ question, answers, votes }): LabelledQuestion => {
      const verdict = verdictOf(votes, labels.labels, { model, choices: choicesOf(question) });
      return { question, answers, verdict };
    });
    return { labelled, left, isBudgetSpent, answerModel: model, counts: { ...counts, spent: budget.spent } };
  }

  function readAnswers(question: Question, given: readonly (KeptAnswer | { refused: string })[]) {
    const votes: Vote[] = [];
    const answers = given.map((one, i): ReadAnswer => {
      if ("refused" in one) return { answer: i + 1, text: null, label: null, problem: one.refused };
      const { label, problem } = readerOf(question).read(one.text, question.example);
      const { probabilities } = one;
      if (label !== null) {
        const shares = probabilities && labels.labels.map((name) => probabilities[name] ?? 0);
        votes.push({ label, probabilities: shares ? normalised(shares) : null });
      }
      return { answer: i + 1, text: one.text, label, problem };
    });
    return { answers, votes };
  }
}

/** Whether an answer was cut off earlier than it would be now. */
const mayBeLonger = ({ cutAt }: KeptAnswer, { maxAnswerTokens }: AskSettings) =>
  cutAt !== undefined && cutAt < maxAnswerTokens;

function normalised(shares: readonly number[]): number[] | null {
  const sum = shares.reduce((total, share) => total + share, 0);
  return sum > 0 ? shares.map((share) => share / sum) : null;
}
