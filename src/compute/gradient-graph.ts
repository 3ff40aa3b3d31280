import type { Backend, ProductTerm, Tensor, Weight } from "./backend.ts";

// The record of a tape: the owner of each tensor, the values that need a gradient, and the backward step of each operation.

/** A tensor on a tape. */
export interface Value {
  readonly tensor: Tensor;
  readonly needsGradient: boolean;
}

/** A tensor of the backward pass. Several values can own it (a residual's gradient is dy itself); the last owner frees it. */
export interface Gradient {
  readonly tensor: Tensor;
  owners: number;
}

/** A part of a gradient that is not computed yet: scale · dy · w. */
interface PendingProduct {
  readonly dy: Gradient;
  readonly w: Weight;
  readonly scale: number;
}

export interface Node extends Value {
  /** The gradient of a loss is a plain number, so that a sum of losses needs no tensors. */
  readonly isLoss: boolean;
  /** Rotated queries or keys; the gradient is the one before the rotation. */
  readonly rotated: boolean;
  /** Comes from outside; every block may use it. */
  readonly isConstant: boolean;
  /** Whether the graph frees the tensor. */
  owned: boolean;
  block: Block;
  /** Recorded uses that can still add to the gradient. */
  consumers: number;
  /** Recorded operations whose backward step reads the tensor. */
  savers: number;
  gradient: Gradient | null;
  /** Parts of the gradient that are computed later, in one sum: that is faster than one by one, and rounds once. */
  products: PendingProduct[];
  lossGradient: number;
}

interface Block {
  readonly inputs: ReadonlySet<Node>;
  readonly nodes: Set<Node>;
}

interface Operation {
  readonly output: Node;
  readonly inputs: readonly Node[];
  readonly saved: readonly Node[];
  readonly extras: readonly Gradient[];
  readonly run: () => void;
  readonly backwardOfProducts: Recorded["backwardOfProducts"];
}

/** An operation's backward step: `backward` gets the gradient of the result; for a loss there is `lossBackward` instead. */
export interface Recorded {
  inputs: readonly Node[];
  weights?: readonly (Weight | null)[];
  /** Inputs that the backward step reads; with `savesOutput` it reads the result too. Only the backward step reads `extras`. */
  saved?: readonly Node[];
  savesOutput?: boolean;
  extras?: readonly Gradient[];
  rotated?: boolean;
  backward?: (dy: Gradient) => void;
  /** Replaces `backward` where the gradient is a sum of products backward to the input and nothing else; gets the terms of that sum. */
  backwardOfProducts?: (first: ProductTerm, plus: readonly ProductTerm[]) => void;
  lossBackward?: (factor: number) => void;
}

type BlockBody = (inputs: readonly Value[]) => Value;

const newBlock = (inputs: readonly Node[] = []): Block => ({ inputs: new Set(inputs), nodes: new Set() });

/** Owns every tensor of a tape; when recording, keeps its operations and runs their backward steps in reverse. */
export class GradientGraph {
  readonly #backend: Backend;
  readonly #recording: boolean;
  /** Every tensor that the graph has to free. */
  readonly #live = new Set<Tensor>();
  readonly #known = new WeakSet<Value>();
  readonly #root = newBlock();
  #operations: Operation[] = [];
  #block = this.#root;
  /** Inside a block that the backward pass will run again: nothing is recorded in this pass. */
  #runsAgain = false;

  constructor(backend: Backend, recording: boolean) {
    this.#backend = backend;
    this.#recording = recording;
  }

  // ---- forward

  /** A node for a tensor from outside. */
  constant(tensor: Tensor): Node {
    return this.#node(tensor, { needsGradient: false, isConstant: true });
  }

  /** The node of a value. Throws when the value belongs to another tape, was freed, is not visible in this block or must not be rotated. */
  use(value: Value, mayBeRotated = false): Node {
    const name = `the value [${value.tensor.rows},${value.tensor.columns}]`;
    if (!this.#known.has(value)) throw new Error(`tape: ${name} is not of this tape, expected a value it made.`);
    const node = value as Node;
    if (node.owned && !this.#live.has(node.tensor)) {
      throw new Error(`tape: ${name} was freed: a block leaves only its result, and backward leaves only kept values.`);
    }
    if (node.block !== this.#block && !node.isConstant && !this.#block.inputs.has(node)) {
      throw new Error(`tape: ${name} comes from outside this block, expected it among the inputs of the block.`);
    }
    if (node.rotated && !mayBeRotated) {
      throw new Error(`tape: ${name} was rotated, expected only attention with rotary to use it.`);
    }
    return node;
  }

  own(tensor: Tensor): Gradient {
    this.#live.add(tensor);
    return { tensor, owners: 1 };
  }

  /** The value of an operation; records the operation when it depends on a trainable weight. */
  result(tensor: Tensor, recorded: Recorded): Node {
    this.#live.add(tensor);
    const { inputs, weights = [], extras = [], rotated, backward, lossBackward } = recorded;
    const learns = inputs.some((node) => node.needsGradient) || weights.some((weight) => weight?.trainable);
    const needsGradient = this.#recording && learns;
    const isLoss = lossBackward !== undefined;
    if (!isLoss && inputs.some((node) => node.isLoss && node.needsGradient)) {
      throw new Error("tape: a loss is used as an operand, expected only adding it to another loss.");
    }
    const node = this.#node(tensor, { needsGradient, isLoss, owned: true, rotated });
    if (needsGradient && !this.#runsAgain) {
      this.#record(node, recorded, () => {
        if (lossBackward) lossBackward(node.lossGradient);
        else if (node.gradient) backward?.(node.gradient);
      });
    } else {
      for (const extra of extras) this.#release(extra);
    }
    return node;
  }

  /** Runs `body` as a block; with `recompute` frees its inside now and runs it again in the backward pass. */
  block(inputs: readonly Node[], body: BlockBody, recompute: boolean): Node {
    const outerRunsAgain = this.#runsAgain;
    const recordsBlock = this.#recording && recompute && !outerRunsAgain;
    let result: Node;
    try {
      this.#runsAgain ||= recordsBlock;
      result = this.#inside(newBlock(inputs), () => this.use(body(inputs)));
    } finally {
      this.#runsAgain = outerRunsAgain;
    }
    if (recordsBlock && result.needsGradient && !inputs.includes(result)) {
      this.#record(result, { inputs, saved: inputs }, () => this.#repeat(inputs, body, result));
    }
    return result;
  }

  keep(node: Node): Tensor {
    this.#live.delete(node.tensor);
    node.owned = false;
    return node.tensor;
  }

  dispose(): void {
    for (const tensor of this.#live) this.#backend.free(tensor);
    this.#live.clear();
    this.#operations = [];
    this.#root.nodes.clear();
  }

  #node(tensor: Tensor, is: Partial<Node> & Pick<Node, "needsGradient">): Node {
    const { needsGradient, isLoss = false, isConstant = false, owned = false, rotated = false } = is;
    const counts = { consumers: 0, savers: 0, gradient: null, products: [], lossGradient: 0 };
    const node: Node = { tensor, needsGradient, isLoss, rotated, isConstant, owned, block: this.#block, ...counts };
    this.#known.add(node);
    this.#block.nodes.add(node);
    return node;
  }

  #record(output: Node, recorded: Recorded, run: () => void): void {
    const inputs = recorded.inputs.filter((node) => node.needsGradient);
    const saved = [...(recorded.saved ?? []), ...(recorded.savesOutput ? [output] : [])];
    for (const node of inputs) node.consumers++;
    for (const node of saved) node.savers++;
    const { extras = [], backwardOfProducts } = recorded;
    this.#operations.push({ output, inputs, saved, extras, run, backwardOfProducts });
  }

  /** Runs `body` with `block` as the current one, moves its result out and frees the values that no backward step reads. */
  #inside(block: Block, body: () => Node): Node {
    const outer = this.#block;
    this.#block = block;
    let result: Node;
    try {
      result = body();
    } finally {
      this.#block = outer;
    }
    if (block.nodes.delete(result)) {
      result.block = outer;
      outer.nodes.add(result);
    }
    this.#releaseUnsaved(block);
    return result;
  }

  #releaseUnsaved(block: Block): void {
    for (const node of block.nodes) if (node.savers === 0) this.#releaseNode(node);
  }

  #releaseNode(node: Node): void {
    if (node.owned && this.#live.delete(node.tensor)) this.#backend.free(node.tensor);
  }

  // ---- backward

  /** Runs all backward steps, starting at `loss`, and frees every tensor of the graph. */
  backward(loss: Node): void {
    if (!this.#recording) throw new Error("backward: the tape does not record, expected createTape with record: true.");
    if (this.#block !== this.#root) throw new Error("backward: called inside a block, expected after all blocks.");
    if (!loss.isLoss) {
      const { rows, columns } = loss.tensor;
      throw new Error(`backward: the value [${rows},${columns}] is not a loss, expected a result of crossEntropy.`);
    }
    if (!loss.needsGradient) throw new Error("backward: the loss depends on no trainable weight.");
    try {
      loss.lossGradient = 1;
      this.#releaseUnsaved(this.#root);
      this.#undoAll();
    } finally {
      this.dispose();
    }
  }

  /** Adds a tensor to a gradient; the graph owns it from now on. */
  give(node: Node, tensor: Tensor): void {
    this.#receive(node, this.own(tensor));
  }

  /** Adds a gradient that other values own too. */
  share(node: Node, gradient: Gradient): void {
    gradient.owners++;
    this.#receive(node, gradient);
  }

  /** Whether the value is wide and the current backward step is the only one that adds to its gradient. */
  needsOnly(node: Node): boolean {
    const isFirst = node.gradient === null && node.products.length === 0;
    return node.needsGradient && node.tensor.wide && node.consumers === 1 && isFirst;
  }

  /** Adds scale · dy · w to a gradient, if the value needs one. */
  giveProduct(node: Node, product: PendingProduct): void {
    if (!node.needsGradient) return;
    product.dy.owners++;
    node.products.push(product);
    if (node.products.length === this.#backend.policy.sumTerms) this.#settle(node);
  }

  /** Adds scale · x to a gradient. */
  giveScaled(node: Node, x: Tensor, scale: number): void {
    this.fold(node, (sum, wide) => {
      if (sum) return this.#backend.add(sum, x, { scale, wide });
      const zeros = this.#backend.zeros(x.rows, x.columns);
      const y = this.#backend.add(zeros, x, { scale, wide });
      this.#backend.free(zeros);
      return y;
    });
  }

  /** Replaces a gradient by a new one that includes it; wide while more parts follow, so that partial sums are not rounded. */
  fold(node: Node, make: (sum: Tensor | null, wide: boolean) => Tensor): void {
    if (!node.needsGradient) return;
    const before = node.gradient;
    node.gradient = this.own(make(before?.tensor ?? null, node.tensor.wide || node.consumers > 1));
    if (before) this.#release(before);
  }

  #undoAll(): void {
    for (let operation = this.#operations.pop(); operation; operation = this.#operations.pop()) {
      const { output, inputs, saved, extras, run } = operation;
      if (operation.backwardOfProducts && !output.gradient && output.products.length > 0) {
        const [first, ...plus] = output.products.map(({ dy, w, scale }) => ({ x: dy.tensor, w, scale }));
        operation.backwardOfProducts(first, plus);
        this.#dropProducts(output);
      } else {
        this.#settle(output);
        if (output.gradient || output.lossGradient !== 0) run();
      }
      if (output.gradient) this.#release(output.gradient);
      output.gradient = null;
      for (const node of inputs) node.consumers--;
      for (const extra of extras) this.#release(extra);
      for (const node of saved) if (--node.savers === 0) this.#releaseNode(node);
    }
  }

  /** The backward step of a recomputed block: records `body` on stand-ins for its inputs and runs its backward steps at once. */
  #repeat(inputs: readonly Node[], body: BlockBody, output: Node): void {
    const outerOperations = this.#operations;
    this.#operations = [];
    const standIns = inputs.map((node) => this.#node(node.tensor, { needsGradient: node.needsGradient }));
    const result = this.#inside(newBlock(standIns), () => this.use(body(standIns)));
    result.lossGradient = output.lossGradient;
    if (output.gradient) this.share(result, output.gradient);
    if (result.savers === 0) this.#releaseNode(result);
    this.#undoAll();
    this.#operations = outerOperations;
    standIns.forEach((standIn, i) => {
      this.#settle(standIn);
      if (standIn.gradient) this.#receive(inputs[i], standIn.gradient);
      standIn.gradient = null;
    });
  }

  /** Computes the products that wait. */
  #settle(node: Node): void {
    const [first, ...rest] = node.products;
    if (first === undefined) return;
    const plus = rest.map(({ dy, w, scale }) => ({ x: dy.tensor, w, scale }));
    this.fold(node, (sum, wide) =>
      this.#backend.matmulBackwardInput(first.dy.tensor, first.w, { scale: first.scale, residual: sum, wide, plus }),
    );
    this.#dropProducts(node);
  }

  #dropProducts(node: Node): void {
    for (const { dy } of node.products) this.#release(dy);
    node.products = [];
  }

  #release(gradient: Gradient): void {
    if (--gradient.owners === 0 && this.#live.delete(gradient.tensor)) this.#backend.free(gradient.tensor);
  }

  /** Adds a gradient; the caller gives up its ownership. */
  #receive(node: Node, gradient: Gradient): void {
    if (node.needsGradient && !node.gradient) {
      node.gradient = gradient;
      return;
    }
    this.giveScaled(node, gradient.tensor, 1);
    this.#release(gradient);
  }
}
