import { showValue, UserError } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { median, type TrainStepBench } from "../bench/train-step.ts";
import { print, say } from "./terminal.ts";

const REQUEST = "step";
const MAX_REQUEST_BYTES = 100;

/**
 * Makes one step for every line "step" of standard input, so that another program measures it in turn with other processes: prints a JSON
 * line when ready, one a step and, when the input ends, the one that `--json` prints, each with what the user chose. Throws a UserError for
 * any other line.
 */
export async function answerStepRequests(
  bench: TrainStepBench,
  { rounds: _, ...chosen }: { rounds: number } & Record<string, unknown>,
): Promise<void> {
  failWhenNobodyReads();
  await printJson({ ready: true, ...chosen, ...bench.ready });
  for await (const { number, text, problem } of readLines(process.stdin, { maxLineBytes: MAX_REQUEST_BYTES })) {
    if (text !== REQUEST) {
      throw new UserError(
        `standard input, line ${number}: ${problem ?? `is ${showValue(text)}`}; expected "${REQUEST}".`,
      );
    }
    await printJson({ step: number, ...(await bench.step()) });
  }
  const result = await bench.result();
  const rounds = result.seconds.length;
  await printJson({ ...chosen, rounds, ...result, medianSeconds: rounds > 0 ? median(result.seconds) : null });
}

const printJson = (value: unknown) => print(`${JSON.stringify(value)}\n`);

/** Elsewhere a reader that goes away early is no fault; here the steps would be lost without a word. */
function failWhenNobodyReads(): void {
  process.stdout.prependListener("error", (error: NodeJS.ErrnoException) => {
    say(`error: standard output was closed (${error.code}): nobody reads the steps.`);
    process.exit(1);
  });
}
