import { UserErrors } from "../base/errors.ts";
import { mergeLowRank } from "../formats/merge-lora.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import type { PeftFolder } from "../formats/peft-adapter.ts";
import type { PeftLora } from "../formats/peft-config.ts";
import { isSavedModule, type TargetSettings, targetSettings } from "../formats/peft-targets.ts";
import { type LowRankTensors, type PeftTensors, sortPeftTensors } from "../formats/peft-tensors.ts";
import type { TensorInfo, TensorSource } from "../formats/tensor-source.ts";
import { familyOf } from "../models/families/registry.ts";

// What an adapter made elsewhere changes of the base itself: whole modules (modules_to_save), biases, rows of single tokens, embedding and
// output layer. The decoder computes low-rank products inside of the layers; these changes are made to the tensors when they are read.

/** How a tensor of the base is read. */
interface Change {
  /** The tensor of the base that it begins as. */
  base: string;
  /** The tensor of the adapter that takes its place. */
  whole: string | null;
  edits: ((values: Float32Array) => Promise<void>)[];
}

/** A base with the changes of an adapter. */
export interface ChangedBase {
  checkpoint: Checkpoint;
  /** Tensors of the adapter that the checkpoint holds. */
  merged: ReadonlySet<string>;
}

/**
 * The base with everything that the adapter changes outside of the layers' products; the checkpoint closes with the given one. Throws a
 * UserErrors for tensors that do not fit the base.
 */
export function changedBase(base: Checkpoint, adapter: PeftFolder, where: string): ChangedBase {
  const { config, source } = base;
  const family = familyOf(config, base.directory);
  const { tiedHead } = family.readConfig(config, base.directory);
  const { embedding, head } = family.names;
  const plan = planOf(adapter, source, { embedding, head, tiedHead });
  if (plan.problems.length > 0) {
    // They have one cause in most cases: the first one tells it.
    const [first, ...others] = plan.problems;
    const problem = others.length > 0 ? `${first} (and ${others.length} more problems)` : first;
    throw new UserErrors(`${where}: the adapter does not fit the model:`, [problem], {
      inline: true,
      hint: "Was the adapter trained on another base model?",
    });
  }
  if (plan.changes.size === 0) return { checkpoint: base, merged: plan.merged };
  const tensors = new Map(source.tensors);
  for (const [name, { base: from }] of plan.changes) {
    tensors.set(name, { ...(source.tensors.get(from) as TensorInfo), name });
  }
  const changed: TensorSource = {
    tensors,
    checks: source.checks,
    async read(name) {
      const change = plan.changes.get(name);
      if (!change) return source.read(name);
      const read = change.whole ? adapter.tensors.read(change.whole) : source.read(change.base);
      const values = Float32Array.from(await read);
      for (const edit of change.edits) await edit(values);
      return values;
    },
    rows: (name) => (plan.changes.has(name) ? null : (source.rows?.(name) ?? null)),
    close: () => source.close(),
  };
  const untied = plan.isUntied ? { ...config, tie_word_embeddings: false } : config;
  return { checkpoint: { ...base, config: untied, source: changed }, merged: plan.merged };
}

interface Outer {
  embedding: string;
  head: string;
  tiedHead: boolean;
}

interface Plan {
  changes: Map<string, Change>;
  merged: Set<string>;
  /** Whether a tied output layer is no longer the embedding. */
  isUntied: boolean;
  problems: string[];
}

const moduleOf = (tensor: string) => tensor.replace(/\.weight$/, "");

function planOf(adapter: PeftFolder, source: TensorSource, outer: Outer): Plan {
  const { config, tensors } = adapter;
  const sorted = sortPeftTensors(tensors.tensors.keys());
  const plan: Plan = { changes: new Map(), merged: new Set(), isUntied: false, problems: [...sorted.problems] };
  const { embedding, head, tiedHead } = outer;
  // Queries and the like inside of the layers are no change of the base.
  const outerModules = [embedding, head].map(moduleOf);
  const targets = targetSettings(adapter, [...sorted.lowRank.keys()]);
  const adapted = config.targetModules === "all-linear" ? [] : outerModules;
  const outerTargets = targetSettings(adapter, adapted);
  const shapeOf = (name: string) => source.tensors.get(tiedHead && name === head ? embedding : name)?.shape;
  const changeOf = (name: string): Change => {
    const from = tiedHead && name === head ? embedding : name;
    const change = plan.changes.get(name) ?? { base: from, whole: null, edits: [] };
    plan.changes.set(name, change);
    return change;
  };
  const fits = (tensor: string, wanted: readonly number[] | undefined): boolean => {
    const own = tensors.tensors.get(tensor)?.shape;
    if (own && wanted && own.join() === wanted.join()) return true;
    plan.problems.push(`"${tensor}" is [${own ?? "missing"}], expected [${wanted}]${vocabulary(own, wanted)}`);
    return false;
  };
  const job = { plan, config, sorted, tensors, outer, shapeOf, changeOf, fits };
  takeWhole(job, new Set([...targets.keys(), ...outerTargets.keys()]));
  takeTokenRows(job);
  for (const [module, target] of outerTargets) takeLowRank(job, module, target);
  for (const [module, { bias }] of sorted.lowRank) takeLoraBias(job, module, bias, targets.get(module));
  return plan;
}

/** More or fewer rows than the base. */
function vocabulary(own: readonly number[] | undefined, wanted: readonly number[] | undefined): string {
  const isOther = own?.length === 2 && wanted?.length === 2 && own[1] === wanted[1];
  return isOther ? ": tokens were added to the vocabulary, which the base does not have" : "";
}

interface Job {
  plan: Plan;
  config: PeftLora;
  sorted: PeftTensors;
  tensors: TensorSource;
  outer: Outer;
  shapeOf(name: string): readonly number[] | undefined;
  changeOf(name: string): Change;
  fits(tensor: string, shape: readonly number[] | undefined): boolean;
}

/** Tensors in the place of those of the base. */
function takeWhole({ plan, config, sorted, outer, shapeOf, changeOf, fits }: Job, adapted: ReadonlySet<string>): void {
  const { embedding, head, tiedHead } = outer;
  for (const [name, { tensor, isUnderAdapter }] of sorted.whole) {
    const module = name.replace(/\.(?:weight|bias)$/, "");
    if (shapeOf(name) === undefined) {
      plan.problems.push(`tensor "${tensor}" belongs to no module of the model`);
      continue;
    }
    // PEFT puts the module of the base under its adapter, and leaves out what has the other name.
    if (isUnderAdapter !== adapted.has(module)) {
      const part = `${module}${isUnderAdapter ? "" : ".base_layer"}`;
      plan.problems.push(`tensor "${tensor}" is not read by PEFT, which calls that module "${part}" here`);
      continue;
    }
    if (!fits(tensor, shapeOf(name))) continue;
    plan.merged.add(tensor);
    changeOf(name).whole = tensor;
    if (!tiedHead || (name !== embedding && name !== head)) continue;
    // A saved module is a copy; any other is the one tensor that embedding and output layer share.
    if (isSavedModule(module, config.savedModules)) plan.isUntied = true;
    else changeOf(name === head ? embedding : head).whole ??= tensor;
  }
  if (plan.isUntied) changeOf(head);
}

/** New rows of single tokens; a tied output layer has them, too. */
function takeTokenRows({ plan, config, sorted, tensors, outer, shapeOf, changeOf, fits }: Job): void {
  const { embedding, head, tiedHead } = outer;
  for (const [module, tensor] of sorted.tokenRows) {
    const name = `${module}.weight`;
    const ids = idsOf(config.tokenIds, module, name === embedding);
    const [rows, columns] = shapeOf(name) ?? [0, 0];
    if (ids === null || (tiedHead && name === head)) {
      plan.problems.push(`tensor "${tensor}" has rows of a module that "trainable_token_indices" does not name`);
      continue;
    }
    const beyond = ids.find((id) => id >= rows);
    if (beyond !== undefined)
      plan.problems.push(`"trainable_token_indices" has ${beyond}, the base has ${rows} tokens`);
    if (!fits(tensor, [ids.length, columns]) || beyond !== undefined) continue;
    plan.merged.add(tensor);
    const edit = async (values: Float32Array) => {
      const own = await tensors.read(tensor);
      for (const [i, id] of ids.entries()) values.set(own.subarray(i * columns, (i + 1) * columns), id * columns);
    };
    changeOf(name).edits.push(edit);
    if (tiedHead) changeOf(head).edits.push(edit);
  }
  const isNamed = config.tokenIds !== null && Object.keys(config.tokenIds).length > 0;
  if (isNamed && sorted.tokenRows.size === 0)
    plan.problems.push('"trainable_token_indices" names tokens, but their rows are missing');
}

function idsOf(ids: PeftLora["tokenIds"], module: string, isEmbedding: boolean): readonly number[] | null {
  if (ids === null) return null;
  if (Array.isArray(ids)) return isEmbedding ? ids : null;
  const found = Object.entries(ids).find(([name]) => module === name || module.endsWith(`.${name}`));
  return found ? (found[1] as readonly number[]) : null;
}

/** A low-rank product on the embedding or the output layer. */
function takeLowRank(
  { plan, config, sorted, tensors, outer, shapeOf, changeOf, fits }: Job,
  module: string,
  { rank, scale }: TargetSettings,
): void {
  const name = `${module}.weight`;
  const shape = shapeOf(name);
  const [rows, columns] = shape ?? [0, 0];
  const own: LowRankTensors = sorted.lowRank.get(module) ?? {};
  const isEmbedding = name === outer.embedding;
  if (isEmbedding && config.hasMagnitudes) {
    plan.problems.push(`"${module}" has DoRA on the embedding, which is not supported`);
    return;
  }
  // Of an embedding, a looks up the token and b is the width: [R,V] and [C,R]. Of the output layer they are those of any product.
  const [a, b] = isEmbedding ? [own.embeddingA, own.embeddingB] : [own.a, own.b];
  if (!a || !b) {
    plan.problems.push(`"${module}" is a target, but its tensors are missing`);
    return;
  }
  const wanted = isEmbedding
    ? [
        [rank, rows],
        [columns, rank],
      ]
    : [
        [rank, columns],
        [rows, rank],
      ];
  const hasLengths = !config.hasMagnitudes || (own.magnitude !== undefined && fits(own.magnitude, [rows]));
  if (!fits(a, wanted[0]) || !fits(b, wanted[1]) || !hasLengths) return;
  for (const tensor of [a, b, ...(config.hasMagnitudes ? [own.magnitude as string] : [])]) plan.merged.add(tensor);
  if (outer.tiedHead) {
    plan.isUntied = true;
    changeOf(outer.head);
  }
  changeOf(name).edits.push(async (values) => {
    const [valuesA, valuesB] = [await tensors.read(a), await tensors.read(b)];
    const magnitude = config.hasMagnitudes ? await tensors.read(own.magnitude as string) : null;
    const factors = isEmbedding
      ? { a: transposed(valuesB, columns, rank), b: transposed(valuesA, rank, rows) }
      : { a: valuesA, b: valuesB };
    mergeLowRank(values, { ...factors, scale, magnitude }, [rows, columns, rank]);
  });
}

function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column];
  }
  return out;
}

/** The bias of a low-rank product: added to the bias of the base. */
function takeLoraBias(
  { plan, config, tensors, shapeOf, changeOf, fits }: Job,
  module: string,
  tensor: string | undefined,
  target: TargetSettings | undefined,
): void {
  if (tensor === undefined || !target || !config.hasLoraBias) return;
  const name = `${module}.bias`;
  if (shapeOf(name) === undefined) {
    plan.problems.push(`"${tensor}" is a bias of a module that has none in the base ("lora_bias" is true)`);
    return;
  }
  if (!fits(tensor, shapeOf(name))) return;
  plan.merged.add(tensor);
  changeOf(name).edits.push(async (values) => {
    const own = await tensors.read(tensor);
    for (let i = 0; i < values.length; i++) values[i] += target.scale * own[i];
  });
}
