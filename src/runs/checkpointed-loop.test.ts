import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { type CheckpointedTraining, checkpointedLoop, type LoopLimits } from "./checkpointed-loop.ts";
import { readLog, runFolder } from "./run-folder.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-loop-"));
afterAll(() => rmSync(directory, { recursive: true }));

type Fake = CheckpointedTraining<{ step: number; loss: number }, { step: number; f1: number }>;

/** Six steps that compute nothing, validated after every third; says what the loop called and yielded, in order. */
async function runLoop(changes: Partial<Fake> = {}, limits: LoopLimits = {}, startStep = 0) {
  const folder = runFolder(mkdtempSync(join(directory, "run-")));
  const progress = { step: startStep, best: null, waited: 0, averaged: 0 };
  const order: string[] = [];
  const training: Fake = {
    totalSteps: 6,
    checkpointSeconds: 1e6,
    steps: (async function* () {
      for (let step = startStep + 1; step <= 6; step++) yield { step, loss: 1 / step };
    })(),
    afterStep: async (step) => {
      order.push(`after ${step}`);
    },
    validateAfter: async (step) => (step % 3 === 0 ? { step, f1: step / 10 } : null),
    saveAfterValidation: false,
    save: async () => {
      order.push(`save ${progress.step}`);
    },
    ...changes,
  };
  const loop = checkpointedLoop(folder, progress, training, limits);
  let result = await loop.next();
  for (; !result.done; result = await loop.next()) order.push(`${result.value.kind} ${result.value.step}`);
  return { order, isFinished: result.value, progress, log: await readLog(folder) };
}

describe("checkpointedLoop", () => {
  it("logs, yields, validates and saves in order", async () => {
    const { order, isFinished, log } = await runLoop({ afterStep: undefined });
    expect(order.join(", ")).toBe(
      "step 1, step 2, step 3, validation 3, step 4, step 5, step 6, validation 6, save 6, checkpoint 6",
    );
    expect(isFinished).toBe(true);
    expect(log.slice(2, 4)).toEqual([
      { kind: "step", step: 3, loss: 1 / 3 },
      { kind: "validation", step: 3, f1: 0.3 },
    ]);
    expect(log).toHaveLength(8);
  });

  it("saves after validations when told, and whenever a checkpoint is due", async () => {
    const { order } = await runLoop({ saveAfterValidation: true });
    expect(order.filter((name) => name.startsWith("save"))).toEqual(["save 3", "save 6"]);
    expect(order.slice(0, 9).join(", ")).toBe(
      "step 1, after 1, step 2, after 2, step 3, after 3, validation 3, save 3, checkpoint 3",
    );
    const slow = async function* () {
      for (let step = 1; step <= 6; step++) {
        await sleep(step === 4 ? 30 : 0);
        yield { step, loss: 0 };
      }
    };
    const due = await runLoop({ checkpointSeconds: 0.02, steps: slow() });
    expect(due.order).toContain("save 4");
  });

  it("stops at a step, after a time or by a signal, each with a checkpoint", async () => {
    const atStep = await runLoop({}, { untilStep: 2 });
    expect(atStep.order.slice(-3)).toEqual(["save 2", "checkpoint 2", "stopped 2"]);
    expect(atStep).toMatchObject({ isFinished: false, progress: { step: 2 } });
    const late = await runLoop({}, { seconds: 0 });
    expect(late.order.slice(-3)).toEqual(["save 1", "checkpoint 1", "stopped 1"]);
    const aborted = await runLoop({}, { signal: AbortSignal.abort() });
    expect(aborted.order.slice(-1)).toEqual(["stopped 1"]);
  });

  it("finishes the step and its validation before it stops, and finishes when the limit is the last step", async () => {
    expect((await runLoop({}, { untilStep: 3 })).order.slice(-4)).toEqual([
      "validation 3",
      "save 3",
      "checkpoint 3",
      "stopped 3",
    ]);
    const last = await runLoop({}, { untilStep: 6 }, 4);
    expect(last.isFinished).toBe(true);
    expect(last.order.at(-1)).toBe("checkpoint 6");
  });
});
