// The lines by which a living process is measured in turn with others: "step" on standard input, one JSON line for each on standard output.
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

export function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}

/** The options of this process; ends it with one line where they are wrong. */
export function options(known) {
  try {
    return parseArgs({ options: known }).values;
  } catch (error) {
    return fail(error.message);
  }
}

export function wholeNumber(name, text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) fail(`${name} is "${text}", expected a whole number from 1.`);
  return value;
}

/** Reads seconds and processor seconds of this process since it was made. */
export function stopwatch() {
  const started = performance.now();
  const used = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(used);
    const peakResidentBytes = process.resourceUsage().maxRSS * 1024;
    return {
      seconds: (performance.now() - started) / 1000,
      processorSeconds: (user + system) / 1e6,
      peakResidentBytes,
    };
  };
}

/** Says that it is ready, then answers every line "step" with what `turn(number from 1)` gives, until the input ends. */
export async function serveTurns(ready, turn) {
  const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  tell({ ready: true, ...ready });
  let number = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    number++;
    if (line !== "step")
      fail(`standard input, line ${number}: is ${JSON.stringify(line.slice(0, 40))}; expected "step".`);
    tell({ step: number, ...(await turn(number)) });
  }
}
