// Takes the place of engines/torch/train.py where there is no torch: every weight of the adapter is 0.25 at the end.
// node fake-trainer.mjs train|stop|fail train.py FOLDER --output OUT --parallel WAY
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [, , mode, script, folder, , output, , parallel] = process.argv;
const lines = (file) =>
  readFileSync(join(folder, file), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const plan = JSON.parse(readFileSync(join(folder, "hand-over.json"), "utf8"));
if (mode === "fail") {
  console.log("loading");
  console.error(`RuntimeError: no memory for ${script.split("/").at(-1)}`);
  process.exit(1);
}
mkdirSync(output, { recursive: true });
const about = { device: "a test", processes: 2, parallel, torch: "0.0" };
const say = (event) => console.log(JSON.stringify(event));
if (mode === "stop") {
  process.on("SIGTERM", () => {
    say({ kind: "stopped", step: 1 });
    process.exit(130);
  });
}
const isResumed = existsSync(join(output, "state"));
say({ kind: "start", ...about, precision: "float32", trained: 10, resumedAt: isResumed ? 1 : 0 });
if (mode === "stop" && !isResumed) {
  writeFileSync(join(output, "state"), "1");
  setInterval(() => {}, 1000);
} else {
  const steps = lines("steps.jsonl");
  const log = steps.map(({ step, rows, learningRate }) => {
    const epoch = step / plan.stepsPerEpoch;
    return {
      kind: "step",
      step,
      epoch,
      loss: 1 / step,
      learningRate,
      gradientNorm: 1,
      tokens: 9,
      answerTokens: rows.length,
      seconds: 0.5,
    };
  });
  for (const event of log) say(event);
  writeFileSync(join(output, "log.jsonl"), log.map((event) => `${JSON.stringify(event)}\n`).join(""));
  const kept = steps
    .filter(({ keep }) => keep)
    .map(({ step }) => {
      const name = `kept/step-${String(step).padStart(8, "0")}`;
      const one = join(output, name);
      cpSync(join(folder, "adapter"), one, { recursive: true });
      const file = join(one, "adapter_model.safetensors");
      const bytes = readFileSync(file);
      for (let at = 8 + Number(bytes.readBigUInt64LE(0)); at < bytes.length; at += 4) bytes.writeFloatLE(0.25, at);
      writeFileSync(file, bytes);
      const sum = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
      return {
        step,
        folder: name,
        files: Object.fromEntries(readdirSync(one).map((inner) => [inner, sum(join(one, inner))])),
      };
    });
  const result = { origin: plan.origin, steps: plan.steps, seconds: 3, ...about, transformers: "0", peft: "0", kept };
  writeFileSync(join(output, "result.json"), JSON.stringify(result));
  say({ kind: "end", steps: plan.steps });
}
