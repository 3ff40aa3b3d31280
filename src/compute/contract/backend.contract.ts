import { describe } from "vitest";
import type { Backend } from "../backend.ts";
import { attentionContract } from "./attention.contract.ts";
import { bidirectionalContract } from "./bidirectional.contract.ts";
import { byteProductContract } from "./byte-products.contract.ts";
import { chunkContract } from "./chunks.contract.ts";
import { columnContract } from "./columns.contract.ts";
import { type Comparison, compare } from "./comparison.contract.ts";
import { productContract } from "./products.contract.ts";
import { rowContract } from "./rows.contract.ts";
import { ruleContract } from "./rules.contract.ts";
import { storageContract } from "./storages.contract.ts";
import { trainingContract } from "./training.contract.ts";

export interface ContractOptions {
  /** Largest error of a row relative to its largest value: about 1e-5 in float32, 2e-2 in bfloat16. */
  tolerance: number;
  /** Largest relative error of a loss after 20 training steps. */
  lossTolerance: number;
  /**
   * Whether kernels work in blocks of rows and columns, in passes over the depth, or in chunks of tokens. Default true. A backend of one
   * formula an element is not tested on the large shapes that are there to cross them.
   */
  hasBlocks?: boolean;
  /** The same backend with another number of threads, if it has threads. */
  openWithThreads?: (threads: number) => Backend;
}

/** For the parts of the suite; every test opens its own backend. */
export interface Contract extends ContractOptions {
  hasBlocks: boolean;
  open: () => Backend;
  compare: (seed: number) => Comparison;
}

/** The tests that every backend has to pass: values against the float64 reference, and the rules of src/compute/backend.ts. */
export function backendContract(open: () => Backend, options: ContractOptions): void {
  const contract: Contract = {
    hasBlocks: true,
    ...options,
    open,
    compare: (seed) => compare(open(), options.tolerance, seed),
  };
  describe("products", () => productContract(contract));
  describe("storages", () => storageContract(contract));
  describe("products of 8 bits", () => byteProductContract(contract));
  describe("weights from chunks of rows", () => chunkContract(contract));
  describe("rows and elements", () => rowContract(contract));
  describe("columns, lengths and tanh", () => columnContract(contract));
  describe("attention", () => attentionContract(contract));
  describe("bidirectional attention", () => bidirectionalContract(contract));
  describe("losses and training", () => trainingContract(contract));
  describe("rules", () => ruleContract(contract));
}
