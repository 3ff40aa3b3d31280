import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { done, HANG_MS, parsedLines } from "../cases/outcome.ts";
import { dataFolder, type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { cre, jsonl, temporaryFolder, toyRows, useBestBackend } from "../e2e/support.ts";
import { type CommandServer, commandServer, type Ending } from "./harness.ts";

// Whatever a recipe or a row holds: exit code 0 or 1 with a reason, soon and within bounds.

useBestBackend();
const temporary = temporaryFolder("random");
const file = (name: string) => join(temporary.path, name);
const BOUNDS = { seconds: 2, residentBytes: 1_000_000_000 };
const SEED = 20_261_129;
const RECIPES = 1000;
const ROWS = 2000;
/** One in this many recipes and rows is also tried in a process of its own. */
const EVERY = 125;
let toys: ToyRuns;
let server: CommandServer;

beforeAll(async () => {
  toys = await toyRuns();
  server = commandServer(BOUNDS);
}, 120_000);
afterAll(async () => {
  await server.close();
  temporary.remove();
});

const strange = fc.oneof(
  fc.constantFrom(
    "",
    " ",
    "~",
    "__proto__",
    "constructor",
    "\u0000",
    "\u001b[31m",
    "NaN",
    "null",
    "../../..",
    "/dev/null",
    "💥",
  ),
  fc.constantFrom("a".repeat(5000), "收".repeat(3000), "{{x}}", "%s%n", "-1", "1e999", "\ud800", "\u202e", "\r\n"),
  fc.string({ maxLength: 40, unit: "binary" }),
);

const number = fc.oneof(
  fc.constantFrom(0, -0, -1, 0.5, 1e-308, 5e-324, 1e308, -1e308, 1e9, 1e6, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 + 2),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-9, 3, 7, 100, 1000, 10_000),
  fc.double(),
  fc.integer(),
);

const deep = fc.integer({ min: 50, max: 500 }).map((levels) => {
  let value: unknown = 1;
  for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
});

const value: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 6, arbitrary: number },
  { weight: 4, arbitrary: strange },
  { weight: 2, arbitrary: fc.constantFrom(null, true, false, [], {}, [[]], "auto", "all", "full", "lora", "labels") },
  { weight: 1, arbitrary: fc.array(fc.oneof(number, strange), { maxLength: 5 }) },
  { weight: 1, arbitrary: fc.dictionary(strange, number, { maxKeys: 4 }) },
  { weight: 1, arbitrary: fc.bigInt() },
);

/** Paths of all values of a plain object. */
function pathsOf(object: object, prefix: string[] = []): string[][] {
  return Object.entries(object).flatMap(([key, item]) => {
    const path = [...prefix, key];
    const isGroup = typeof item === "object" && item !== null && !Array.isArray(item);
    return isGroup ? [path, ...pathsOf(item, path)] : [path];
  });
}

function put(object: Record<string, unknown>, path: readonly string[], item: unknown): void {
  let at = object;
  for (const key of path.slice(0, -1)) {
    if (typeof at[key] !== "object" || at[key] === null) return;
    at = at[key] as Record<string, unknown>;
  }
  const last = path[path.length - 1];
  if (item === undefined) delete at[last];
  else Object.defineProperty(at, last, { value: item, enumerable: true, configurable: true, writable: true });
}

interface Mutation {
  path: string[];
  kind: "replace" | "remove" | "add" | "nest";
  key: string;
  value: unknown;
  deep: unknown;
}

const mutation = (paths: string[][]): fc.Arbitrary<Mutation> =>
  fc.record({
    path: fc.constantFrom(...paths),
    kind: fc.oneof(
      { weight: 10, arbitrary: fc.constant("replace" as const) },
      { weight: 1, arbitrary: fc.constantFrom("remove" as const, "add" as const, "nest" as const) },
    ),
    key: strange,
    value,
    deep,
  });

/** Sizes that a machine may not have the memory or the time for. */
const huge = (paths: string[][]): fc.Arbitrary<Mutation> => {
  const sizes = paths.filter((path) =>
    /rank|layers|width|heads|Heads|feedForward|maxTokens|epochs|Tokens|Examples|accumulation/i.test(
      path.at(-1) as string,
    ),
  );
  return fc.record({
    path: fc.constantFrom(...sizes),
    kind: fc.constant("replace" as const),
    key: fc.constant(""),
    value: fc.constantFrom(1e4, 1e5, 1e6, 1e7, 1e9, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 1e15, 2 ** 53 - 1, 1e100, 1e308),
    deep: fc.constant(null),
  });
};

function mutated(valid: object, mutations: readonly Mutation[]): Record<string, unknown> {
  const recipe = structuredClone(valid) as Record<string, unknown>;
  for (const { path, kind, key, value, deep } of mutations) {
    if (kind === "replace") put(recipe, path, value);
    else if (kind === "remove") put(recipe, path, undefined);
    else if (kind === "add") put(recipe, [...path.slice(0, -1), key], value);
    else put(recipe, path, deep);
  }
  return recipe;
}

/** What is wrong with how a command ended; null when nothing is. */
function problemOf(ending: Ending, allowed: readonly unknown[]): string | null {
  const { code, stderr, seconds, killed } = ending;
  if (killed) return `killed: ${killed} ${stderr.slice(-300)}`;
  if (!allowed.includes(code)) return `exit code ${code}: ${stderr.slice(-600)}`;
  if (/\n\s+at /.test(stderr)) return `a stack: ${stderr.slice(0, 400)}`;
  if (code === 1) {
    const [reason] = stderr.match(/^error: \S.*$/m) ?? [];
    if (!reason) return `no reason: ${stderr.slice(0, 400)}`;
    if (reason.length > 2000) return `a reason of ${reason.length} characters: ${reason.slice(0, 200)}`;
  }
  if (/(?![\n\t])\p{Cc}/u.test(stderr)) return `control characters: ${JSON.stringify(stderr.slice(0, 300))}`;
  return seconds > BOUNDS.seconds ? `${seconds.toFixed(1)} s of the processor` : null;
}

const reasonsIn = (stderr: string) => stderr.split("\n").filter((line) => /^(error:| {2}- |hint:)/.test(line));

/** Runs a command in a process of its own; says what is other than in the process that runs many. A training is stopped when it begins. */
async function otherwiseAlone(command: readonly string[], ending: Ending): Promise<string | null> {
  const kill = { when: (stderr: string) => stderr.includes("training rows"), signal: "SIGINT" as const };
  const { code, stderr } = await cre(command, { kill, timeoutMs: HANG_MS });
  // A training may be over before the signal comes.
  const codes = ending.code === 130 ? [130, 0] : [ending.code];
  if (!codes.includes(code))
    return `exit code ${code} in a process of its own, not ${ending.code}: ${stderr.slice(-600)}`;
  const [alone, together] = [stderr, ending.stderr].map(reasonsIn);
  if (alone.join("\n") === together.join("\n")) return null;
  return `says "${alone[0]}" in a process of its own, not "${together[0]}"`;
}

function expectNone(problems: Map<string, string[]>, count: number): void {
  const total = Array.from(problems.values()).reduce((sum, { length }) => sum + length, 0);
  const shown = Array.from(problems, ([problem, inputs]) => `${inputs.length} × ${problem}\n    of ${inputs[0]}`);
  expect(total, `${total} of ${count}:\n${shown.slice(0, 25).join("\n")}`).toBe(0);
}

/** Groups problems that differ in numbers and quoted texts only. */
function note(problems: Map<string, string[]>, problem: string | null, input: string): void {
  if (!problem) return;
  const shape = problem
    .replace(/"[^"]{0,200}"/g, '"…"')
    .replace(/-?\d[\d.e+-]*/g, "N")
    .slice(0, 160);
  const found = Array.from(problems.keys()).find((key) => key.startsWith(`${shape}\n`));
  const key = found ?? `${shape}\n    ${problem.slice(0, 700)}`;
  problems.set(key, [...(problems.get(key) ?? []), input.slice(0, 500)]);
}

it(`${RECIPES} random recipes end with 0 or 1 and a reason, within 2 s and 1 GB before the work begins`, async () => {
  const data = dataFolder(file("data"), { train: toyRows(4, 1) });
  const valid = [toys.run, toys.loraRun].map((run) => {
    const recipe = parse(readFileSync(join(run, "recipe.yaml"), "utf8"));
    recipe.data.path = data;
    Object.assign(recipe.train, { epochs: 1, validateEvery: 0 });
    return recipe as object;
  });
  const cases = fc.sample(
    fc.record({
      which: fc.constantFrom(0, 1),
      tail: fc.oneof(
        { weight: 60, arbitrary: fc.constant("") },
        // Each of these costs a third of a second.
        { weight: 1, arbitrary: fc.constantFrom("[".repeat(50_000), "- ".repeat(20_000), "{a: ".repeat(20_000)) },
        {
          weight: 5,
          arbitrary: fc.oneof(strange, fc.constantFrom("a: &a [*a]", "<<: {a: 1}", "? [1]: 2", "--- 1", "!!js/x y")),
        },
      ),
      mutations: fc.oneof(
        { weight: 3, arbitrary: fc.array(mutation(pathsOf(valid[0])), { minLength: 1, maxLength: 1 }) },
        {
          weight: 1,
          arbitrary: fc.array(huge([...pathsOf(valid[0]), ...pathsOf(valid[1])]), { minLength: 1, maxLength: 1 }),
        },
        { weight: 1, arbitrary: fc.array(mutation(pathsOf(valid[1])), { minLength: 1, maxLength: 4 }) },
      ),
    }),
    { numRuns: RECIPES, seed: SEED },
  );
  const problems = new Map<string, string[]>();
  for (const [i, { which, mutations, tail }] of cases.entries()) {
    const recipe = file("recipe.yaml");
    let text: string;
    try {
      text = stringify(mutated(valid[which], mutations));
    } catch {
      text = JSON.stringify(mutated(valid[which], mutations), (_, item) => (typeof item === "bigint" ? 0 : item));
    }
    writeFileSync(recipe, text + tail);
    const run = file("run");
    // 130: a valid recipe, stopped after its first step.
    const command = ["train", recipe, "--run", run];
    const ending = await server.run(command, { stopsTraining: true });
    rmSync(run, { recursive: true, force: true });
    const shown = mutations.map(
      ({ path, kind, key, value }) =>
        `${kind} ${path.join(".")} ${kind === "add" ? JSON.stringify(key) : ""} ${showValue(value)}`,
    );
    const input = `${shown.join("; ")} ${JSON.stringify(tail.slice(0, 40))}`;
    note(problems, problemOf(ending, [0, 1, 130]), input);
    if (i % EVERY === 0) note(problems, await otherwiseAlone(command, ending), input);
    rmSync(run, { recursive: true, force: true });
  }
  expectNone(problems, RECIPES);
}, 600_000);

function showValue(item: unknown): string {
  return JSON.stringify(item, (_, one) => (typeof one === "bigint" ? `${one}n` : one)) ?? String(item);
}

const [GOOD] = toyRows(1, 1);
const rowMutation = fc.record({
  key: fc.oneof(fc.constantFrom("sentence", "head", "tail", "relations", "id", "headSpan", "tailSpan"), strange),
  value: fc.oneof(
    value,
    fc.constantFrom(GOOD.sentence, GOOD.head, [0, 2], { start: 1, end: 3 }, ["收购"], ["收购", "收购"]),
    deep,
  ),
});
const text = (item: unknown) => JSON.stringify(item, (_, one) => (typeof one === "bigint" ? Number(one) : one));
const line = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.array(rowMutation, { minLength: 1, maxLength: 3 }).map((mutations) => {
      const row: Record<string, unknown> = { ...GOOD };
      for (const { key, value } of mutations) put(row, [key], value);
      return text(row);
    }),
  },
  { weight: 1, arbitrary: value.map((item) => text(item) ?? "") },
  { weight: 1, arbitrary: strange.map((item) => item.replaceAll("\n", " ")) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "[".repeat(50_000),
      '{"a":'.repeat(20_000),
      `${"[".repeat(20_000)}${"]".repeat(20_000)}`,
    ),
  },
  { weight: 1, arbitrary: fc.nat(200).map((at) => text(GOOD).slice(0, at)) },
  { weight: 1, arbitrary: fc.record({ label: strange, predict: strange }).map(text) },
  { weight: 1, arbitrary: fc.json().map((item) => item.replaceAll("\n", " ")) },
);

it(`${ROWS} random rows: one output line each, of a prediction or of a reason in one line`, async () => {
  const lines = fc.sample(line, { numRuns: ROWS, seed: SEED });
  writeFileSync(file("rows.jsonl"), lines.map((one) => `${one}\n`).join("") + jsonl([GOOD]));
  const { stdout } = await done(["extract", toys.run, file("rows.jsonl")]);
  const out = parsedLines(stdout);
  expect(out).toHaveLength(lines.filter((one) => one.trim() !== "").length + 1);
  const wrong = out.filter((row) => {
    if (row.predictions)
      return !row.predictions.every(({ probability }: { probability: number }) => probability >= 0 && probability <= 1);
    return typeof row.error !== "string" || row.error === "" || row.error.length > 2000 || /\p{Cc}/u.test(row.error);
  });
  expect(wrong.slice(0, 5)).toEqual([]);
}, 120_000);

it(`each of ${ROWS} random rows alone ends score and data stats with 0 or 1 and a reason`, async () => {
  const lines = fc.sample(line, { numRuns: ROWS, seed: SEED });
  const problems = new Map<string, string[]>();
  const folder = dataFolder(file("one"), { test: [GOOD] });
  const rows = file("one.jsonl");
  for (const [i, one] of lines.entries()) {
    writeFileSync(rows, `${one}\n`);
    writeFileSync(join(folder, "train.jsonl"), `${one}\n`);
    const command = [
      ["data", "stats", folder],
      ["score", rows],
      ["score", rows, "--gold", join(folder, "train.jsonl")],
      ["data", "convert", folder, "--split", "train", "--format", "alpaca"],
    ][i % 4];
    const input = `${command[0]} ${command[1]}: ${JSON.stringify(one)}`;
    const ending = await server.run(command);
    note(problems, problemOf(ending, [0, 1]), input);
    if (i % (4 * EVERY) < 4) note(problems, await otherwiseAlone(command, ending), input);
  }
  expectNone(problems, ROWS);
}, 300_000);
