import { expect, it } from "vitest";
import { createRandom } from "../../base/random.ts";
import { type AttentionSegment, type AttentionSpec, roundToBfloat16, type Tensor } from "../backend.ts";
import type { Contract } from "./backend.contract.ts";
import { expectClose } from "./comparison.contract.ts";

// Prompts whose tokens see each other in both directions, with causal answers behind them. The judge of these tests is attention with a
// dense mask, which knows nothing of segments: a token has a parent, the token before it, and may belong to a prompt.

interface Token {
  /** Row of the token before it, −1 for the first one. */
  parent: number;
  /** Number of the prompt that it belongs to; null in an answer. */
  prompt: number | null;
}

interface Layout {
  tokens: Token[];
  segments: AttentionSegment[];
}

/** Builds a layout out of tokens that follow each other; returns the rows of what was added. */
function layoutOf(build: (add: Adder) => void): Layout {
  const layout: Layout = { tokens: [], segments: [] };
  build(({ behind = [], prompt = 0, answer = 0 }) => {
    const start = layout.tokens.length;
    const before = behind.at(-1);
    const length = prompt + answer;
    for (let i = 0; i < length; i++) {
      const parent = i > 0 ? start + i - 1 : before ? before.start + before.length - 1 : -1;
      layout.tokens.push({ parent, prompt: i < prompt ? start : null });
    }
    const position = before ? before.position + before.length : 0;
    layout.segments.push({ start, length, keyStart: start, position, context: behind, bidirectional: prompt });
    return [...behind, { start, length, position }];
  });
  return layout;
}
type Spans = AttentionSegment["context"];
type Adder = (part: { behind?: Spans; prompt?: number; answer?: number }) => Spans;

const layouts: Record<string, Layout> = {
  "prompts with their answers, packed": layoutOf((add) => {
    for (const [prompt, answer] of [
      [1, 2],
      [40, 3],
      [2, 0],
      [31, 33],
      [0, 5],
      [100, 1],
    ]) {
      add({ prompt, answer });
    }
  }),
  "prompts of whole blocks": layoutOf((add) => {
    for (const [prompt, answer] of [
      [64, 32],
      [96, 0],
      [32, 7],
    ]) {
      add({ prompt, answer });
    }
  }),
  "a tree of answers behind each prompt": layoutOf((add) => {
    for (const length of [45, 7]) {
      const prompt = add({ prompt: length });
      const chain = add({ behind: prompt, answer: 3 });
      add({ behind: chain, answer: 2 });
      const long = add({ behind: chain, answer: 35 });
      add({ behind: long, answer: 1 });
      add({ behind: prompt, answer: 1 });
    }
  }),
  "a prompt behind other tokens": layoutOf((add) => {
    add({ behind: add({ answer: 20 }), prompt: 50, answer: 2 });
  }),
};

const specOf = (heads: number, keyValueHeads: number, headWidth: number, alibi = false): AttentionSpec => ({
  heads,
  keyValueHeads,
  headWidth,
  scale: 1 / Math.sqrt(headWidth),
  slopes: alibi ? Float32Array.from({ length: heads }, (_, h) => 2 ** -(2 + h)) : null,
});
const specs = [specOf(2, 1, 8), specOf(3, 3, 20, true), specOf(2, 1, 64), specOf(2, 2, 32, true)];

/** Whether token i sees token j, and the distance between them; by the tokens alone. */
function maskOf(tokens: readonly Token[]) {
  const ancestors = tokens.map((_, i) => {
    const found = new Set<number>();
    for (let at = i; at >= 0; at = tokens[at].parent) found.add(at);
    return found;
  });
  const isSeen = (i: number, j: number) => {
    const together = tokens[i].prompt !== null && tokens[i].prompt === tokens[j].prompt;
    return together || ancestors[i].has(j);
  };
  return { isSeen, distance: (i: number, j: number) => Math.abs(ancestors[i].size - ancestors[j].size) };
}

interface Inputs {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  dOutput: Float32Array;
}

/** Attention and its gradients with a dense mask, in float64. */
function denseAttention({ q, k, v, dOutput }: Inputs, tokens: readonly Token[], spec: AttentionSpec) {
  const { heads, keyValueHeads, headWidth: width, scale, slopes } = spec;
  const count = tokens.length;
  const { isSeen, distance } = maskOf(tokens);
  const zeros = (columns: number) => new Float64Array(count * columns);
  const result = {
    output: zeros(heads * width),
    logSumExp: zeros(heads),
    dq: zeros(heads * width),
    dk: zeros(keyValueHeads * width),
    dv: zeros(keyValueHeads * width),
  };
  for (let head = 0; head < heads; head++) {
    const of = (i: number) => (i * heads + head) * width;
    const ofKey = (j: number) => (j * keyValueHeads + Math.floor((head * keyValueHeads) / heads)) * width;
    for (let i = 0; i < count; i++) {
      const seen = tokens.map((_, j) => j).filter((j) => isSeen(i, j));
      const dot = (a: Float32Array, b: Float32Array, j: number) => {
        let sum = 0;
        for (let d = 0; d < width; d++) sum += a[of(i) + d] * b[ofKey(j) + d];
        return sum;
      };
      const exponentials = seen.map((j) =>
        Math.exp(dot(q, k, j) * scale - (slopes ? slopes[head] * distance(i, j) : 0)),
      );
      const total = exponentials.reduce((sum, value) => sum + value, 0);
      const probabilities = exponentials.map((value) => value / total);
      const products = seen.map((j) => dot(dOutput, v, j));
      const mean = products.reduce((sum, product, n) => sum + product * probabilities[n], 0);
      result.logSumExp[i * heads + head] = Math.log(total);
      for (const [n, j] of seen.entries()) {
        const dScore = probabilities[n] * (products[n] - mean) * scale;
        for (let d = 0; d < width; d++) {
          result.output[of(i) + d] += probabilities[n] * v[ofKey(j) + d];
          result.dq[of(i) + d] += dScore * k[ofKey(j) + d];
          result.dk[ofKey(j) + d] += dScore * q[of(i) + d];
          result.dv[ofKey(j) + d] += probabilities[n] * dOutput[of(i) + d];
        }
      }
    }
  }
  return result;
}

export function bidirectionalContract({ open, tolerance }: Contract): void {
  it.each(Object.entries(layouts))("%s", async (_, { tokens, segments }) => {
    const backend = open();
    const random = createRandom(tokens.length);
    const numbers = (columns: number) =>
      Float32Array.from({ length: tokens.length * columns }, () => roundToBfloat16(random.normal()));
    for (const spec of specs) {
      const { heads, keyValueHeads, headWidth } = spec;
      const [width, keyWidth] = [heads * headWidth, keyValueHeads * headWidth];
      const given = { q: numbers(width), k: numbers(keyWidth), v: numbers(keyWidth), dOutput: numbers(width) };
      const expected = denseAttention(given, tokens, spec);
      const made = (values: Float32Array) => backend.tensor(values, tokens.length, values.length / tokens.length);
      const [q, k, v, dOutput] = [made(given.q), made(given.k), made(given.v), made(given.dOutput)];
      const forward = backend.attention(q, k, v, segments, spec);
      const backward = backend.attentionBackward({ q, k, v, ...forward }, dOutput, segments, spec);
      const what = `${heads}/${keyValueHeads} heads of ${headWidth}`;
      for (const [name, tensor] of Object.entries<Tensor>({ ...forward, ...backward })) {
        const wanted = expected[name as keyof typeof expected];
        expectClose(`${what}: ${name}`, await backend.read(tensor), wanted, tensor.columns, 2 * tolerance);
      }
    }
    await backend.close();
  });

  it("a prompt of one token is causal", async () => {
    const backend = open();
    const spec = specOf(2, 1, 8, true);
    const x = backend.tensor(
      Float32Array.from({ length: 9 * 16 }, (_, i) => Math.sin(i * i)),
      9,
      16,
    );
    const k = backend.tensor(
      Float32Array.from({ length: 9 * 8 }, (_, i) => Math.cos(i * i)),
      9,
      8,
    );
    const outputs = await Promise.all(
      [{}, { bidirectional: 0 }, { bidirectional: 1 }].map((more) => {
        const segment = { start: 0, length: 9, keyStart: 0, position: 0, context: [], ...more };
        return backend.read(backend.attention(x, k, k, [segment], spec).output);
      }),
    );
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).toEqual(outputs[0]);
    await backend.close();
  });
}
