// The operations of a real pass, without computing it: a backend whose tensors are shapes, under the project's own decoder and tape.
import { attachAdapter } from "../../dist/adapters/methods.js";
import { createTape } from "../../dist/compute/autograd.js";
import { forward, makeLayer } from "../../dist/models/decoder.js";
import { hasSlot, LAYER_SLOTS, slotShape } from "../../dist/models/layer.js";
import { packExamples } from "../../dist/train/batches.js";

/** A backend that notes every operation as { kind, … } in `operations`. */
function shapeBackend(operations) {
  const like = ({ rows, columns }) => ({ rows, columns, wide: false });
  const note = (kind, values) => operations.push({ kind, ...values });
  const product = (kind, rows, columns, terms, rotated = false) => {
    note(kind, { rows, columns, depths: terms, rotated });
    return { rows, columns, wide: true };
  };
  const depths = (w, plus, side) => [w, ...(plus ?? []).map((term) => term.w)].map((one) => one[side]);
  const elements = (kind, x, arrays) => {
    note(kind, { rows: x.rows, columns: x.columns, arrays });
    return like(x);
  };
  const gatedForward = (x, w, { plus } = {}) => product("product", x.rows, w.rows, depths(w, plus, "columns"));
  return {
    name: "shapes",
    precision: "float32",
    policy: { sumTerms: 16, thinColumns: 16 },
    weight: (spec) => ({ ...spec }),
    zeros: (rows, columns) => ({ rows, columns, wide: false }),
    free() {},
    zeroGradients() {},
    embed(table, ids) {
      note("embed", { rows: ids.length, columns: table.columns, arrays: 2 });
      return { rows: ids.length, columns: table.columns, wide: true };
    },
    embedBackward() {},
    matmul: (x, w, { plus, rotary } = {}) =>
      product("product", x.rows, w.rows, depths(w, plus, "columns"), Boolean(rotary)),
    matmulSwiglu(gate, x, w, options) {
      const up = gatedForward(x, w, options);
      return { up, h: elements("swiglu", gate, 3) };
    },
    matmulBackwardSwiglu(gate, up, dy, w, { plus } = {}) {
      product("backward product", dy.rows, w.columns, depths(w, plus, "rows"));
      elements("swiglu", gate, 5);
      return { dGate: like(gate), dUp: like(up) };
    },
    matmulBackwardInput: (dy, w, { plus } = {}) =>
      product("backward product", dy.rows, w.columns, depths(w, plus, "rows")),
    matmulBackwardWeight(dy, _x, w) {
      product("weight gradient", w.rows, w.columns, [dy.rows]);
    },
    matmulBackward(dy, _x, w) {
      product("weight gradient", w.rows, w.columns, [dy.rows]);
      return product("backward product", dy.rows, w.columns, [w.rows]);
    },
    rmsNorm(x) {
      note("norm", { rows: x.rows, columns: x.columns, arrays: 2 });
      return like(x);
    },
    rmsNormBackward(x) {
      note("norm", { rows: x.rows, columns: x.columns, arrays: 4 });
      return like(x);
    },
    attention(q, _k, _v, segments, spec) {
      note("attention", { segments, heads: spec.heads, keyValueHeads: spec.keyValueHeads, width: spec.headWidth });
      return { output: like(q), logSumExp: { rows: q.rows, columns: spec.heads, wide: true } };
    },
    attentionBackward({ q, k, v }, _dOutput, segments, spec) {
      note("attention gradient", {
        segments,
        heads: spec.heads,
        keyValueHeads: spec.keyValueHeads,
        width: spec.headWidth,
      });
      for (const x of [q, k]) note("rotary", { rows: x.rows, columns: x.columns, arrays: 2 });
      return { dq: like(q), dk: like(k), dv: like(v) };
    },
    swiglu: (gate) => elements("swiglu", gate, 3),
    swigluBackward: (gate) => ({ dGate: elements("swiglu", gate, 5), dUp: like(gate) }),
    add: (a) => elements("elements", a, 3),
    dropout: (x) => elements("elements", x, 2),
    gatherRows(x, rows) {
      note("rows", { rows: rows.length, columns: x.columns, arrays: 2 });
      return { rows: rows.length, columns: x.columns, wide: x.wide };
    },
    gatherRowsBackward(dy, _rows, total) {
      note("rows", { rows: total, columns: dy.columns, arrays: 1 });
      return { rows: total, columns: dy.columns, wide: dy.wide };
    },
    crossEntropy(logits) {
      note("loss", { rows: logits.rows, columns: logits.columns, arrays: 3 });
      return { loss: { rows: 1, columns: 1, wide: true }, dLogits: like(logits) };
    },
  };
}

async function modelOf(backend, spec, trains) {
  const weight = (name, rows, columns) => backend.weight({ name, rows, columns, storage: "float32", trainable: false });
  const layers = Array.from({ length: spec.layers }, (_, index) => {
    const slots = LAYER_SLOTS.filter((slot) => hasSlot(spec, slot)).map((slot) => {
      const [rows, columns = null] = slotShape(spec, slot);
      return [slot, columns === null ? weight(`${index}.${slot}`, 1, rows) : weight(`${index}.${slot}`, rows, columns)];
    });
    return makeLayer(new Map(slots), new Map());
  });
  const embedding = weight("embedding", spec.vocabularySize, spec.width);
  const finalNorm = weight("norm", 1, spec.width);
  const headWeight = spec.tiedHead ? embedding : weight("head", spec.vocabularySize, spec.width);
  const head = { weight: headWeight, bias: null, lowRank: null };
  const model = { spec, backend, embedding, layers, finalNorm, head, prefix: null };
  const lora = {
    method: "lora",
    rank: 8,
    alpha: 32,
    dropout: 0.1,
    targets: ["q_proj", "v_proj"],
    learningRateRatio: 1,
    scaling: "lora",
  };
  if (trains) await attachAdapter(model, lora, 1);
  return model;
}

/** The operations of one prompt of `tokens` whose last row gets logits. */
export async function extractionOperations(spec, tokens) {
  const operations = [];
  const backend = shapeBackend(operations);
  const model = await modelOf(backend, spec, false);
  const segments = [{ start: 0, length: tokens, keyStart: 0, position: 0, context: [] }];
  forward(model, createTape(backend, { record: false }), {
    ids: new Int32Array(tokens),
    segments,
    outputRows: Int32Array.of(tokens - 1),
  });
  return operations;
}

/** The operations of a LoRA step (rank 8, q_proj and v_proj, dropout) on `rows` prompts whose first `shared` tokens are the same. */
export async function trainingOperations(spec, { rows, tokens, shared, answer }) {
  const operations = [];
  const backend = shapeBackend(operations);
  const model = await modelOf(backend, spec, true);
  const examples = Array.from({ length: rows }, (_, row) => ({
    promptIds: Int32Array.from({ length: tokens - answer }, (_, i) =>
      i < shared ? i : 1000 + ((row * 997 + i) % 9000),
    ),
    answerIds: Int32Array.from({ length: answer }, (_, i) => i + 2),
  }));
  const batch = packExamples(examples, 0, rows * answer, true);
  const tape = createTape(backend, { record: true });
  const logits = forward(model, tape, { ...batch.tokens, seed: 1 });
  tape.backward(tape.crossEntropy(logits, batch.targets, batch.weights));
  return { operations, tokens: batch.tokenCount };
}
