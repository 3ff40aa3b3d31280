import type { Tape, Value } from "../autograd.ts";
import type { AttentionSegment, Weight, WeightStorage } from "../backend.ts";
import {
  all,
  attentionOf,
  type GradientCase,
  gradientCase,
  lossOf,
  rotaryOf,
  segment,
  sharedPositions,
  sharedPrefix,
} from "./gradient-case.contract.ts";

/** A prompt of 4 rows with its answer in one segment; one of 3 rows whose two answers are segments of their own. Row 10 is in no segment. */
const promptAndAnswers: AttentionSegment[] = [
  segment(0, 5, { bidirectional: 4 }),
  segment(5, 3, { position: 0, bidirectional: 3 }),
  segment(8, 1, { position: 3, context: [{ start: 5, length: 3, position: 0 }] }),
  segment(9, 1, { position: 3, context: [{ start: 5, length: 3, position: 0 }] }),
];

const operationCases: GradientCase[] = [
  gradientCase("embed with repeated ids", (make) => {
    const table = make.weight(6, 5);
    return (tape) => lossOf(tape, tape.embed(table, Int32Array.of(1, 4, 1, 0, 1)));
  }),
  gradientCase("matmul", (make) => {
    const x = make.weight(4, 5);
    const w = make.weight(7, 5);
    return (tape) => lossOf(tape, tape.matmul(all(tape, x), w));
  }),
  gradientCase("matmul with scale, bias and residual", (make) => {
    const x = make.weight(3, 5);
    const w = make.weight(6, 5);
    const bias = make.weight(1, 6);
    const residual = make.weight(3, 6);
    return (tape) => {
      const options = { bias, residual: all(tape, residual), scale: 1.75, wide: true };
      return lossOf(tape, tape.matmul(all(tape, x), w, options));
    };
  }),
  gradientCase("matmul of three terms", (make) => {
    const x = make.weight(3, 5);
    const w = make.weight(6, 5);
    const a = make.weight(2, 5);
    const b = make.weight(6, 2);
    const other = make.weight(3, 4);
    const frozen = make.weight(6, 4, { trainable: false });
    return (tape) => {
      const input = all(tape, x);
      const low = { x: tape.matmul(input, a), w: b, scale: 0.75 };
      const further = { x: all(tape, other), w: frozen };
      return lossOf(tape, tape.matmul(input, w, { scale: -2, plus: [low, further] }));
    };
  }),
  gradientCase("matmul whose residual is its input", (make) => {
    const x = make.weight(3, 5);
    const w = make.weight(5, 5, { trainable: false });
    return (tape) => {
      const input = all(tape, x);
      return lossOf(tape, tape.matmul(input, w, { residual: input }));
    };
  }),
  gradientCase("rmsNorm", (make) => {
    const x = make.weight(4, 7);
    const g = make.weight(1, 7, { offset: 1 });
    return (tape) => lossOf(tape, tape.rmsNorm(all(tape, x), g, 1e-5));
  }),
  gradientCase("rmsNorm, frozen gain and large epsilon", (make) => {
    const x = make.weight(2, 5);
    const g = make.weight(1, 5, { trainable: false });
    return (tape) => lossOf(tape, tape.rmsNorm(all(tape, x), g, 0.3));
  }),
  gradientCase("rmsNorm of a frozen input", (make) => {
    const x = make.weight(3, 5, { trainable: false });
    const g = make.weight(1, 5);
    return (tape) => lossOf(tape, tape.rmsNorm(all(tape, x), g, 1e-5));
  }),
  gradientCase("rmsNorm of each head", (make) => {
    const x = make.weight(3, 12);
    const g = make.weight(1, 4, { offset: 1 });
    return (tape) => lossOf(tape, tape.rmsNorm(all(tape, x), g, 1e-5));
  }),
  gradientCase("rotary, interleaved pairs", (make) => {
    const [x, w, key] = [make.weight(4, 6), make.weight(12, 6), make.weight(6, 6)];
    const spec = rotaryOf(2, 6, 3, "interleaved");
    return (tape) => {
      const input = all(tape, x);
      const q = tape.matmul(input, w, { rotary: { ...spec, positions: Int32Array.of(3, 4, 5, 6) } });
      const k = tape.matmul(input, key, { rotary: { ...spec, heads: 1, positions: Int32Array.of(3, 4, 5, 6) } });
      const attention = { ...attentionOf(2, 1, 6), rotary: spec };
      return lossOf(tape, tape.attention(q, k, tape.matmul(input, key), [segment(0, 4, { position: 3 })], attention));
    };
  }),
  gradientCase("rotary, halves, part of the head, shared prefix", (make) => {
    const [x, w, low, lowUp, bias] = [
      make.weight(11, 8),
      make.weight(16, 8),
      make.weight(2, 8),
      make.weight(16, 2),
      make.weight(1, 16),
    ];
    const spec = rotaryOf(2, 8, 2, "halves");
    const positions = sharedPositions;
    return (tape) => {
      const input = all(tape, x);
      const plus = [{ x: tape.matmul(input, low), w: lowUp, scale: 1.5 }];
      const q = tape.matmul(input, w, { bias, plus, rotary: { ...spec, positions } });
      const k = tape.rotary(tape.matmul(input, w), positions, spec);
      const attention = { ...attentionOf(2, 2, 8), rotary: spec };
      return lossOf(tape, tape.attention(q, k, tape.matmul(input, w), sharedPrefix, attention));
    };
  }),
  gradientCase("attention, one segment", (make) => {
    const [q, k, v] = [make.weight(5, 8), make.weight(5, 8), make.weight(5, 8)];
    const spec = attentionOf(2, 2, 4);
    return (tape) => lossOf(tape, tape.attention(all(tape, q), all(tape, k), all(tape, v), [segment(0, 5)], spec));
  }),
  gradientCase("attention, shared prefix, grouped heads, ALiBi", (make) => {
    const [q, k, v] = [make.weight(11, 12), make.weight(11, 6), make.weight(11, 6)];
    const spec = attentionOf(4, 2, 3, true);
    return (tape) => lossOf(tape, tape.attention(all(tape, q), all(tape, k), all(tape, v), sharedPrefix, spec));
  }),
  gradientCase("attention, bidirectional rows, grouped heads, ALiBi", (make) => {
    const [q, k, v] = [make.weight(11, 12), make.weight(11, 6), make.weight(11, 6)];
    const spec = attentionOf(4, 2, 3, true);
    return (tape) => lossOf(tape, tape.attention(all(tape, q), all(tape, k), all(tape, v), promptAndAnswers, spec));
  }),
  gradientCase("attention over more keys than queries", (make) => {
    const [q, k, v] = [make.weight(2, 6), make.weight(9, 3), make.weight(9, 3)];
    const segments = [
      segment(0, 1, { keyStart: 4, position: 4, context: [{ start: 0, length: 4, position: 0 }] }),
      segment(1, 1, { keyStart: 8, position: 3, context: [{ start: 5, length: 3, position: 0 }] }),
    ];
    const spec = attentionOf(2, 1, 3);
    return (tape) => lossOf(tape, tape.attention(all(tape, q), all(tape, k), all(tape, v), segments, spec));
  }),
  gradientCase("attention of a value with itself", (make) => {
    const x = make.weight(4, 6);
    return (tape) => {
      const value = all(tape, x);
      return lossOf(tape, tape.attention(value, value, value, [segment(0, 4)], attentionOf(2, 2, 3)));
    };
  }),
  gradientCase("swiglu", (make) => {
    const gate = make.weight(3, 7, { spread: 2 });
    const up = make.weight(3, 7);
    return (tape) => lossOf(tape, tape.swiglu(all(tape, gate), all(tape, up)));
  }),
  gradientCase("swiglu in a product, in a product of its own", (make) => {
    const [gate, up, x] = [make.weight(3, 7, { spread: 2 }), make.weight(7, 5), make.weight(3, 5)];
    const [low, lowUp] = [make.weight(2, 5), make.weight(7, 2)];
    const [down, bias] = [make.weight(4, 7), make.weight(1, 7)];
    return (tape) => {
      const input = all(tape, x);
      const plus = [{ x: tape.matmul(input, low), w: lowUp, scale: 1.5 }];
      const h = tape.matmulSwiglu(all(tape, gate), input, up, { bias, scale: 0.5, plus });
      return lossOf(tape, tape.matmul(h, down));
    };
  }),
  gradientCase("add with scale, add to itself", (make) => {
    const a = make.weight(3, 5);
    const b = make.weight(3, 5);
    return (tape) => {
      const sum = tape.add(all(tape, a), all(tape, b), { scale: -1.5, wide: false });
      return lossOf(tape, tape.add(sum, sum, { scale: 0.25 }));
    };
  }),
  gradientCase("dropout", (make) => {
    const x = make.weight(5, 7);
    return (tape) => lossOf(tape, tape.dropout(all(tape, x), 0.4, 1234));
  }),
  gradientCase("gatherRows with repeated rows", (make) => {
    const x = make.weight(5, 4);
    return (tape) => lossOf(tape, tape.gatherRows(all(tape, x), Int32Array.of(3, 0, 3, 4)));
  }),
  gradientCase("scaleColumns with a bias", (make) => {
    const [x, g, bias] = [make.weight(4, 6), make.weight(1, 6, { offset: 1 }), make.weight(1, 6)];
    const divisors = make.weight(1, 6, { trainable: false, offset: 2, spread: 0.3 });
    return (tape) => lossOf(tape, tape.scaleColumns(all(tape, x), g, all(tape, divisors), bias));
  }),
  gradientCase("tanh in a product", (make) => {
    const [x, w, bias, next] = [make.weight(3, 4), make.weight(5, 4), make.weight(1, 5), make.weight(6, 5)];
    return (tape) => lossOf(tape, tape.matmul(tape.tanh(tape.matmul(all(tape, x), w, { bias })), next));
  }),
  gradientCase("attention over rows that were appended", (make) => {
    const [q, k, v] = [make.weight(5, 8), make.weight(5, 4), make.weight(5, 4)];
    const [keys, values] = [make.weight(3, 4), make.weight(3, 4)];
    const context = [{ start: 5, length: 3, position: 0 }];
    const segments = [segment(0, 3, { position: 3, context }), segment(3, 2, { position: 3, context })];
    return (tape) => {
      const joined = [tape.appendRows(all(tape, k), all(tape, keys)), tape.appendRows(all(tape, v), all(tape, values))];
      return lossOf(tape, tape.attention(all(tape, q), joined[0], joined[1], segments, attentionOf(2, 1, 4, true)));
    };
  }),
  gradientCase("attention over rotated keys and others that were appended", (make) => {
    const [x, queries, key] = [make.weight(5, 6), make.weight(12, 6), make.weight(6, 6)];
    const [keys, values] = [make.weight(3, 6), make.weight(3, 6)];
    const spec = rotaryOf(2, 6, 2, "interleaved");
    const positions = Int32Array.of(3, 4, 5, 3, 4);
    const context = [{ start: 5, length: 3, position: 0 }];
    const segments = [segment(0, 3, { position: 3, context }), segment(3, 2, { position: 3, context })];
    return (tape) => {
      const input = all(tape, x);
      const q = tape.matmul(input, queries, { rotary: { ...spec, positions } });
      const k = tape.matmul(input, key, { rotary: { ...spec, heads: 1, positions } });
      const joined = tape.appendRows(k, all(tape, keys), { ...spec, heads: 1 });
      const v = tape.appendRows(tape.matmul(input, key), all(tape, values));
      return lossOf(tape, tape.attention(q, joined, v, segments, { ...attentionOf(2, 1, 6), rotary: spec }));
    };
  }),
  gradientCase("crossEntropy with label smoothing", (make) => {
    const x = make.weight(4, 6, { spread: 2 });
    return (tape) => lossOf(tape, all(tape, x), 0.15);
  }),
  gradientCase("a scaled sum of losses", (make) => {
    const x = make.weight(4, 6);
    const w = make.weight(3, 6);
    return (tape) => {
      const input = all(tape, x);
      const first = lossOf(tape, input);
      return tape.add(first, lossOf(tape, tape.matmul(input, w)), { scale: 0.3 });
    };
  }),
  gradientCase("a branch that the loss does not see", (make) => {
    const x = make.weight(4, 6);
    const w = make.weight(3, 6, { flat: true });
    return (tape) => {
      const input = all(tape, x);
      tape.swiglu(tape.matmul(input, w), tape.matmul(input, w));
      return lossOf(tape, tape.dropout(input, 0.1, 5));
    };
  }),
];

interface Projection {
  w: Weight;
  low: { a: Weight; b: Weight } | null;
}

function project(tape: Tape, x: Value, { w, low }: Projection, residual: Value | null = null): Value {
  const wide = residual !== null;
  const y = tape.matmul(x, w, { residual, wide });
  if (!low) return y;
  const inner = tape.matmul(tape.dropout(x, 0.2, 77), low.a);
  return tape.matmul(inner, low.b, { residual: y, scale: 2, wide });
}

/** A decoder of two blocks over a shared prefix with a tied head; with LoRA only the low-rank pairs learn. */
function decoderCase(
  name: string,
  options: { lora: boolean; alibi: boolean; storage?: WeightStorage; embeddingSpread?: number; oneToken?: boolean },
): GradientCase {
  return gradientCase(name, (make) => {
    const [vocabulary, width, headWidth, hidden] = [9, 16, 8, 20];
    const trainable = !options.lora;
    const { oneToken = false } = options;
    const projection = (rows: number, columns: number, flat = false): Projection => ({
      w: make.weight(rows, columns, { trainable, flat, spread: 0.3, storage: options.storage }),
      low: options.lora
        ? { a: make.weight(2, columns, { flat, spread: 0.2 }), b: make.weight(rows, 2, { flat, spread: 0.2 }) }
        : null,
    });
    const gain = () => make.weight(1, width, { trainable, offset: 1, spread: 0.2 });
    const embedding = make.weight(vocabulary, width, { trainable, spread: options.embeddingSpread ?? 1 });
    const blocks = [0, 1].map(() => ({
      norm1: gain(),
      // A token alone gives itself its whole attention, whatever the query and the key are.
      q: projection(width, width, oneToken),
      k: projection(headWidth, width, oneToken),
      v: projection(headWidth, width),
      o: projection(width, width),
      norm2: gain(),
      gate: projection(hidden, width),
      up: projection(hidden, width),
      down: projection(width, hidden),
    }));
    const lastNorm = gain();
    const ids = oneToken ? Int32Array.of(4) : Int32Array.of(1, 4, 2, 7, 7, 0, 3, 5, 5, 8, 6);
    const positions = oneToken ? Int32Array.of(3) : sharedPositions;
    const segments = oneToken ? [segment(0, 1, { position: 3 })] : sharedPrefix;
    const rotary = rotaryOf(2, headWidth, 3, "halves");
    const attention = { ...attentionOf(2, 1, headWidth, options.alibi), rotary };
    return (tape) => {
      let x = tape.dropout(tape.embed(embedding, ids), 0.1, 5);
      for (const block of blocks) {
        x = tape.block([x], ([input]) => {
          const h = tape.rmsNorm(input, block.norm1, 1e-5);
          const q = tape.rotary(project(tape, h, block.q), positions, rotary);
          const k = tape.rotary(project(tape, h, block.k), positions, { ...rotary, heads: 1 });
          const mixed = tape.attention(q, k, project(tape, h, block.v), segments, attention);
          const middle = project(tape, mixed, block.o, input);
          const h2 = tape.rmsNorm(middle, block.norm2, 1e-5);
          const inner = tape.swiglu(project(tape, h2, block.gate), project(tape, h2, block.up));
          return project(tape, inner, block.down, middle);
        });
      }
      const chosen = tape.gatherRows(x, oneToken ? Int32Array.of(0) : Int32Array.of(2, 5, 6, 9));
      return lossOf(
        tape,
        tape.matmul(tape.rmsNorm(chosen, lastNorm, 1e-5), embedding, { wide: true, scale: 0.4 }),
        0.1,
      );
    };
  });
}

export const gradientCases: GradientCase[] = [
  ...operationCases,
  gradientCase("nested blocks", (make) => {
    const x = make.weight(3, 4);
    const w = make.weight(4, 4);
    const v = make.weight(4, 4);
    return (tape) => {
      const first = all(tape, x);
      const second = tape.block([first, first], ([a, b]) => {
        const inner = tape.block([a], ([input]) => tape.swiglu(tape.matmul(input, w), input));
        return tape.matmul(
          tape.block([inner], ([input]) => input),
          v,
          { residual: tape.add(b, a, { scale: 0.5 }) },
        );
      });
      return tape.block([tape.add(second, first)], ([input]) => lossOf(tape, input));
    };
  }),
  decoderCase("decoder, everything trained, tied head", { lora: false, alibi: false }),
  decoderCase("decoder, LoRA over a frozen base, ALiBi", { lora: true, alibi: true }),
  decoderCase("decoder, LoRA over int8", { lora: true, alibi: false, storage: "int8", embeddingSpread: 0.3 }),
  decoderCase("decoder, LoRA over NF4", { lora: true, alibi: false, storage: "nf4", embeddingSpread: 0.3 }),
  decoderCase("decoder of one token, everything trained", { lora: false, alibi: false, oneToken: true }),
  decoderCase("decoder of one token, LoRA", { lora: true, alibi: true, oneToken: true }),
];
