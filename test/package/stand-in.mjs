/** The part of vitest that the contract suite uses, for contract.mjs: tests are registered, then `run` runs them one after the other. */
import { createHash } from "node:crypto";
import { appendFileSync, writeFileSync } from "node:fs";
import { chai, JestAsymmetricMatchers, JestChaiExpect, JestExtend } from "@vitest/expect";

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

export const expect = (value, message) => chai.expect(value, message);
Object.assign(expect, chai.expect);
expect.fail = (message) => {
  throw new Error(message);
};

const tests = [];
const endings = [];
let path = [];
let isSkipped = false;

/** `%s`, `%i`, `%d` and `$name` of a title. */
function titleOf(title, row) {
  let next = 0;
  return title
    .replace(/%[sid]/g, () => String(row[next++]))
    .replace(/\$(\w+)/g, (whole, name) => String(row[0]?.[name] ?? whole));
}

const rowsOf = (cases) => cases.map((one) => (Array.isArray(one) ? one : [one]));

/** Calls of describe and it have the same variants. */
function withVariants(register) {
  const all = (title, ...rest) => register(title, rest, false);
  all.skip = (title, ...rest) => register(title, rest, true);
  all.skipIf = (condition) => (condition ? all.skip : all);
  all.each =
    (cases) =>
    (title, ...rest) => {
      for (const row of rowsOf(cases)) {
        const body = rest.find((one) => typeof one === "function");
        register(titleOf(title, row), [() => body(...row)], false);
      }
    };
  return all;
}

export const describe = withVariants((title, rest, skip) => {
  const body = rest.find((one) => typeof one === "function");
  const [before, wasSkipped] = [path, isSkipped];
  path = [...path, title];
  isSkipped ||= skip;
  body?.();
  [path, isSkipped] = [before, wasSkipped];
});

export const it = withVariants((title, rest, skip) => {
  const body = rest.find((one) => typeof one === "function");
  tests.push({ name: [...path, title].join(" > "), body, skip: skip || isSkipped || body === undefined });
});

export const afterAll = (body) => endings.push(body);

/**
 * Runs the tests whose name has one of the texts, which commas separate; returns the exit code. Each test adds a line to the file `report`:
 * its outcome, the digest that `taken` returns after it, its name.
 */
export async function run(only, { report, taken }) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const chosen = tests.filter(({ name }) => only.split(",").some((text) => name.includes(text)));
  const whole = createHash("sha256");
  let values = 0;
  const write = (line) => {
    whole.update(line);
    appendFileSync(report, line);
  };
  writeFileSync(report, "");
  for (const test of chosen) {
    const outcome = await outcomeOf(test);
    counts[outcome]++;
    const read = await taken();
    values += read.values;
    write(`${outcome} ${read.digest} ${test.name}\n`);
    const done = counts.passed + counts.failed + counts.skipped;
    if (done % 10 === 0) console.log(`${done} of ${chosen.length}, ${counts.failed} failed …`);
  }
  for (const ending of endings) await ending();
  const digest = whole.digest("hex");
  appendFileSync(report, `${digest} of ${values} values\n`);
  console.log(`digest of ${values} values: ${digest}`);
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed > 0 || counts.passed === 0 ? 1 : 0;
}

/** Runs a test; prints its name when it is skipped, and its error when it fails. */
async function outcomeOf({ name, body, skip }) {
  if (skip) {
    console.log(`skipped: ${name}`);
    return "skipped";
  }
  try {
    await body();
    return "passed";
  } catch (error) {
    console.log(`failed: ${name}\n${error?.stack ?? error}`);
    return "failed";
  }
}
