import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { buildCli, cre, jsonl, makeOnce, ROOT, TOKENIZER, toyRecipe, toyRows, writeRecipe } from "../e2e/support.ts";

/** Folders that every test of cases and faults starts from: made once for a build, read by all, changed by nobody. */
export interface ToyRuns {
  /** 16 training, 8 validation and 8 test rows with the labels of {@link LABELS}. */
  data: string;
  /** Trains a model from nothing. */
  recipe: string;
  /** What the recipe gave after 96 steps: the whole model. */
  run: string;
  /** A base model of 2.4 MB in float32, so that reading samples of it is not reading all of it. */
  base: string;
  /** Trains LoRA on the base. */
  loraRecipe: string;
  loraRun: string;
}

export const LABELS = {
  labels: ["unknown", "收购", "被收购", "合作", "持股"],
  noRelation: "unknown",
  inverses: { 收购: "被收购" },
  symmetric: ["unknown", "合作"],
};

const CACHE = join(ROOT, "node_modules", ".cre-toy-runs");
const OWNER = createHash("sha256").update(ROOT).digest("hex").slice(0, 8);

/** Trains the toy runs when there are none of this build; test files that run at the same time wait for each other. */
export async function toyRuns(): Promise<ToyRuns> {
  await buildCli();
  const root = join(CACHE, `${OWNER}-${buildKey()}`);
  mkdirSync(CACHE, { recursive: true });
  await makeOnce(
    `${root}.lock`,
    () => !existsSync(root),
    () => makeToyRuns(root),
  );
  return pathsIn(root);
}

/** Changes with every build. */
function buildKey(): string {
  const hash = createHash("sha256").update(readFileSync(import.meta.filename));
  const names = readdirSync(join(ROOT, "dist"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".js"),
  );
  for (const name of names.sort()) hash.update(`${name} ${statSync(join(ROOT, "dist", name)).mtimeMs}\n`);
  return hash.digest("hex").slice(0, 12);
}

function pathsIn(root: string): ToyRuns {
  const path = (name: string) => join(root, name);
  return {
    data: path("data"),
    recipe: path("toy.yaml"),
    run: path("run"),
    base: path("base"),
    loraRecipe: path("lora.yaml"),
    loraRun: path("lora-run"),
  };
}

async function makeToyRuns(root: string): Promise<void> {
  for (const name of readdirSync(CACHE)) {
    if (name.startsWith(`${OWNER}-`) && !name.endsWith(".lock")) rmSync(join(CACHE, name), { recursive: true });
  }
  // Recipes hold absolute paths, so everything is made under its last name but the run that others wait for.
  const making = `${root}.making`;
  rmSync(making, { recursive: true, force: true });
  mkdirSync(making);
  const at = pathsIn(making);
  writeLabelledData(at.data);
  const recipe = toyRecipe("data");
  writeRecipe(at.recipe, recipe);
  const wide = { ...recipe, model: { ...recipe.model, init: { ...(recipe.model.init as object), width: 64 } } };
  writeRecipe(join(making, "base.yaml"), wide);
  await expectDone(["model", "init", join(making, "base.yaml"), "--output", at.base, "--dtype", "F32"]);
  writeRecipe(at.loraRecipe, {
    ...recipe,
    model: { path: "base", storage: "float32" },
    adapter: { method: "lora", rank: 4, alpha: 8, dropout: 0, targets: "all" },
  });
  const steps = ["--set", "train.epochs=24", "--set", "train.learningRate=0.02"];
  await expectDone(["train", at.recipe, "--run", at.run, ...steps]);
  await expectDone(["train", at.loraRecipe, "--run", at.loraRun, "--set", "train.epochs=4"]);
  for (const run of [at.run, at.loraRun]) {
    const file = join(run, "recipe.yaml");
    writeFileSync(file, readFileSync(file, "utf8").replaceAll(making, root));
  }
  renameSync(making, root);
}

async function expectDone(command: readonly string[]): Promise<void> {
  // With the native backend where there is one, which is quicker.
  const { code, stderr } = await cre(command, { env: { CRE_BACKEND: "" } });
  if (code !== 0) throw new Error(`cre ${command.join(" ")} ended with ${code}: ${stderr}`);
}

/** Writes a data folder whose labels are {@link LABELS}. */
export function writeLabelledData(directory: string): string {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "labels.json"), JSON.stringify(LABELS));
  writeFileSync(join(directory, "train.jsonl"), jsonl(toyRows(16, 1)));
  writeFileSync(join(directory, "valid.jsonl"), jsonl(toyRows(8, 2)));
  writeFileSync(join(directory, "test.jsonl"), jsonl(toyRows(8, 3)));
  return directory;
}

/** A data folder with the labels and the given splits: rows, or the bytes of a file. */
export function dataFolder(directory: string, splits: Record<string, readonly unknown[] | string | Buffer>): string {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "labels.json"), JSON.stringify(LABELS));
  for (const [name, rows] of Object.entries(splits)) {
    const isContent = typeof rows === "string" || Buffer.isBuffer(rows);
    writeFileSync(join(directory, name.includes(".") ? name : `${name}.jsonl`), isContent ? rows : jsonl(rows));
  }
  return directory;
}

/** Writes one of the toy recipes with other values of its training into a file elsewhere. */
export function recipeWith(toys: ToyRuns, recipe: string, file: string, train: Record<string, number>): string {
  const values = parse(readFileSync(recipe, "utf8"));
  if (values.model.path !== undefined) values.model.path = toys.base;
  return writeRecipe(file, { ...values, data: { path: toys.data }, train: { ...values.train, ...train } });
}

/** A run folder to write into. */
export function copyOf(run: string, directory: string): string {
  cpSync(run, directory, { recursive: true });
  return directory;
}

/** A copy of a run on a base that lies elsewhere. */
export function runOnBase(run: string, directory: string, base: string): string {
  copyOf(run, directory);
  const recipe = join(directory, "recipe.yaml");
  const text = readFileSync(recipe, "utf8");
  const moved = text.replace(/^( +path: ).*base$/m, `$1${base}`);
  if (moved === text) throw new Error(`${recipe}: names no base.`);
  writeFileSync(recipe, moved);
  return directory;
}

export { TOKENIZER };
