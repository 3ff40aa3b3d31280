import { expect, it } from "vitest";
import { ownTurn } from "./loop-turns.ts";

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
