import type { LabelEstimate } from "../teaching/estimate.ts";
import type { LabelOutcome } from "../teaching/label-questions.ts";
import { type LabelledCounts, UNREADABLE_FILE } from "../teaching/labelled-folder.ts";
import type { Questions } from "../teaching/questions.ts";
import { percent } from "./terminal.ts";

const some = (count: number, text: string) => (count > 0 ? [`${count} ${text}`] : []);

/** What was read. */
export function questionsText({ questions, counts, pairs, problems }: Questions, input: string): string[] {
  const { bad, repeated, labelled, leftOut } = counts;
  const rows = [
    `${input}: ${questions.length} rows to label`,
    ...some(repeated, "repeated"),
    ...some(leftOut, "left out by --rows"),
    ...some(pairs ? 0 : bad, "bad"),
    ...some(labelled, "have relations, which are not read"),
  ];
  const lines = [rows.join(", ")];
  if (pairs) {
    const { documents, badDocuments, sentences, mentions, cutByType, cutByCap, crossing } = pairs;
    const found = [
      `${documents} documents`,
      ...some(badDocuments, "bad"),
      `${sentences} sentences, ${mentions} mentions, ${pairs.pairs} pairs`,
      ...some(cutByType, "pairs excluded by types"),
      ...some(cutByCap, "over --max-pairs"),
      ...some(crossing, "mentions across sentences"),
    ];
    lines.push(found.join(", "));
  }
  if (bad > problems.length) lines.push(`… of ${bad} bad ones these are the first ${problems.length}:`);
  return lines;
}

/** The estimate of a dry run. */
export function estimateText(estimate: LabelEstimate, spent: number, limit: number | undefined): string[] {
  const { rows, kept, requests, promptTokens, answerTokens, mostTokens, isMeasured, covered, price } = estimate;
  const already = kept > 0 ? ` (${kept} answers are there, ${spent} tokens are spent)` : "";
  const how = isMeasured ? "by the server's own counts of earlier answers" : "at 0.35 tokens a byte of UTF-8";
  const lines = [
    `${rows} rows: ${requests} requests${already}`,
    `about ${promptTokens} tokens of prompts and ${answerTokens} of answers, ${how}; at most ${mostTokens}`,
  ];
  if (price !== null) lines.push(`about ${price < 1 ? price.toFixed(4) : price.toFixed(2)} at the given prices`);
  if (limit !== undefined) {
    lines.push(
      covered < requests
        ? `--max-tokens-total ${limit} covers about ${covered} of the ${requests} requests`
        : `--max-tokens-total ${limit} covers all requests`,
    );
  }
  return lines;
}

/** What was labelled, spent and left. */
export function outcomeText(given: {
  output: string;
  counts: LabelledCounts;
  outcome: LabelOutcome;
  /** Answers to each row. */
  answers: number;
  review: number;
  maxTokensTotal: number;
}): string[] {
  const { output, counts, outcome, answers, review, maxTokensTotal } = given;
  const { rows, soft, unanimous, agreement, below, reviewed, unreadableAnswers, unreadableRows } = counts;
  const { asked, kept, spent, refused, uncounted, lostAttempts, over } = outcome.counts;
  const labels = Object.entries(counts.labels).filter(([, count]) => count > 0);
  const lines = [
    [
      `${output}/train.jsonl: ${rows} rows`,
      ...some(soft, "with soft labels"),
      ...some(answers > 1 ? unanimous : 0, "unanimous"),
      ...some(reviewed, "by a person"),
      ...some(below, "below --min-agreement left out"),
    ].join(", "),
    labels.map(([label, count]) => `${label} ${count}`).join("  "),
    answers > 1
      ? `mean agreement ${percent(agreement)} %: how far the model agrees with itself, not how often it is right`
      : "one answer to a row: nothing says how far the model agrees with itself (--answers 3)",
  ];
  if (outcome.answerModel !== null) {
    const share = percent(outcome.answerModel.accuracy);
    lines.push(
      `by that, about ${share} % of the answers are right, if mistakes are scattered; soft labels follow from it`,
    );
  }
  if (unreadableAnswers > 0) {
    lines.push(
      `${unreadableAnswers} answers could not be read (${UNREADABLE_FILE})` +
        (unreadableRows > 0 ? `; ${unreadableRows} rows have no other and are left out` : ""),
    );
  }
  lines.push(
    [
      `${asked} requests`,
      ...some(kept, "answers were there"),
      ...some(refused, "refused"),
      `${spent} tokens spent in all${Number.isFinite(maxTokensTotal) ? ` of ${maxTokensTotal}` : ""}`,
      ...some(lostAttempts, "attempts without an answer are booked at their most"),
      ...some(over, "answers cost more than an answer of --max-answer-tokens may"),
      ...some(uncounted, "answers that the server did not count are booked at their most"),
    ].join(", "),
  );
  const { left } = outcome;
  if (outcome.isBudgetSpent) {
    lines.push(
      `the budget is spent: ${left.questions} rows lack ${left.answers} answers. Repeat the command with a larger --max-tokens-total to go on.`,
    );
  }
  if (review > 0) {
    const order =
      answers > 1 || soft > 0 ? "least certain rows" : "rows that come first: one answer does not tell them apart";
    lines.push(`${output}/review.jsonl, review.label-studio.json: ${review} rows for a person, the ${order}`);
  }
  lines.push(`Next: cre train --data ${output}`);
  return lines;
}
