import { join } from "node:path";
import { writeAtomic, writeFully } from "../base/files.ts";
import type { TrainSettings } from "../recipe/schema.ts";
import { answersOf, type EncodedExample, type StepPlan } from "../train/batches.ts";
import { learningRateAt } from "../train/optimizer.ts";

/** Token ids with the targets of the loss, as Axolotl and transformers read them. */
export const ROWS_FILE = "rows.jsonl";
/** What the loss of each row needs beyond its labels. */
export const EXAMPLES_FILE = "examples.jsonl";
/** Rows and learning rate of each step, and what happens after it. */
export const STEPS_FILE = "steps.jsonl";

/** The label of a token that is no target. */
const IGNORED = -100;
const FLUSH_CHARACTERS = 1 << 22;

/** Writes the rows of encoded examples, one for each answer, and returns the rows of each example. */
export async function writeRows(
  directory: string,
  examples: readonly EncodedExample[],
  promptLoss: number,
): Promise<number[][]> {
  const rowsOf: number[][] = [];
  let count = 0;
  for (const example of examples) rowsOf.push(answersOf(example).map(() => count++));
  await writeJsonl(join(directory, ROWS_FILE), function* () {
    for (const example of examples) {
      for (const { promptIds, answerIds } of answersOf(example)) {
        const prompt = Array.from(promptIds);
        const answer = Array.from(answerIds);
        const input_ids = [...prompt, ...answer];
        const labels = [...prompt.map((id) => (promptLoss > 0 ? id : IGNORED)), ...answer];
        yield { input_ids, attention_mask: input_ids.map(() => 1), labels };
      }
    }
  });
  await writeJsonl(join(directory, EXAMPLES_FILE), function* () {
    for (const [example, encoded] of examples.entries()) {
      for (const { promptIds, weight = 1 } of answersOf(encoded)) {
        const copies = encoded.copiesPrompt ? { copiesPrompt: true } : {};
        yield { example, promptTokens: promptIds.length, weight, ...copies };
      }
    }
  });
  return rowsOf;
}

/** Writes the steps of a plan: which rows, at which learning rate, whether the weights enter their mean and are kept to be validated. */
export async function writeSteps(
  directory: string,
  plan: StepPlan,
  settings: TrainSettings,
  rowsOf: readonly number[][],
  due: Record<"averages" | "validates", (step: number) => boolean>,
): Promise<void> {
  await writeJsonl(join(directory, STEPS_FILE), function* () {
    for (let step = 0; step < plan.totalSteps; step++) {
      const done = step + 1;
      const rows = plan.examplesOf(step).flatMap((example) => rowsOf[example]);
      yield {
        step: done,
        rows,
        learningRate: learningRateAt(settings, step, plan.totalSteps),
        ...(due.averages(done) ? { average: true } : {}),
        ...(due.validates(done) || done === plan.totalSteps ? { keep: true } : {}),
      };
    }
  });
}

async function writeJsonl(file: string, lines: () => Generator<unknown>): Promise<void> {
  await writeAtomic(file, async (handle) => {
    let text = "";
    const flush = async () => {
      await writeFully(handle, Buffer.from(text));
      text = "";
    };
    for (const line of lines()) {
      text += `${JSON.stringify(line)}\n`;
      if (text.length > FLUSH_CHARACTERS) await flush();
    }
    await flush();
  });
}
