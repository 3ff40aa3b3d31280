import { describe, expect, it } from "vitest";
import { verdictOf } from "./agreement.ts";

const LABELS = ["unknown", "收购", "合作"];
const vote = (label: string, probabilities: number[] | null = null) => ({ label, probabilities });

describe("the verdict of several answers", () => {
  it("has the shares of the answers", () => {
    const verdict = verdictOf([vote("收购"), vote("合作"), vote("收购"), vote("收购")], LABELS);
    expect(verdict).toEqual({ label: "收购", shares: Float64Array.of(0, 0.75, 0.25), agreement: 0.75, margin: 0.5 });
  });

  it("takes the probabilities of an answer in the place of its vote", () => {
    const verdict = verdictOf([vote("收购", [0.25, 0.5, 0.25]), vote("收购")], LABELS);
    expect(verdict).toEqual({
      label: "收购",
      shares: Float64Array.of(0.125, 0.75, 0.125),
      agreement: 1,
      margin: 0.625,
    });
  });

  it("takes the label that was answered first of equal ones", () => {
    expect(verdictOf([vote("合作"), vote("收购"), vote("unknown")], LABELS)).toMatchObject({
      label: "合作",
      margin: 0,
    });
    expect(verdictOf([vote("收购"), vote("合作")], LABELS)).toMatchObject({ label: "收购", agreement: 0.5, margin: 0 });
  });

  it("may choose a label that few answers give but all find probable", () => {
    const verdict = verdictOf([vote("收购", [0, 0.4, 0.6]), vote("收购", [0, 0.45, 0.55])], LABELS);
    expect(verdict).toMatchObject({ label: "合作", agreement: 0 });
  });

  it("is none without an answer", () => {
    expect(verdictOf([], LABELS)).toBeNull();
  });
});
