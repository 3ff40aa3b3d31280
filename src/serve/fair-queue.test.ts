import { describe, expect, it } from "vitest";
import { createFairQueue } from "./fair-queue.ts";

const many = { items: 4, cost: 1000 };

describe("the fair queue", () => {
  it("takes one item of each client, and of its requests, in turn", () => {
    const queue = createFairQueue<string>(() => 1);
    const [long, short, other] = [{}, {}, {}];
    queue.add("a", long, ["a1", "a2", "a3", "a4", "a5"]);
    queue.add("a", short, ["s1"]);
    queue.add("b", other, ["b1", "b2"]);
    expect([queue.items, queue.requests, queue.itemsOf("a"), queue.itemsOf("c")]).toEqual([8, 3, 6, 0]);
    expect(queue.take(many)).toEqual(["a1", "b1", "s1", "b2"]);
    expect(queue.take(many)).toEqual(["a2", "a3", "a4", "a5"]);
    expect(queue.take(many)).toEqual([]);
    expect([queue.items, queue.requests]).toEqual([0, 0]);
  });

  it("takes at least one item, and no more than the cost allows", () => {
    const queue = createFairQueue<number>((cost) => cost);
    queue.add("a", {}, [50, 3, 3, 3]);
    expect(queue.take({ items: 10, cost: 7 })).toEqual([50]);
    expect(queue.take({ items: 10, cost: 7 })).toEqual([3, 3]);
    expect(queue.take({ items: 10, cost: 7 })).toEqual([3]);
  });

  it("takes one item of each request, also where they cost more than a turn should", () => {
    const queue = createFairQueue<number>((cost) => cost);
    for (let i = 0; i < 4; i++) queue.add("a", {}, [5, 5]);
    expect(queue.take({ items: 10, cost: 8 })).toEqual([5, 5, 5, 5]);
    expect(queue.take({ items: 3, cost: 8 })).toEqual([5, 5, 5]);
    for (let i = 0; i < 20; i++) queue.add("b", {}, [10]);
    expect(queue.take({ items: 30, cost: 8 })).toHaveLength(6);
  });

  it("appends to a request and drops it", () => {
    const queue = createFairQueue<string>(() => 1);
    const [one, two] = [{}, {}];
    queue.add("a", one, ["1", "2"]);
    queue.add("a", one, ["3"]);
    queue.add("b", two, ["x"]);
    expect(queue.take({ items: 1, cost: 9 })).toEqual(["1"]);
    queue.drop(two);
    queue.drop(two);
    expect([queue.items, queue.requests]).toEqual([2, 1]);
    expect(queue.take(many)).toEqual(["2", "3"]);
  });
});
