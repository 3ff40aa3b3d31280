import { createRandom } from "../base/random.ts";
import type { AttentionSegment, AttentionSpec, Backend, Tensor } from "../compute/backend.ts";

export interface KernelSpeed {
  name: string;
  /** Median. */
  ms: number;
}

interface Kernel {
  name: string;
  /** Issues the kernel once; everything it makes is freed. */
  issue: () => void;
}

const attentionSpec = (heads: number, keyValueHeads: number, headWidth: number): AttentionSpec => ({
  heads,
  keyValueHeads,
  headWidth,
  scale: headWidth ** -0.5,
  slopes: null,
});

/** `count` sequences of `length` rows, one after the other. */
const sequences = (count: number, length: number): AttentionSegment[] =>
  Array.from({ length: count }, (_, i) => ({
    start: i * length,
    length,
    keyStart: i * length,
    position: 0,
    context: [],
  }));

/** Prompts whose tokens see each other. */
const prompts = (count: number, length: number): AttentionSegment[] =>
  sequences(count, length).map((segment) => ({ ...segment, bidirectional: length }));

/** `count` single rows, each behind its own cache of `cached` keys. */
const newRows = (count: number, cached: number): AttentionSegment[] =>
  Array.from({ length: count }, (_, i) => ({
    start: i,
    length: 1,
    keyStart: i * (cached + 1) + cached,
    position: cached,
    context: [{ start: i * (cached + 1), length: cached, position: 0 }],
  }));

/** The kernels other than matrix products at the sizes of a model of 110M parameters: 1,536 rows of 768, 12 heads of 64. */
function kernelsOf(backend: Backend): { kernels: Kernel[]; free: () => void } {
  const random = createRandom(1);
  const numbers = Float32Array.from({ length: 4099 }, () => random.uniform() * 2 - 1);
  const made: Tensor[] = [];
  const tensor = (rows: number, columns: number, wide = false): Tensor => {
    const values = new Float32Array(rows * columns);
    for (let i = 0; i < values.length; i++) values[i] = numbers[i % numbers.length];
    made.push(backend.tensor(values, rows, columns, { wide }));
    return made[made.length - 1];
  };
  const freeAll = (...tensors: Tensor[]) => {
    for (const used of tensors) backend.free(used);
  };
  const [rows, width, hidden] = [1536, 768, 2048];
  const gain = backend.weight({ name: "gain", rows: 1, columns: width, storage: "float32", trainable: true });
  const stream = tensor(rows, width, true);
  const x = tensor(rows, width);
  const [gate, up] = [tensor(rows, hidden), tensor(rows, hidden)];
  const frequencies = Float32Array.from({ length: 32 }, (_, i) => 10_000 ** (-i / 32));
  const positions = Int32Array.from({ length: rows }, (_, t) => t % 96);
  const rotary = { heads: 12, headWidth: 64, frequencies, layout: "halves" } as const;
  const logits = tensor(512, 32_000);
  const targets = new Int32Array(512);
  const ones = new Float32Array(512).fill(1);

  const attention = (name: string, spec: AttentionSpec, keyRows: number, segments: AttentionSegment[]): Kernel[] => {
    const queryRows = segments.reduce((sum, { length }) => sum + length, 0);
    const [q, dOutput] = [
      tensor(queryRows, spec.heads * spec.headWidth),
      tensor(queryRows, spec.heads * spec.headWidth),
    ];
    const [k, v] = [
      tensor(keyRows, spec.keyValueHeads * spec.headWidth),
      tensor(keyRows, spec.keyValueHeads * spec.headWidth),
    ];
    const kept = backend.attention(q, k, v, segments, spec);
    made.push(kept.output, kept.logSumExp);
    const forward = {
      name: `attention ${name}`,
      issue: () => {
        const { output, logSumExp } = backend.attention(q, k, v, segments, spec);
        freeAll(output, logSumExp);
      },
    };
    if (keyRows !== queryRows) return [forward];
    const backward = () => {
      const { dq, dk, dv } = backend.attentionBackward({ q, k, v, ...kept }, dOutput, segments, spec);
      freeAll(dq, dk, dv);
    };
    return [forward, { name: `${forward.name}, backward`, issue: backward }];
  };

  const kernels: Kernel[] = [
    { name: "rmsNorm", issue: () => freeAll(backend.rmsNorm(stream, gain, 1e-5)) },
    { name: "rmsNorm, backward", issue: () => freeAll(backend.rmsNormBackward(stream, gain, x, 1e-5, stream)) },
    { name: "rotary", issue: () => freeAll(backend.rotary(x, positions, rotary)) },
    { name: "swiglu", issue: () => freeAll(backend.swiglu(gate, up)) },
    {
      name: "swiglu, backward",
      issue: () => {
        const { dGate, dUp } = backend.swigluBackward(gate, up, gate);
        freeAll(dGate, dUp);
      },
    },
    { name: "add", issue: () => freeAll(backend.add(stream, x)) },
    { name: "dropout", issue: () => freeAll(backend.dropout(x, 0.1, 1)) },
    {
      name: "cross-entropy 512 x 32000",
      issue: () => {
        const { loss, dLogits } = backend.crossEntropy(logits, targets, ones);
        freeAll(loss, dLogits);
      },
    },
    { name: "argmax 512 x 32000", issue: () => freeAll(backend.argmax(logits)) },
    ...attention("16 x 96 rows, 12 x 64", attentionSpec(12, 12, 64), 16 * 96, sequences(16, 96)),
    ...attention("16 x 96 rows in both directions, 12 x 64", attentionSpec(12, 12, 64), 16 * 96, prompts(16, 96)),
    ...attention("1 x 1024 rows, 14/2 x 64", attentionSpec(14, 2, 64), 1024, sequences(1, 1024)),
    ...attention("1 x 1024 rows in both directions, 14/2 x 64", attentionSpec(14, 2, 64), 1024, prompts(1, 1024)),
    ...attention("32 rows over 500 cached, 12 x 64", attentionSpec(12, 12, 64), 32 * 501, newRows(32, 500)),
  ];
  const free = () => {
    freeAll(...made);
    backend.freeWeight(gain);
  };
  return { kernels, free };
}

/** Times each kernel: the median of `rounds` rounds of at least `roundMs` each. Results are freed, never read. */
export async function* measureKernels(
  backend: Backend,
  { rounds = 5, roundMs = 40 }: { rounds?: number; roundMs?: number } = {},
): AsyncGenerator<KernelSpeed> {
  const { kernels, free } = kernelsOf(backend);
  for (const { name, issue } of kernels) {
    const timed = async (count: number): Promise<number> => {
      const startMs = performance.now();
      for (let i = 0; i < count; i++) issue();
      await backend.sync();
      return (performance.now() - startMs) / count;
    };
    await timed(1);
    const count = Math.max(1, Math.ceil(roundMs / Math.max(0.01, await timed(1))));
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) times.push(await timed(count));
    yield { name, ms: times.sort((a, b) => a - b)[Math.floor(rounds / 2)] };
  }
  free();
}
