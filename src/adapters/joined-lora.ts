import { showValue, UserErrors } from "../base/errors.ts";
import type { PeftFolder } from "../formats/peft-adapter.ts";
import { loraScale } from "../formats/peft-scale.ts";
import { type TargetSettings, targetSettings } from "../formats/peft-targets.ts";
import { type LowRankTensors, type PeftPart, peftTensorName, sortPeftTensors } from "../formats/peft-tensors.ts";
import type { TensorInfo, TensorSource } from "../formats/tensor-source.ts";
import { familyNamed } from "../models/families/registry.ts";
import { type LinearSlot, slotShape } from "../models/layer.ts";
import { nativeForm } from "../models/native-form.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { type LinearModule, linearModules } from "../models/tensors.ts";

// An adapter of q_proj, k_proj and v_proj (or gate_proj and up_proj) on a base that keeps them as one matrix. The sum of the parts' products is one
// low-rank product: the a of all parts below one another, b with each part's rows in columns of their own.

/** A module as an adapter made for another form of the base calls it. */
interface Part {
  name: string;
  slots: readonly LinearSlot[];
}

/** A module of the base with its parts, in the order of its rows. */
interface Joined {
  module: LinearModule;
  parts: readonly Part[];
}

/** The adapter for the modules of the base, and whether its own names are others. */
export interface JoinedAdapter {
  adapter: PeftFolder;
  isJoined: boolean;
}

/**
 * An open adapter with the names of the base's modules; the same one where it has them. Parts that all have one `a`, as `--to hf-peft` writes
 * them, share it again. Throws a UserErrors for parts that cannot be joined exactly.
 */
export async function joinedAdapter(adapter: PeftFolder, spec: DecoderSpec, where: string): Promise<JoinedAdapter> {
  const { lowRank } = sortPeftTensors(adapter.tensors.tensors.keys());
  const own = ownModules(spec);
  const names = new Set(own.map(({ name }) => name));
  const namings = [nativeNaming(spec, own), plainNaming(own)];
  const isForeign = ({ parts }: Joined) => parts.some(({ name }) => !names.has(name) && lowRank.has(name));
  const naming = namings.find((one) => one.some(isForeign));
  if (!naming) return { adapter, isJoined: false };
  const foreign = naming.filter(({ parts, module }) => parts.some(({ name }) => name !== module.name));
  const all = [...names, ...foreign.flatMap(({ parts }) => parts.map(({ name }) => name))];
  const targets = targetSettings(
    adapter,
    [...new Set(all)].filter((name) => lowRank.has(name)),
  );
  const job: Job = { adapter, spec, lowRank, targets, problems: [], tensors: new Map(), settings: new Map() };
  const used = new Set<string>();
  for (const joined of foreign) {
    if (!joined.parts.some(({ name }) => targets.has(name))) continue;
    for (const { name } of joined.parts) for (const tensor of Object.values(lowRank.get(name) ?? {})) used.add(tensor);
    await join(job, joined);
  }
  if (job.problems.length > 0) {
    const [first, ...others] = job.problems;
    const problem = others.length > 0 ? `${first} (and ${others.length} more problems)` : first;
    throw new UserErrors(`${where}: the adapter does not fit the model:`, [problem], {
      inline: true,
      hint: "Was the adapter trained on another base model?",
    });
  }
  for (const [name, target] of targets) if (names.has(name)) job.settings.set(name, target);
  return { adapter: { ...adapter, ...replaced(job, used, [...names]) }, isJoined: true };
}

const ownModules = (spec: DecoderSpec): LinearModule[] => {
  const family = familyNamed(spec.family, "adapter");
  return Array.from({ length: spec.layers }, (_, index) => linearModules(spec, family, index)).flat();
};

/** The modules as the base's form in transformers has them; none for a base that has no other form. */
function nativeNaming(spec: DecoderSpec, own: readonly LinearModule[]): Joined[] {
  const native = nativeForm(spec, "adapter");
  if (native === null) return [];
  const family = familyNamed(native.family, "adapter");
  const perLayer = own.length / spec.layers;
  return own.flatMap((module, i) => {
    const layer = linearModules(native, family, Math.floor(i / perLayer));
    const parts = layer.filter(({ slots }) => slots.every((slot) => module.slots.includes(slot)));
    return parts.flatMap(({ slots }) => slots).join() === module.slots.join() ? [{ module, parts }] : [];
  });
}

const PLAIN: Partial<Record<LinearSlot, string>> = {
  q: "q_proj",
  k: "k_proj",
  v: "v_proj",
  gate: "gate_proj",
  up: "up_proj",
};

/** The parts of joined matrices by the names of Llama, next to the joined one. */
function plainNaming(own: readonly LinearModule[]): Joined[] {
  return own.flatMap((module) => {
    if (module.slots.length === 1) return [];
    const parent = module.name.slice(0, module.name.lastIndexOf(".") + 1);
    return [
      { module, parts: module.slots.map((slot) => ({ name: `${parent}${PLAIN[slot] ?? slot}`, slots: [slot] })) },
    ];
  });
}

interface Job {
  adapter: PeftFolder;
  spec: DecoderSpec;
  lowRank: ReadonlyMap<string, LowRankTensors>;
  /** The settings of the adapter's own modules. */
  targets: ReadonlyMap<string, TargetSettings>;
  problems: string[];
  /** The joined tensors. */
  tensors: Map<string, { info: TensorInfo; read(): Promise<Float32Array> }>;
  /** The settings of the base's modules. */
  settings: Map<string, TargetSettings>;
}

/** A part with its tensors; `target` is null for one that has no adapter. */
interface Found {
  rows: number;
  target: (TargetSettings & { a: string; b: string; magnitude: string | null }) | null;
}

async function join(job: Job, { module, parts }: Joined): Promise<void> {
  const { adapter, spec, problems } = job;
  const { hasMagnitudes, scaling } = adapter.config;
  if (job.lowRank.has(module.name)) {
    problems.push(`"${module.name}" and a part of it (${parts[0].name}) have an adapter each`);
    return;
  }
  const before = problems.length;
  const found = parts.map(({ name, slots }): Found => {
    const rows = slots.reduce((sum, slot) => sum + slotShape(spec, slot)[0], 0);
    return { rows, target: partOf(job, name, rows, module.columns) };
  });
  const adapted = found.flatMap(({ target }) => target ?? []);
  if (hasMagnitudes && adapted.length < found.length) {
    const missing = parts.filter((_, i) => found[i].target === null).map(({ name }) => name);
    problems.push(`"${module.name}": ${missing.join(", ")} have no trained lengths (DoRA), which the joined rows need`);
  }
  if (problems.length > before) return;
  const { rank, firsts, isShared } = await ranksOf(adapter.tensors, adapted);
  const { scale } = adapted[0];
  const { file } = adapter.tensors.tensors.get(adapted[0].a) as TensorInfo;
  const put = (part: PeftPart, shape: number[], read: () => Promise<Float32Array>) => {
    const name = peftTensorName(module.name, part);
    job.tensors.set(name, { info: { name, dtype: "F32", shape, file }, read });
  };
  put("lora_A.weight", [rank, module.columns], async () => {
    const all = isShared ? adapted.slice(0, 1) : adapted;
    return concatenated(await Promise.all(all.map(({ a }) => adapter.tensors.read(a))));
  });
  put("lora_B.weight", [module.rows, rank], async () => {
    const out = new Float32Array(module.rows * rank);
    let row = 0;
    for (const { rows, target } of found) {
      if (target) {
        const values = await adapter.tensors.read(target.b);
        const [first, factor] = [firsts[adapted.indexOf(target)], target.scale / scale];
        for (let o = 0; o < rows; o++) {
          for (let r = 0; r < target.rank; r++) {
            out[(row + o) * rank + first + r] = factor * values[o * target.rank + r];
          }
        }
      }
      row += rows;
    }
    return out;
  });
  if (hasMagnitudes) {
    put("lora_magnitude_vector", [module.rows], async () =>
      concatenated(await Promise.all(adapted.map(({ magnitude }) => adapter.tensors.read(magnitude as string)))),
    );
  }
  const alpha = scale * (scaling === "rslora" ? Math.sqrt(rank) : rank);
  job.settings.set(module.name, { rank, alpha, scale: loraScale({ rank, alpha, scaling }) });
}

/** The tensors of a part; null without an adapter, and with a problem for tensors that do not fit. */
function partOf(
  { adapter, lowRank, targets, problems }: Job,
  name: string,
  rows: number,
  columns: number,
): Found["target"] {
  const target = targets.get(name);
  if (!target) return null;
  const { a, b, magnitude = null, ...others } = lowRank.get(name) as LowRankTensors;
  const shapes: [string | null | undefined, readonly number[]][] = [
    [a, [target.rank, columns]],
    [b, [rows, target.rank]],
    ...(adapter.config.hasMagnitudes ? [[magnitude, [rows]] as [string | null, number[]]] : []),
  ];
  for (const [tensor, wanted] of shapes) {
    const shape = tensor ? adapter.tensors.tensors.get(tensor)?.shape : undefined;
    if (shape?.join() !== wanted.join()) {
      problems.push(`${showValue(name, 200)} has [${shape ?? "missing"}], expected [${wanted}]`);
      return null;
    }
  }
  const [other] = Object.values(others);
  if (other !== undefined)
    problems.push(`tensor ${showValue(other, 200)} of a part of a joined matrix is not supported`);
  return { ...target, a: a as string, b: b as string, magnitude };
}

/** The rank of the joined product and the first column of b that each part has; one `a` is shared where all parts have the same. */
async function ranksOf(tensors: TensorSource, adapted: readonly NonNullable<Found["target"]>[]) {
  const [{ a, rank, scale }, ...others] = adapted;
  const first = await tensors.read(a);
  let isShared = others.every((other) => other.rank === rank && other.scale === scale);
  for (const other of others) {
    if (!isShared) break;
    const values = await tensors.read(other.a);
    isShared = values.every((value, i) => value === first[i]);
  }
  let sum = 0;
  const firsts = adapted.map((part) => {
    const start = sum;
    if (!isShared) sum += part.rank;
    return start;
  });
  return { rank: isShared ? rank : sum, firsts, isShared };
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The configuration and the tensors with the base's names; `used` are the tensors that were joined. */
function replaced(
  { adapter, tensors: joined, settings }: Job,
  used: ReadonlySet<string>,
  own: readonly string[],
): Partial<PeftFolder> {
  const { config, tensors } = adapter;
  const infos = new Map([...tensors.tensors].filter(([name]) => !used.has(name)));
  for (const [name, { info }] of joined) infos.set(name, info);
  const pattern = (name: string) => name.replaceAll(".", "\\.");
  const byModule = (value: (target: TargetSettings) => number) =>
    Object.fromEntries([...settings].map(([name, target]) => [pattern(name), value(target)]));
  // Embedding and output layer are no modules of the layers: lists name them still.
  const listed = typeof config.targetModules === "string" ? [] : config.targetModules;
  const outer = listed.filter((name) => own.every((module) => module !== name && !module.endsWith(`.${name}`)));
  const [ranks, alphas] = [byModule(({ rank }) => rank), byModule(({ alpha }) => alpha)];
  return {
    config: {
      ...config,
      targetModules: [...settings.keys(), ...outer],
      layers: null,
      layersPattern: [],
      // The first pattern that fits counts.
      rankPattern: { ...ranks, ...config.rankPattern, ...ranks },
      alphaPattern: { ...alphas, ...config.alphaPattern, ...alphas },
    },
    tensors: {
      tensors: infos,
      checks: tensors.checks,
      read: (name) => joined.get(name)?.read() ?? tensors.read(name),
      close: () => tensors.close(),
    },
  };
}
