import { expect, it } from "vitest";
import { createPieces, ownTurn } from "./loop-turns.ts";

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
