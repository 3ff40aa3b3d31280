import { describe, expect, it } from "vitest";
import { answerProbabilities, bytesOf, type ScoredToken } from "./answer-probabilities.ts";

const LABELS = ["unknown", "收购", "收养", "合作", "合作伙伴"];

function token(text: string, probability: number, others: Record<string, number> = {}): ScoredToken {
  const scored = (one: string, p: number) => ({ bytes: bytesOf(one), logProbability: Math.log(p) });
  return { ...scored(text, probability), others: Object.entries(others).map(([one, p]) => scored(one, p)) };
}

const rounded = (shares: Float64Array | null) => shares && Array.from(shares, (share) => Number(share.toFixed(6)));

describe("the probabilities of an answer", () => {
  it("are those of the tokens where it chooses, normalised over the labels", () => {
    const first = token("合", 0.1, { unknown: 0.3, 收购: 0.4, 买: 0.2 });
    // unknown 0.3, 收购 0.4; 合 goes on: 合作 0.1 · 1.
    const tokens = [first, token("作", 1), token("<|im_end|>", 1)];
    expect(rounded(answerProbabilities(tokens, LABELS))).toEqual([0.375, 0.5, 0, 0.125, 0]);
  });

  it("go in equal shares to labels that a token does not tell apart", () => {
    const tokens = [token("unknown", 0.6, { 收: 0.4 })];
    expect(rounded(answerProbabilities(tokens, LABELS))).toEqual([0.6, 0.2, 0.2, 0, 0]);
  });

  it("follow a label that another one begins with to its end", () => {
    const tokens = [token("合作", 1), token("。", 0.75, { 伙伴: 0.25 })];
    expect(rounded(answerProbabilities(tokens, LABELS))).toEqual([0, 0, 0, 0.75, 0.25]);
    expect(rounded(answerProbabilities([token("合作", 1)], LABELS))).toEqual([0, 0, 0, 1, 0]);
  });

  it("are read over tokens that cut a character, and behind quotes and white space", () => {
    const bytes = bytesOf("收购");
    const part = (from: number, to: number, p: number) => ({
      bytes: bytes.slice(from, to),
      logProbability: Math.log(p),
      others: [],
    });
    const tokens = [token("\n", 1), token("“", 1), part(0, 2, 0.5), part(2, 4, 1), part(4, 6, 1)];
    // 收 and 收养 share their first character; the other half of the probability is in tokens that the server did not name.
    expect(rounded(answerProbabilities(tokens, LABELS))).toEqual([0, 1, 0, 0, 0]);
  });

  it("are unknown when the answer does not begin with a label", () => {
    expect(answerProbabilities([token("根据", 0.9, { 收购: 0.1 })], LABELS)).toBeNull();
    expect(answerProbabilities([token("收", 0.9)], LABELS)).toBeNull();
    expect(answerProbabilities([], LABELS)).toBeNull();
  });
});
