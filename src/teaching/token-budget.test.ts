import { describe, expect, it } from "vitest";
import { createPromptBound, createTokenBudget } from "./token-budget.ts";

const prompt = (question: string, rules = "规则".repeat(100)) => ({ rules, question });

describe("the token budget", () => {
  it("is spent exactly, and never exceeded", async () => {
    const budget = createTokenBudget(100, 10);
    expect(await budget.reserve(() => 90)).toBe(90);
    budget.book(90, 60);
    expect(budget.spent).toBe(70);
    expect(await budget.reserve(() => 30)).toBe(30);
    budget.book(30, 30);
    expect(await budget.reserve(() => 1)).toBeNull();
    expect(budget.spent).toBe(100);
  });

  it("waits for requests in progress before it gives up, in the order of the requests", async () => {
    const budget = createTokenBudget(100);
    const first = (await budget.reserve(() => 60)) as number;
    const got: (number | null)[] = [];
    const second = budget.reserve(() => 50).then((tokens) => got.push(tokens));
    // Would fit now, but comes later.
    const third = budget.reserve(() => 10).then((tokens) => got.push(tokens));
    await new Promise((done) => setTimeout(done, 5));
    expect(got).toEqual([]);
    budget.book(first, 20);
    await Promise.all([second, third]);
    expect(got).toEqual([50, 10]);
  });

  it("is over for all once a request does not fit", async () => {
    const budget = createTokenBudget(100);
    expect(await budget.reserve(() => 101)).toBeNull();
    expect(await budget.reserve(() => 1)).toBeNull();
    expect(budget.spent).toBe(0);
  });

  it("allows another attempt only where the first one and the next fit", async () => {
    const budget = createTokenBudget(100);
    const reserved = (await budget.reserve(() => 40)) as number;
    expect(budget.repeat(reserved)).toBe(true);
    expect(budget.spent).toBe(40);
    expect(budget.repeat(reserved)).toBe(false);
    budget.book(reserved, 15);
    expect(budget.spent).toBe(55);
    expect(await budget.reserve(() => 45)).toBe(45);
  });

  it("asks for the need anew when it has waited", async () => {
    const budget = createTokenBudget(100);
    let need = 80;
    const first = (await budget.reserve(() => need)) as number;
    const second = budget.reserve(() => need);
    need = 30;
    budget.book(first, 70);
    expect(await second).toBe(30);
  });

  it("without a limit counts", async () => {
    const budget = createTokenBudget(Number.POSITIVE_INFINITY);
    budget.book((await budget.reserve(() => 1e12)) as number, 5);
    expect(budget.spent).toBe(5);
  });
});

describe("the bound of a prompt", () => {
  it("is its bytes and a template's tokens, then what the server counted for the rules and the bytes of the question", () => {
    const bound = createPromptBound();
    expect(bound.boundOf(prompt("问"))).toBe(600 + 3 + 256);
    bound.learn(prompt("问题一"), 150);
    bound.learn(prompt("问"), 140);
    bound.learn(prompt("问题二"), 150);
    expect(bound.boundOf(prompt("问题"))).toBe(140 + 6 + 8);
    expect(bound.boundOf(prompt("问题", "别的"))).toBe(6 + 6 + 256);
  });

  it("grows by what a server counted above it", () => {
    const bound = createPromptBound();
    bound.learn(prompt("问"), 600 + 3 + 256 + 50);
    expect(bound.boundOf(prompt("问题", "别的"))).toBe(6 + 6 + 256 + 50);
    expect(bound.boundOf(prompt("问题"))).toBe(600 + 6 + 256 + 50);
  });

  it("learns nothing from a server that does not count", () => {
    const bound = createPromptBound();
    bound.learn(prompt("问"), 0);
    expect(bound.boundOf(prompt("问"))).toBe(859);
  });
});
