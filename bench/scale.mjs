// Arithmetic for docs/scale.md: what a training on GPUs and the extraction of a large corpus need. Nothing is measured here: every assumption
// is a number below, and `node bench/scale.mjs --set sustainedTflops=250` replaces one.

const ASSUMED = {
  // Training.
  rows: 1_000_000,
  rowTokens: 150,
  answerTokens: 8,
  epochs: 3,
  passRows: 16,
  rank: 16,
  // Of one GPU in bfloat16, as a training sustains it; a data sheet's peak is two to three times that.
  sustainedTflops: 300,
  // Share of the speed that is left when GPUs wait for each other.
  efficiency8: 0.9,
  efficiency64: 0.75,
  // Extraction: pairs of a sentence with entities, tokens of a pair behind the shared instruction.
  sentences: 100_000_000,
  pairs: 2,
  pairTokens: 60,
  // Tokens a second of two cores with AMX, docs/measurements.md: pretraining of base-zh (6 FLOPs a parameter and token), LoRA on the 7B shape (4).
  measuredBaseZh: 10_000,
  measured7b: 101,
};

for (const [i, word] of process.argv.entries()) {
  if (word !== "--set") continue;
  const [name, value] = (process.argv[i + 1] ?? "").split("=");
  if (!(name in ASSUMED) || !(Number(value) > 0))
    throw new Error(`--set ${name}: expected one of ${Object.keys(ASSUMED).join(", ")}, and a number.`);
  ASSUMED[name] = Number(value);
}
const A = ASSUMED;

const SHAPES = {
  "7B": { width: 4_096, layers: 32, heads: 32, feedForward: 11_008, vocabulary: 32_000 },
  "13B": { width: 5_120, layers: 40, heads: 40, feedForward: 13_824, vocabulary: 32_000 },
};
const inLayers = ({ width, layers, feedForward }) => layers * (4 * width ** 2 + 3 * width * feedForward);
const tables = ({ width, vocabulary }) => 2 * width * vocabulary;
const adapter = ({ width, layers, feedForward }) => A.rank * layers * (4 * 2 * width + 3 * (width + feedForward));

const gb = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;
const row = (...cells) => console.log(`| ${cells.join(" | ")} |`);
const head = (...cells) => {
  row(...cells);
  row(...cells.map(() => "---"));
};
const duration = (hours) => {
  if (hours < 1) return `${(60 * hours).toFixed(0)} min`;
  if (hours < 48) return `${hours.toFixed(1)} h`;
  return hours < 24 * 730 ? `${(hours / 24).toFixed(0)} days` : `${(hours / 8766).toFixed(0)} years`;
};

console.log(
  `Assumed: ${Object.entries(A)
    .map(([name, value]) => `${name} ${value.toLocaleString("en")}`)
    .join(", ")}.\n`,
);

console.log("Memory of one GPU, adapter on all projections, activations recomputed:\n");
head("model", "base", "weights, ddp", "fsdp on 8", "fsdp on 64", "adapter, gradient, moments", "a pass");
for (const [name, shape] of Object.entries(SHAPES)) {
  const tokens = A.passRows * A.rowTokens;
  // The input of every layer in bfloat16, one layer whole, logits of the answers with their gradient in float32.
  const layer = 2 * tokens * (8 * shape.width + 3 * shape.feedForward);
  const pass = 2 * tokens * shape.width * shape.layers + layer + 8 * A.passRows * A.answerTokens * shape.vocabulary;
  for (const [base, bytes] of [
    ["bfloat16", 2],
    ["nf4", 0.5 + 4 / 64],
  ]) {
    const weights = inLayers(shape) * bytes + tables(shape) * 2;
    const shards = base === "nf4" ? ["–", "–"] : [gb(weights / 8), gb(weights / 64)];
    row(name, base, gb(weights), ...shards, gb(16 * adapter(shape)), gb(pass));
  }
}

console.log(
  `\nTime of a training on ${A.rows.toLocaleString("en")} rows, ${A.epochs} epochs, and of one tenth of it:\n`,
);
head("model", "PFLOP", "1 GPU", "8 GPUs", "64 GPUs", "a tenth on 1 GPU");
for (const [name, shape] of Object.entries(SHAPES)) {
  const tokens = A.rows * A.rowTokens * A.epochs;
  // Forward, forward again, backward to the inputs of frozen products; the head on the answers' tokens.
  const each = 6 * inLayers(shape) + (4 * shape.width * shape.vocabulary * A.answerTokens) / A.rowTokens;
  const flops = tokens * each;
  const hours = flops / (A.sustainedTflops * 1e12) / 3600;
  const of = (gpus, efficiency) => duration(hours / gpus / efficiency);
  row(
    name,
    Math.round(flops / 1e15).toLocaleString("en"),
    of(1, 1),
    of(8, A.efficiency8),
    of(64, A.efficiency64),
    duration(hours / 10),
  );
}

console.log(`\nExtraction of ${(A.sentences / 1e6).toFixed(0)} million sentences, ${A.pairs} pairs each:\n`);
head(
  "model",
  "tokens/s of a worker",
  "10 workers",
  "1,000 workers",
  "1 GPU",
  "8 GPUs",
  "64 GPUs",
  "answers a second, 1,000 workers",
);
const total = A.sentences * A.pairs * A.pairTokens;
const models = [
  ["base-zh (27 M)", 3 * A.measuredBaseZh, 2 * 26.7e6],
  ["7B", 2 * A.measured7b, 2 * inLayers(SHAPES["7B"])],
];
for (const [name, rate, flops] of models) {
  const cpu = (workers) => duration(total / rate / workers / 3600);
  const gpu = (gpus) => duration((total * flops) / (A.sustainedTflops * 1e12) / gpus / 3600);
  const answers = Math.round((1000 * rate) / A.pairTokens / A.pairs);
  // A model this small leaves a GPU idle: its arithmetic says nothing about it.
  const gpus = name.startsWith("base-zh") ? ["–", "–", "–"] : [gpu(1), gpu(8), gpu(64)];
  row(name, rate.toLocaleString("en"), cpu(10), cpu(1000), ...gpus, `${answers.toLocaleString("en")} sentences`);
}
