// Runs commands of the built command line in this process: a line of standard input is {"command": words, "stopsTraining"}, answers are on
// file descriptor 3.
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";

const answer = (value) => writeSync(3, `${JSON.stringify(value)}\n`);
const captured = { stdout: "", stderr: "" };
let onStart = () => {};
for (const name of ["stdout", "stderr"]) {
  process[name].write = (chunk, encoding, callback) => {
    captured[name] += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
    // The line on rows and steps is the last before the first step.
    if (name === "stderr" && captured.stderr.includes("training rows")) onStart();
    const done = typeof encoding === "function" ? encoding : callback;
    if (done) queueMicrotask(() => done());
    return true;
  };
}

process.argv = [process.argv[0], "cre", "--help"];
const { main } = await import("../../dist/cli.js");
process.exitCode = 0;
const own = process.memoryUsage.rss();

for await (const line of createInterface({ input: process.stdin })) {
  const { command, stopsTraining } = JSON.parse(line);
  captured.stdout = "";
  captured.stderr = "";
  const before = process.cpuUsage();
  const measure = () => {
    const { user, system } = process.cpuUsage(before);
    return { seconds: (user + system) / 1e6, grownBytes: process.memoryUsage.rss() - own };
  };
  let measured = null;
  onStart = () => {
    if (measured) return;
    measured = measure();
    answer({ begun: measured });
    if (stopsTraining) setImmediate(() => process.emit("SIGINT", "SIGINT"));
  };
  let code;
  try {
    code = await main(command);
  } catch (error) {
    code = `main threw ${error}`;
  }
  process.exitCode = 0;
  answer({ ended: { code, ...captured, ...(measured ?? measure()) } });
}
