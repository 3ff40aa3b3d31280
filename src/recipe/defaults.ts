import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { METHODS } from "../adapters/methods.ts";

/** The package's recipes; this file is in src/recipe or dist/recipe. */
export const RECIPES_FOLDER = fileURLToPath(new URL("../../recipes/", import.meta.url));

/** Of the training rows, held out where the data has no validation rows: the mixture with the linear companion and the best weights need them. */
const VALIDATION_SHARE = 0.1;

/** Values of a recipe as its file gives them, not yet checked. */
export type RecipeValues = Record<string, unknown>;

/** What of a data set decides the defaults. */
export interface DataFacts {
  /** Training rows; 0 when nobody knows. */
  rows: number;
  /** Training rows with more than one relation. */
  severalRelations: number;
  /** Training rows with soft labels: a model labelled them, or people who disagreed. */
  softLabels: number;
  /** Whether every label has a declared inverse, so that (tail, head) can be asked too. */
  hasInverses: boolean;
  /** Whether a label means no relation, so that pairs without one can be learnt. */
  hasNoRelation: boolean;
}

/** What is taken for granted where there is no data to look at. */
export const NO_FACTS: DataFacts = {
  rows: 0,
  severalRelations: 0,
  softLabels: 0,
  hasInverses: false,
  hasNoRelation: true,
};

/** A training that is known to be good, and how its epochs change with the number of rows. */
interface Basis {
  /** The rows and epochs of that training: with fewer rows each is repeated more often. */
  rows: number;
  epochs: { usual: number; least: number; most: number };
  /** The same without rows of joined sentences, of which each row is in one or two. */
  epochsAlone?: Basis["epochs"];
}

/** A shipped recipe whose values are the defaults. */
interface RecipeBasis extends Basis {
  file: string;
}

const DEMO = { rows: 1_094 };
const FINRE = { rows: 12_294 };

/**
 * From this number of training rows on, the defaults are the settings of FinRE instead of those of the demonstration. Its noise and smoothing
 * cost points on a set of 9,000 short sentences about persons.
 */
export const MANY_ROWS = 10_000;
/** The same for methods that train all weights. */
const MANY_ROWS_WHOLE = 3000;
/** From this share of rows with several relations on, a row may get more than one (FinRE has 9 %, SanWen 0.3 %). */
const SEVERAL_SHARE = 0.05;
/** From this share of rows with soft labels on, a model must be kept from learning wrong labels by heart. */
const SOFT_SHARE = 0.05;

/**
 * What the settings of demo.yaml lack for labels that are often wrong: with them F1 falls from the second validation on (docs/teaching.md,
 * bench/teaching.mjs). The values are those of finre-base-all.yaml; the other shipped recipes have their own.
 */
export const AGAINST_WRONG_LABELS: Readonly<RecipeValues> = {
  schedule: "constant",
  labelSmoothing: 0.1,
  dropout: 0.1,
  tokenNoise: 0.15,
  averageFrom: 0.35,
};

const BASES = {
  /** Methods that keep the base frozen, or most of it. */
  adapter: {
    few: {
      file: "demo.yaml",
      ...DEMO,
      epochs: { usual: 4, least: 4, most: 15 },
      epochsAlone: { usual: 8, least: 8, most: 30 },
    },
    many: { file: "finre-base-all.yaml", ...FINRE, epochs: { usual: 8, least: 2, most: 12 } },
  },
  whole: {
    few: { file: "finre-base-full.yaml", ...FINRE, epochs: { usual: 6, least: 6, most: 30 } },
    many: { file: "finre-base-full.yaml", ...FINRE, epochs: { usual: 6, least: 2, most: 12 } },
  },
  /** A small model from nothing, where the base model would need hours: on the reference backend. */
  nothing: {
    few: { file: "demo-small.yaml", ...DEMO, epochs: { usual: 30, least: 30, most: 100 } },
    many: { file: "finre-small.yaml", ...FINRE, epochs: { usual: 12, least: 3, most: 30 } },
  },
} as const satisfies Record<string, Record<"few" | "many", RecipeBasis>>;

const CRE_LLM: Basis = { ...FINRE, epochs: { usual: 5, least: 2, most: 10 } };

const DEFAULT_METHOD = { ofTrainedModel: "lora", fromNothing: "full" } as const;
/** A small model from nothing, as in finre-small.yaml. */
const FIRST_LEARNING_RATE = 1.5e-3;

/** What the values of a recipe leave out. */
export interface Defaults {
  values: RecipeValues;
  /** The shipped recipe that they come from, null for CRE-LLM's settings. */
  basis: string | null;
  /** Whether `AGAINST_WRONG_LABELS` replaces values of that recipe. */
  isAgainstWrongLabels: boolean;
}

/**
 * The defaults of everything that a recipe leaves out. A recipe that names a model (path or init) gets CRE-LLM's settings. Any other starts
 * from the embedded base model with the settings of a shipped recipe, which `readShipped` reads; its model paths must be absolute.
 */
export async function defaultsFor(
  given: RecipeValues,
  facts: DataFacts,
  isFast: boolean,
  readShipped: (file: string) => Promise<RecipeValues>,
): Promise<Defaults> {
  if (namesModel(given)) {
    return { values: defaultsOfNamed(given, facts.rows), basis: null, isAgainstWrongLabels: false };
  }
  const basis = basisOf(given, facts.rows, isFast);
  const shipped = await readShipped(join(RECIPES_FOLDER, basis.file));
  const shippedAdapter = section(shipped, "adapter");
  const method = methodOf(given) ?? String(shippedAdapter.method);
  const isAgainstWrongLabels =
    basis === BASES.adapter.few && facts.softLabels > 0 && facts.softLabels >= SOFT_SHARE * facts.rows;
  const train = {
    ...section(shipped, "train"),
    ...(isAgainstWrongLabels ? AGAINST_WRONG_LABELS : {}),
    ...joinedAndEpochs(given, basis, facts, section(shipped, "train")),
    validationShare: VALIDATION_SHARE,
  };
  const isLike = METHODS.some((one: { name: string; likeMethod?: string }) => {
    return one.name === method && one.likeMethod === shippedAdapter.method;
  });
  const hasOwnRecipe = isLike || method === shippedAdapter.method;
  return {
    values: {
      ...shipped,
      ...(isLike ? { adapter: { ...shippedAdapter, method } } : {}),
      // Values that were tuned on one data set are not carried over to another.
      data: { format: "auto" },
      decode: {
        bothDirections: facts.hasInverses,
        noRelationWeight: "auto",
        furtherRelations: facts.severalRelations >= SEVERAL_SHARE * Math.max(1, facts.rows) ? 0.5 : 1,
      },
      train: hasOwnRecipe ? train : { ...train, learningRate: learningRateOf(method) },
    },
    basis: basis.file,
    isAgainstWrongLabels,
  };
}

/** Rows of joined sentences, the share that the recipe or the shipped one gives where the labels allow it, and the epochs that go with them. */
function joinedAndEpochs(
  given: RecipeValues,
  basis: RecipeBasis,
  facts: DataFacts,
  shipped: RecipeValues,
): RecipeValues {
  // A joined row would have the label of a soft one without its doubts.
  const canJoin = facts.hasNoRelation && facts.softLabels === 0;
  const usual = canJoin ? (shipped.joinedSentences ?? 0) : 0;
  const wanted = section(given, "train").joinedSentences ?? usual;
  const { epochsAlone = basis.epochs } = basis;
  const epochs = epochsFor(wanted === 0 ? { ...basis, epochs: epochsAlone } : basis, facts.rows);
  return { joinedSentences: usual, epochs };
}

/** Values with the defaults of what they leave out; an adapter of another method than the default's is left alone. */
export function fillIn(given: RecipeValues, defaults: RecipeValues): RecipeValues {
  const filled: RecipeValues = { ...defaults, ...withoutNulls(given) };
  for (const key of Object.keys(defaults)) {
    const isOtherMethod = key === "adapter" && (methodOf(given) ?? methodOf(defaults)) !== methodOf(defaults);
    if (isSection(given[key]) && isSection(defaults[key]) && !isOtherMethod) {
      filled[key] = { ...section(defaults, key), ...section(given, key) };
    }
  }
  return filled;
}

/** Whether the defaults of what is left out depend on the data. */
export function dependsOnData(given: RecipeValues): boolean {
  return !namesModel(given) || section(given, "train").epochs === undefined;
}

/** Whether a recipe says which model it starts from. */
export function namesModel(values: RecipeValues): boolean {
  const { path, init } = section(values, "model");
  return path !== undefined || init !== undefined;
}

function basisOf(given: RecipeValues, rows: number, isFast: boolean): RecipeBasis {
  const method = methodOf(given);
  // An adapter needs a model below it, however slow that is here.
  const isWhole = METHODS.find(({ name }) => name === method)?.startsFrom === "any";
  const isFromNothing = !isFast && (method === undefined || isWhole);
  const kind = isFromNothing ? "nothing" : isWhole ? "whole" : "adapter";
  return BASES[kind][rows < (kind === "adapter" ? MANY_ROWS : MANY_ROWS_WHOLE) ? "few" : "many"];
}

function defaultsOfNamed(given: RecipeValues, rows: number): RecipeValues {
  const isFromNothing = section(given, "model").path === undefined;
  const method = methodOf(given) ?? (isFromNothing ? DEFAULT_METHOD.fromNothing : DEFAULT_METHOD.ofTrainedModel);
  const hasBatch = section(given, "train").batchExamples !== undefined;
  const batch = isFromNothing ? { batchExamples: 32 } : { batchExamples: 4, accumulation: 4 };
  return {
    data: {},
    prompt: {},
    adapter: { method },
    train: {
      epochs: epochsFor(isFromNothing ? BASES.nothing.many : CRE_LLM, rows),
      ...(hasBatch ? {} : batch),
      validationShare: VALIDATION_SHARE,
      learningRate: isFromNothing ? FIRST_LEARNING_RATE : learningRateOf(method),
    },
  };
}

/** The epochs in which a training sees about the rows that the basis saw, within its bounds. */
function epochsFor(basis: Basis, rows: number): number {
  const { usual, least, most } = basis.epochs;
  return rows === 0 ? usual : Math.min(most, Math.max(least, Math.round((usual * basis.rows) / rows)));
}

function learningRateOf(method: string): number {
  const named = (wanted: string) => METHODS.find(({ name }) => name === wanted)?.usualLearningRate;
  return named(method) ?? (named(DEFAULT_METHOD.ofTrainedModel) as number);
}

function methodOf(values: RecipeValues): string | undefined {
  const { method } = section(values, "adapter");
  return typeof method === "string" ? method : undefined;
}

function isSection(value: unknown): value is RecipeValues {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A group of values, empty when it is not there; the schema reports what is no group. */
export function section(values: RecipeValues, key: string): RecipeValues {
  const value = values[key];
  return isSection(value) ? withoutNulls(value) : {};
}

/** A key without a value ("train:") is one that was left out. */
function withoutNulls(values: RecipeValues): RecipeValues {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}
