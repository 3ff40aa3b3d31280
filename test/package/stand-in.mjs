/** The part of vitest that the contract suite uses, for contract.mjs: tests are registered, then `run` runs them one after the other. */
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

/** Runs the tests whose name has one of the texts, which commas separate; returns the exit code. */
export async function run(only) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const chosen = tests.filter(({ name }) => only.split(",").some((text) => name.includes(text)));
  for (const { name, body, skip } of chosen) {
    if (skip) {
      counts.skipped++;
      console.log(`skipped: ${name}`);
      continue;
    }
    try {
      await body();
      counts.passed++;
    } catch (error) {
      counts.failed++;
      console.log(`failed: ${name}\n${error?.stack ?? error}`);
    }
    const done = counts.passed + counts.failed + counts.skipped;
    if (done % 10 === 0) console.log(`${done} of ${chosen.length}, ${counts.failed} failed …`);
  }
  for (const ending of endings) await ending();
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed > 0 || counts.passed === 0 ? 1 : 0;
}
