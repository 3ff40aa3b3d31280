import type { AttentionSegment, AttentionSpec, Backend, Tensor, Weight, WeightSpec } from "../backend.ts";

/** Operands by shape; asking twice gives the same one. */
interface Made {
  x(rows: number, columns: number): Tensor;
  wide(rows: number, columns: number): Tensor;
  w(rows: number, columns: number, trainable?: boolean): Weight;
  freed(): Tensor;
  freedWeight(): Weight;
  foreign(): Tensor;
}

export interface Misuse {
  name: string;
  message: string | RegExp;
  run(backend: Backend, made: Made): unknown;
}

const misuse = (name: string, message: string | RegExp, run: Misuse["run"]): Misuse => ({ name, message, run });

const attention: AttentionSpec = { heads: 2, keyValueHeads: 1, headWidth: 4, scale: 0.5, slopes: null };
const segment: AttentionSegment = { start: 0, length: 3, keyStart: 0, position: 0, context: [] };
const rotary = { heads: 1, headWidth: 5, frequencies: Float32Array.of(1, 1), layout: "halves" } as const;
const rotating = { ...rotary, heads: 1, headWidth: 4, positions: new Int32Array(3) };
const spec: WeightSpec = { name: "w", rows: 4, columns: 5, storage: "float32", trainable: true };
const adamW = { learningRate: 1, beta1: 0.9, beta2: 0.9, epsilon: 1, weightDecay: 0, step: 1, gradientScale: 1 };

const attend = (segments: AttentionSegment[], changed: Partial<AttentionSpec> = {}): Misuse["run"] => {
  return (backend, { x }) => backend.attention(x(3, 8), x(6, 4), x(6, 4), segments, { ...attention, ...changed });
};

/** Calls that must throw, with a part of their messages. */
export const misuses: Misuse[] = [
  misuse("a tensor of no rows", "the shape is [0,3]", (b) => b.zeros(0, 3)),
  misuse("a tensor of half a column", "the shape is [2,1.5]", (b) => b.tensor([1, 2, 3], 2, 1.5)),
  misuse("a tensor with too few values", "3 values do not fill [2,2], expected 4", (b) => b.tensor([1, 2, 3], 2, 2)),
  misuse("a tensor beyond all bounds", "fewer than 2^31 elements", (b) => b.zeros(65536, 65536)),
  misuse("reading a freed tensor", "read: the tensor [3,5] was freed", (b, m) => b.read(m.freed())),
  misuse("freeing twice", "free: the tensor [3,5] was freed", (b, m) => b.free(m.freed())),
  misuse("computing with a freed tensor", "the tensor [3,5] was freed", (b, m) => b.add(m.x(3, 5), m.freed())),
  misuse("a freed residual", "the tensor [3,5] was freed", (b, m) =>
    b.matmul(m.x(3, 5), m.w(5, 5), { residual: m.freed() }),
  ),
  misuse("a tensor of another backend", "the tensor [3,5] is not of this backend", (b, m) =>
    b.rmsNorm(m.foreign(), m.w(1, 5), 1),
  ),
  misuse("a freed weight", 'the weight "gone" was freed', (b, m) => b.matmul(m.x(3, 5), m.freedWeight())),
  misuse("freeing a weight twice", 'freeWeight: the weight "gone" was freed', (b, m) => b.freeWeight(m.freedWeight())),
  misuse("a weight with too many values", "4 values do not fill [4,5], expected 20", (b) =>
    b.weight(spec, [1, 2, 3, 4]),
  ),
  misuse("training a weight of 4 bits", "cannot be kept as nf4", (b) => b.weight({ ...spec, storage: "nf4" })),
  misuse("the gradient of a frozen weight", 'weight "w" is frozen', (b, m) =>
    b.readWeight(m.w(4, 5, false), "gradient"),
  ),
  misuse("writing a moment of a frozen weight", 'weight "w" is frozen', (b, m) =>
    b.writeWeight(m.w(1, 1, false), [1], "moment1"),
  ),
  misuse("writing too few values", "1 values do not fill [4,5]", (b, m) => b.writeWeight(m.w(4, 5), [1])),
  misuse("an id past the table", "ids[1] is 4, expected a number from 0 to 3", (b, m) =>
    b.embed(m.w(4, 5), Int32Array.of(0, 4)),
  ),
  misuse("a negative id", "ids[0] is -1", (b, m) => b.embed(m.w(4, 5), Int32Array.of(-1))),
  misuse("no ids", "ids is empty", (b, m) => b.embed(m.w(4, 5), new Int32Array(0))),
  misuse("embedBackward into a frozen table", "is frozen", (b, m) =>
    b.embedBackward(m.w(4, 5, false), Int32Array.of(1), m.x(1, 5)),
  ),
  misuse("embedBackward with rows missing", "dy is [3,5], expected [2,5]", (b, m) =>
    b.embedBackward(m.w(4, 5), Int32Array.of(1, 2), m.x(3, 5)),
  ),
  misuse("matmul of other widths", 'x is [3,4], expected 5 columns (w "w" is [4,5])', (b, m) =>
    b.matmul(m.x(3, 4), m.w(4, 5)),
  ),
  misuse("a further product of another width", 'plus[0].w "w" is [5,4], expected 4 rows', (b, m) =>
    b.matmul(m.x(3, 4), m.w(4, 4), { plus: [{ x: m.x(3, 4), w: m.w(5, 4) }] }),
  ),
  misuse("a further product of other rows", "plus[0].x is [2,5], expected [3,5]", (b, m) =>
    b.matmulBackwardInput(m.x(3, 4), m.w(4, 6), { plus: [{ x: m.x(2, 5), w: m.w(5, 6) }] }),
  ),
  misuse("too many further products", /(\d+) further products, expected at most \d+/, (b, m) => {
    const plus = Array.from({ length: b.policy.sumTerms }, () => ({ x: m.x(3, 4), w: m.w(4, 4) }));
    return b.matmul(m.x(3, 4), m.w(4, 4), { plus });
  }),
  misuse("a bias of another width", "bias is [1,5], expected [1,4]", (b, m) =>
    b.matmul(m.x(3, 5), m.w(4, 5), { bias: m.w(1, 5) }),
  ),
  misuse("a residual of another shape", "residual is [3,5], expected [3,4]", (b, m) =>
    b.matmul(m.x(3, 5), m.w(4, 5), { residual: m.x(3, 5) }),
  ),
  misuse("a scale that is not a number", "scale is NaN", (b, m) =>
    b.matmul(m.x(3, 5), m.w(4, 5), { scale: Number.NaN }),
  ),
  misuse("matmulBackwardInput of other widths", "dy is [3,5], expected 4 columns", (b, m) =>
    b.matmulBackwardInput(m.x(3, 5), m.w(4, 5)),
  ),
  misuse("matmulBackwardInput with a bias", "a bias is given, expected none", (b, m) =>
    b.matmulBackwardInput(m.x(3, 4), m.w(4, 5), { bias: m.w(1, 5) }),
  ),
  misuse("matmulBackwardWeight of other rows", "dy is [2,4], expected [3,4]", (b, m) =>
    b.matmulBackwardWeight(m.x(2, 4), m.x(3, 5), m.w(4, 5)),
  ),
  misuse("matmulBackwardWeight into a frozen weight", "is frozen", (b, m) =>
    b.matmulBackwardWeight(m.x(3, 4), m.x(3, 5), m.w(4, 5, false)),
  ),
  misuse("biasBackward of another width", "b is [1,4], expected [1,5]", (b, m) => b.biasBackward(m.x(3, 5), m.w(1, 4))),
  misuse("rmsNorm with a gain of another width", "g is [1,4], expected [1,5]", (b, m) =>
    b.rmsNorm(m.x(3, 5), m.w(1, 4), 1),
  ),
  misuse("rmsNorm with a negative epsilon", "epsilon is -1", (b, m) => b.rmsNorm(m.x(3, 5), m.w(1, 5), -1)),
  misuse("rmsNormBackward of another shape", "dy is [2,5], expected [3,5]", (b, m) =>
    b.rmsNormBackward(m.x(3, 5), m.w(1, 5), m.x(2, 5), 1),
  ),
  misuse("rotary of another width", "x is [3,4], expected 5 columns", (b, m) =>
    b.rotary(m.x(3, 4), new Int32Array(3), rotary),
  ),
  misuse("rotary with a position missing", "2 positions for x [3,5]", (b, m) =>
    b.rotary(m.x(3, 5), new Int32Array(2), rotary),
  ),
  misuse("rotary wider than a head", "the rotated width is 6, expected at most 5", (b, m) =>
    b.rotary(m.x(3, 5), new Int32Array(3), { ...rotary, frequencies: new Float32Array(3) }),
  ),
  misuse(
    "key heads that do not divide the heads",
    "keyValueHeads is 2, expected a divisor of 3",
    attend([], { heads: 3, keyValueHeads: 2 }),
  ),
  misuse("a rotated product with a residual", "residual and rotary are given", (b, m) =>
    b.matmul(m.x(3, 5), m.w(4, 5), { residual: m.x(3, 4), rotary: rotating }),
  ),
  misuse("a rotated product with a position missing", "2 positions for the result [3,4]", (b, m) =>
    b.matmul(m.x(3, 5), m.w(4, 5), { rotary: { ...rotating, positions: new Int32Array(2) } }),
  ),
  misuse("a product backward with rotary", "rotary is given, expected none", (b, m) =>
    b.matmulBackwardInput(m.x(3, 4), m.w(4, 5), { rotary: rotating }),
  ),
  misuse(
    "attention rotated wider than a head",
    "the rotated width is 6, expected at most 4",
    attend([segment], { rotary: { frequencies: new Float32Array(3), layout: "halves" } }),
  ),
  misuse("attention backward with two positions of a key", "key row 1 has positions 1 and 2, expected one", (b, m) => {
    const more = { ...segment, start: 2, length: 1, keyStart: 4, context: [{ start: 1, length: 1, position: 2 }] };
    const [q, k] = [m.x(3, 8), m.x(6, 4)];
    const forward = { q, k, v: k, output: q, logSumExp: m.x(3, 2) };
    return b.attentionBackward(forward, q, [{ ...segment, length: 2 }, more], { ...attention, rotary: rotating });
  }),
  misuse("attention of other widths", "q is [3,8], expected 12 columns", attend([segment], { heads: 3 })),
  misuse(
    "slopes missing",
    "1 slopes, expected one for each of 2 heads",
    attend([segment], { slopes: Float32Array.of(1) }),
  ),
  misuse("a segment past the queries", "segment 0 has start 1 and length 3", attend([{ ...segment, start: 1 }])),
  misuse("an empty segment", "segment 0 has start 0 and length 0", attend([{ ...segment, length: 0 }])),
  misuse(
    "more bidirectional rows than a segment has",
    "bidirectional of segment 0 is 4",
    attend([{ ...segment, bidirectional: 4 }]),
  ),
  misuse("keys past the key tensor", "the keys of segment 0", attend([{ ...segment, keyStart: 4 }])),
  misuse(
    "a context past the keys",
    "context span 0 of segment 0",
    attend([{ ...segment, context: [{ start: 5, length: 2, position: 0 }] }]),
  ),
  misuse(
    "a query row in two segments",
    "query row 1 is in two segments",
    attend([
      { ...segment, length: 2 },
      { ...segment, start: 1, length: 1 },
    ]),
  ),
  misuse("swiglu of two shapes", "up is [3,4], expected [3,5]", (b, m) => b.swiglu(m.x(3, 5), m.x(3, 4))),
  misuse("swigluBackward of two shapes", "dh is [2,5], expected [3,5]", (b, m) =>
    b.swigluBackward(m.x(3, 5), m.x(3, 5), m.x(2, 5)),
  ),
  misuse("matmulSwiglu with another gate", "gate is [3,5], expected [3,4]", (b, m) =>
    b.matmulSwiglu(m.x(3, 5), m.x(3, 5), m.w(4, 5)),
  ),
  misuse("matmulBackwardSwiglu with another up", "up is [3,4], expected [3,5]", (b, m) =>
    b.matmulBackwardSwiglu(m.x(3, 5), m.x(3, 4), m.x(3, 4), m.w(4, 5)),
  ),
  misuse("add of two shapes", "b is [5,3], expected [3,5]", (b, m) => b.add(m.x(3, 5), m.x(5, 3))),
  misuse("dropout of everything", "probability is 1, expected a number in [0, 1)", (b, m) =>
    b.dropout(m.x(3, 5), 1, 0),
  ),
  misuse("dropout with a broken seed", "seed is 0.5", (b, m) => b.dropout(m.x(3, 5), 0.1, 0.5)),
  misuse("dropout with a number too few", "numbers.length is 2, expected an Int32Array of 3", (b, m) =>
    b.dropout(m.x(3, 5), 0.1, 1, new Int32Array(2)),
  ),
  misuse("scaleColumns with a vector of another width", "g is [1,4], expected [1,5] (x [3,5])", (b, m) =>
    b.scaleColumns(m.x(3, 5), m.w(1, 4), m.wide(1, 5)),
  ),
  misuse("scaleColumns with narrow divisors", "divisors are narrow, expected wide ones", (b, m) =>
    b.scaleColumns(m.x(3, 5), m.w(1, 5), m.x(1, 5)),
  ),
  misuse("scaleColumns with divisors of another width", "divisors is [1,4], expected [1,5]", (b, m) =>
    b.scaleColumns(m.x(3, 5), m.w(1, 5), m.wide(1, 4)),
  ),
  misuse("scaleColumns with another bias", "bias is [1,4], expected [1,5]", (b, m) =>
    b.scaleColumns(m.x(3, 5), m.w(1, 5), m.wide(1, 5), m.w(1, 4)),
  ),
  misuse("scaleColumnsBackward of another shape", "dy is [2,5], expected [3,5]", (b, m) =>
    b.scaleColumnsBackward(m.x(3, 5), m.w(1, 5), m.wide(1, 5), m.x(2, 5)),
  ),
  misuse("tanhBackward of another shape", "dy is [3,4], expected [3,5]", (b, m) =>
    b.tanhBackward(m.x(3, 5), m.x(3, 4)),
  ),
  misuse("the lengths of a freed tensor's rows", "rowNorms: the tensor [3,5] was freed", (b, m) =>
    b.rowNorms(m.freed()),
  ),
  misuse("gathering a row that is not there", "rows[1] is 3, expected a number from 0 to 2", (b, m) =>
    b.gatherRows(m.x(3, 5), Int32Array.of(0, 3)),
  ),
  misuse("gatherRowsBackward past the end", "rows[0] is 7", (b, m) =>
    b.gatherRowsBackward(m.x(1, 5), Int32Array.of(7), 7),
  ),
  misuse("copying to a row that is not there", "rows[0] is 3", (b, m) =>
    b.copyRows(m.x(1, 5), m.x(3, 5), Int32Array.of(3)),
  ),
  misuse("copying another width", "source is [1,4], expected [1,5]", (b, m) =>
    b.copyRows(m.x(1, 4), m.x(3, 5), Int32Array.of(0)),
  ),
  misuse("a target past the vocabulary", "targets[2] is 5", (b, m) =>
    b.crossEntropy(m.x(3, 5), Int32Array.of(0, 1, 5), new Float32Array(3)),
  ),
  misuse("targets missing", "2 targets and 3 weights for logits [3,5]", (b, m) =>
    b.crossEntropy(m.x(3, 5), Int32Array.of(0, 1), new Float32Array(3)),
  ),
  misuse("all smoothing", "labelSmoothing is 1", (b, m) =>
    b.crossEntropy(m.x(1, 5), Int32Array.of(0), new Float32Array(1), 1),
  ),
  misuse("a probability of a row that is not there", "rows[0] is 3", (b, m) =>
    b.logProbabilities(m.x(3, 5), Int32Array.of(3), Int32Array.of(0)),
  ),
  misuse("more tokens than rows", "1 rows and 2 tokens", (b, m) =>
    b.logProbabilities(m.x(3, 5), Int32Array.of(0), Int32Array.of(0, 1)),
  ),
  misuse("zeroing a frozen gradient", "is frozen", (b, m) => b.zeroGradients([m.w(4, 5, false)])),
  misuse("the norm of a frozen gradient", "is frozen", (b, m) => b.gradientNorm([m.w(4, 5, false)])),
  misuse("adamW on a frozen weight", "is frozen", (b, m) => b.adamW([m.w(4, 5, false)], adamW)),
  misuse("adamW at step 0", "step is 0", (b, m) => b.adamW([m.w(4, 5)], { ...adamW, step: 0 })),
  misuse("adamW with an infinite learning rate", "learningRate is Infinity", (b, m) =>
    b.adamW([m.w(4, 5)], { ...adamW, learningRate: Number.POSITIVE_INFINITY }),
  ),
];
