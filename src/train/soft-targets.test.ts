import { afterAll, describe, expect, it } from "vitest";
import { TINY_LABELS, TOKENIZER } from "../../test/tiny-extractor.ts";
import { tinyDecoder } from "../../test/tiny-model.ts";
import { createTape } from "../compute/autograd.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Example } from "../data/example.ts";
import { decoderWeights, forward, freeDecoder } from "../models/decoder.ts";
import type { PromptAttention } from "../models/spec.ts";
import { chatTemplate } from "../prompts/chat-template.ts";
import { promptStyle } from "../prompts/relation-prompt.ts";
import { createRenderer, type Renderer } from "../prompts/renderer.ts";
import { openTokenizer } from "../tokenizers/open-tokenizer.ts";
import { answersOf, type EncodedExample, lossWeight, packExamples } from "./batches.ts";
import { encodeTaught, softTarget } from "./soft-targets.ts";
import { addGradients } from "./train.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());

const tokenizer = await openTokenizer(TOKENIZER);
const rendererFor = (style: string): Renderer =>
  createRenderer({
    ...{ tokenizer, style: promptStyle(style), template: chatTemplate("plain"), labels: TINY_LABELS },
    ...{ maxPromptTokens: 200, maxAnswerTokens: 40, addBos: true },
  });
const ROW: Example = { sentence: "昨天远山宣布收购近水的全部股份。", head: "远山", tail: "近水", relations: ["收购"] };
const AS_THEY_ARE = { temperature: 1, leastProbability: 0 };

describe("softTarget", () => {
  it("keeps a distribution as it is at temperature 1 without a cut", () => {
    const { shares, cut } = softTarget([0.5, 0.3, 0.2], AS_THEY_ARE);
    for (const [i, p] of [0.5, 0.3, 0.2].entries()) expect(shares.get(i)).toBeCloseTo(p, 12);
    expect(cut).toBeCloseTo(0, 12);
  });

  it("softens by the temperature and leaves out rare labels, whose probability it tells", () => {
    // Square roots: 0.8, 0.4, 0.1 → sum 1.3.
    const soft = softTarget([0.64, 0.16, 0.01], { temperature: 2, leastProbability: 0.1 });
    expect([...soft.shares.keys()]).toEqual([0, 1]);
    expect(soft.shares.get(0)).toBeCloseTo(0.8 / 1.2, 12);
    expect(soft.shares.get(1)).toBeCloseTo(0.4 / 1.2, 12);
    expect(soft.cut).toBeCloseTo(0.1 / 1.3, 12);
  });

  it("keeps the most probable label where all are rare, and is finite for tiny probabilities", () => {
    expect([...softTarget([0.2, 0.21, 0.2, 0.2, 0.19], { temperature: 1, leastProbability: 0.5 }).shares]).toEqual([
      [1, 1],
    ]);
    const tiny = softTarget([1, 1e-300, 0], { temperature: 0.1, leastProbability: 0 });
    expect([...tiny.shares.values()]).toEqual([1, 0, 0]);
  });
});

describe("encodeTaught", () => {
  const renderer = rendererFor("marked");
  const settings = { goldWeight: 0.25, temperature: 1, leastProbability: 0.01 };
  const teacher = [0.1, 0.7, 0.2, 0, 0];
  const weightsOf = (encoded: EncodedExample) =>
    answersOf(encoded).map(({ answerIds, weight }) => [tokenizer.decode(Array.from(answerIds).slice(0, -1)), weight]);

  it("mixes the gold label with the teacher's labels", () => {
    const { encoded } = encodeTaught(renderer, ROW, teacher, settings, "joined");
    const weights = weightsOf(encoded);
    expect(weights.map(([text]) => text)).toEqual(["收购", "unknown", "被收购"]);
    for (const [i, want] of [0.25 + 0.75 * 0.7, 0.75 * 0.1, 0.75 * 0.2].entries()) {
      expect(weights[i][1]).toBeCloseTo(want, 12);
    }
  });

  it("has the teacher's target alone for a row without labels, and the gold label alone at weight 1", () => {
    const unlabelled = encodeTaught(renderer, { ...ROW, relations: undefined }, teacher, settings, "joined");
    expect(weightsOf(unlabelled.encoded).map(([text]) => text)).toEqual(["unknown", "收购", "被收购"]);
    const gold = encodeTaught(renderer, ROW, teacher, { ...settings, goldWeight: 1 }, "joined");
    expect(weightsOf(gold.encoded)).toEqual([["收购", 1]]);
  });

  it("joins several gold labels in one answer, or gives each an equal share", () => {
    const row = { ...ROW, relations: ["收购", "合作", "收购"] };
    const sharesOf = (several: "joined" | "separate") =>
      Object.fromEntries(weightsOf(encodeTaught(renderer, row, [0, 0, 0, 0, 1], settings, several).encoded));
    expect(sharesOf("joined")).toEqual({ "收购,合作,收购": 0.25, 拥有: 0.75 });
    expect(sharesOf("separate")).toEqual({ 收购: 0.125, 合作: 0.125, 拥有: 0.75 });
  });
});

/**
 * −Σ q(r) log P(answer r | prompt) and its gradient, straight from the definition: one pass for each label over its own prompt and answer,
 * without packing, sharing or merging.
 */
async function directly(
  model: Awaited<ReturnType<typeof tinyDecoder>>,
  renderer: Renderer,
  rows: readonly { example: Example; target: readonly number[] }[],
): Promise<{ loss: number; gradients: number[][] }> {
  const weights = decoderWeights(model);
  backend.zeroGradients(weights);
  let tokens = 0;
  for (const { example, target } of rows) {
    for (const [i, q] of target.entries()) tokens += q * renderer.renderAnswer(example, TINY_LABELS.labels[i]).length;
  }
  let loss = 0;
  for (const { example, target } of rows) {
    const prompt = renderer.renderPrompt(example).ids;
    for (const [i, q] of target.entries()) {
      const answer = renderer.renderAnswer(example, TINY_LABELS.labels[i]);
      const ids = Int32Array.from([...prompt, ...answer.slice(0, -1)]);
      const bidirectional = model.spec.promptAttention === "both" ? prompt.length : undefined;
      const segments = [{ start: 0, length: ids.length, keyStart: 0, position: 0, context: [], bidirectional }];
      const tape = createTape(backend, { record: true });
      const outputRows = Int32Array.from(answer, (_, k) => prompt.length - 1 + k);
      const logits = forward(model, tape, { ids, segments, outputRows });
      const shares = new Float32Array(answer.length).fill(q / tokens);
      const value = tape.crossEntropy(logits, Int32Array.from(answer), shares);
      loss += (await backend.read(value.tensor))[0];
      tape.backward(value);
      tape.dispose();
    }
  }
  const gradients = await Promise.all(weights.map(async (w) => Array.from(await backend.readWeight(w, "gradient"))));
  return { loss, gradients };
}

describe("the loss of weighted answers", () => {
  const rows = [
    { example: ROW, teacher: [0.1, 0.6, 0.2, 0.07, 0.03] },
    { example: { ...ROW, relations: undefined, sentence: "远山与近水合作。" }, teacher: [0.3, 0.05, 0.05, 0.5, 0.1] },
  ];
  const goldWeight = 0.4;
  const targets = rows.map(({ example, teacher }) =>
    teacher.map((p, i) => {
      if (!example.relations) return p;
      return (1 - goldWeight) * p + (example.relations.includes(TINY_LABELS.labels[i]) ? goldWeight : 0);
    }),
  );

  for (const [style, sharePrefixes, promptAttention] of [
    ["marked", true, "causal"],
    ["marked", false, "causal"],
    ["marked", true, "both"],
    ["paper", true, "causal"],
  ] as const satisfies readonly [string, boolean, PromptAttention][]) {
    it(`is the cross-entropy with the target, gradient included (${style}, ${promptAttention}, shared ${sharePrefixes})`, async () => {
      const renderer = rendererFor(style);
      const spec = { vocabularySize: tokenizer.vocabularySize, layers: 1, promptAttention };
      const model = await tinyDecoder(backend, { seed: 4, trainable: true, deviation: 0.3, spec });
      const expected = await directly(
        model,
        renderer,
        rows.map(({ example }, i) => ({ example, target: targets[i] })),
      );
      const weights = decoderWeights(model);
      backend.zeroGradients(weights);
      const encoded = rows.flatMap(({ example, teacher }) => {
        const settings = { goldWeight, temperature: 1, leastProbability: 0 };
        return answersOf(encodeTaught(renderer, example, teacher, settings, "joined").encoded);
      });
      const total = lossWeight(encoded, 0);
      const batch = packExamples(encoded, 0, total, sharePrefixes, promptAttention);
      const settings = { recompute: false, dropout: 0, labelSmoothing: 0 };
      const loss = await addGradients(model, batch, settings, 1);
      expect(Math.abs(loss - expected.loss)).toBeLessThan(1e-6 * expected.loss);
      let largest = 0;
      for (const [w, weight] of weights.entries()) {
        const got = await backend.readWeight(weight, "gradient");
        for (const [i, want] of expected.gradients[w].entries()) {
          largest = Math.max(largest, Math.abs(want));
          // Weights of the loss are float32.
          if (!(Math.abs(got[i] - want) <= 1e-6)) expect.fail(`${weight.name}[${i}]: ${got[i]}, expected ${want}`);
        }
      }
      expect(largest).toBeGreaterThan(1e-3);
      freeDecoder(model);
    });
  }

  it("is the cross-entropy over the labels, and what the student gives to no label, and the ends of answers", async () => {
    // Σ q·(−log P) = CE(q, P / Z) − log Z for answers that are whole paths; q here is the target of the first row.
    const renderer = rendererFor("marked");
    const spec = { vocabularySize: tokenizer.vocabularySize, layers: 1 };
    const model = await tinyDecoder(backend, { seed: 4, trainable: true, deviation: 0.3, spec });
    const [{ example }] = rows;
    const [target] = targets;
    const likelihoods: number[] = [];
    for (const label of TINY_LABELS.labels) {
      const one = [{ promptIds: renderer.renderPrompt(example).ids, answerIds: renderer.renderAnswer(example, label) }];
      const batch = packExamples(one, 0, 1);
      likelihoods.push(
        Math.exp(-(await addGradients(model, batch, { recompute: false, dropout: 0, labelSmoothing: 0 }, 1))),
      );
    }
    const z = likelihoods.reduce((a, b) => a + b, 0);
    const crossEntropy = target.reduce((sum, q, i) => sum - q * Math.log(likelihoods[i] / z), 0);
    const settings = { goldWeight, temperature: 1, leastProbability: 0 };
    const encoded = answersOf(encodeTaught(renderer, example, rows[0].teacher, settings, "joined").encoded);
    const loss = await addGradients(
      model,
      packExamples(encoded, 0, 1, true),
      { recompute: false, dropout: 0, labelSmoothing: 0 },
      1,
    );
    expect(Math.abs(loss - (crossEntropy - Math.log(z)))).toBeLessThan(1e-5);
    freeDecoder(model);
  });
});
