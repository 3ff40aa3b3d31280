import { expect, it, vi } from "vitest";
import { createBurstGate, createPieces, ownTurn } from "./loop-turns.ts";

it("gives every caller a turn of the event loop of its own, in the order of the calls", async () => {
  let turn = 0;
  let isCounting = true;
  const count = () => {
    turn++;
    if (isCounting) setImmediate(count);
  };
  setImmediate(count);
  const turns: [number, number][] = [];
  await Promise.all([0, 1, 2, 3].map(async (caller) => ownTurn().then(() => turns.push([caller, turn]))));
  isCounting = false;
  expect(turns.map(([caller]) => caller)).toEqual([0, 1, 2, 3]);
  expect(new Set(turns.map(([, at]) => at)).size).toBe(4);
});

it("ends a piece of work by its time", async () => {
  const pieces = createPieces(20);
  expect(pieces.isLong()).toBe(false);
  for (const end = performance.now() + 20; performance.now() < end; );
  expect(pieces.isLong()).toBe(true);
  await pieces.next();
  expect(pieces.isLong()).toBe(false);
});

it("runs a burst at once for a piece of time, the rest of it in turns of their own, in its order", async () => {
  let now = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => now);
  const inTurn = createBurstGate(10);
  const done: number[] = [];
  const burst = (from: number) =>
    [0, 1, 2, 3].map((i) =>
      inTurn(() => {
        now += 6;
        done.push(from + i);
      }),
    );
  burst(0);
  expect(done).toEqual([0, 1]);
  for (let turn = 0; done.length < 4 && turn < 100; turn++) await new Promise((next) => setImmediate(next));
  expect(done).toEqual([0, 1, 2, 3]);
  burst(4);
  expect(done).toEqual([0, 1, 2, 3, 4, 5]);
  clock.mockRestore();
});
