import { spawn } from "node:child_process";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT, SHARED, temporaryFolder } from "../e2e/support.ts";
import { canRun } from "./outcome.ts";
import { type ToyRuns, toyRuns } from "./toy-runs.ts";

// CRE_LONG=1 npx vitest run test/cases/shared-cases.test.ts
const ENABLED = process.env.CRE_LONG === "1";
if (!ENABLED)
  console.warn(
    "skipped: the reported cases take a minute and one of them is not mended to the letter; set CRE_LONG=1 to run them",
  );

// The commands of each case as they were reported, with their own inputs; what they must show is in its expected.txt. The other files of
// this folder test the same and more of its kind without these inputs.

const CASES = join(SHARED, "cases");
const temporary = temporaryFolder("shared-cases");
let toys: ToyRuns;

beforeAll(async () => {
  toys = await toyRuns();
  if (existsSync(CASES)) cpSync(CASES, join(temporary.path, "cases"), { recursive: true });
}, 120_000);
afterAll(() => temporary.remove());

const hasCases = existsSync(CASES);
if (!hasCases) console.warn(`skipped: the reported cases; ${CASES} is absent`);
const hasPython = canRun(["python3", "--version"], "reported cases whose inputs a Python script makes");
const LLAMA2 = join(SHARED, "tokenizers", "llama2", "tokenizer.model");
if (!existsSync(LLAMA2)) console.warn(`skipped: cases B17 and B19 as reported; ${LLAMA2} is absent`);

/** What a case printed, standard output and error in their order. */
async function show(id: string): Promise<string> {
  const command = readFileSync(join(temporary.path, "cases", id, "cmd.sh"), "utf8");
  const child = spawn("bash", ["-c", `exec 2>&1; cd cases/${id}; set -- ; ${withoutHeader(command)}`], {
    cwd: temporary.path,
    env: {
      ...process.env,
      P: ROOT,
      RUN: toys.run,
      TOK: join(SHARED, "tokenizers"),
      TMPDIR: temporary.path,
      NO_COLOR: "1",
    },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  // The whole group: what hangs is a child of the script.
  const timer = setTimeout(() => process.kill(-(child.pid as number), "SIGKILL"), 150_000);
  await new Promise((resolve) => child.on("close", resolve));
  clearTimeout(timer);
  expect(text).not.toMatch(/This is a fault of cre-llm/);
  return text;
}

/** The first lines of a script go to its folder, which is the copy here, and set P, CRE, RUN and T. */
function withoutHeader(command: string): string {
  return command.replace('cd "$(dirname "$0")"; ', "");
}

const f1 = (text: string, convention: string) =>
  Array.from(text.matchAll(new RegExp(`^${convention} .*?([\\d.]+) +([\\d.]+) +([\\d.]+)`, "gm")), (match) => match[3]);

const EXPECTED: Record<string, { needs?: boolean; check: (text: string) => void }> = {
  "B01-big-integers": {
    check: (text) => {
      expect(text).not.toContain("7311234567890124000");
      expect(text).toContain("7311234567890123457");
      expect(f1(text, "micro")[0]).toBe("100.0");
    },
  },
  "B03-all-rows-bad-exit-0": {
    check: (text) => {
      expect(text.match(/rc=1/g)).toHaveLength(3);
      expect(text).toMatch(/array/i);
      expect(text).toContain("iconv -f GB18030");
    },
  },
  "B04-invisible-characters": {
    check: (text) => {
      for (const shown of [/U\+200B|\\u200b/i, /U\+FEFF|\\ufeff/i, /NFC|NFD|U\+0301|normali/i, /width|NFKC|normali/i])
        expect(text).toMatch(shown);
    },
  },
  "B06-output-path-faults": {
    check: (text) => {
      for (const name of [
        "directory",
        "parent is a file",
        "dangling link",
        "export to a dangling link",
        "run is a file",
      ])
        expect(text).toContain(`${name}: rc=1`);
    },
  },
  "B08-mkdir-hang": { check: (text) => expect(text).toContain("rc=1 ") },
  "B09-special-files-replaced": {
    check: (text) => {
      expect(text).toMatch(/^p.* fifo$/m);
      expect(text).toMatch(/^l.* link\.json -> real\.json$/m);
      if (process.getuid?.() === 0) expect(text).toMatch(/^c.* null$/m);
      expect(text).not.toContain("\nkeep\n");
      expect(text).toContain(" <- what the reader of the FIFO got");
    },
  },
  "B10-no-split-exit-0": {
    check: (text) => {
      for (const shown of ["rc=1", "train.json", "train.jsonl"]) expect(text).toContain(shown);
    },
  },
  "B12-one-relation-per-row": {
    check: (text) => {
      const micro = f1(text, "micro");
      expect(micro).toHaveLength(4);
      expect(new Set(micro).size, micro.join(", ")).toBe(1);
      expect(text).toMatch(/more than one\D*1\b/);
    },
  },
  "B13-no-relation-by-another-name": {
    check: (text) => expect(text).toMatch(/无关系.*no relation|no relation.*无关系/i),
  },
  "B15-brackets-in-entities": { check: (text) => expect(f1(text, "micro")[0]).toBe("50.0") },
  "B16-more-than-four-triples": {
    check: (text) => {
      expect(f1(text, "micro")[0]).toBe("100.0");
      expect(text).toMatch(/exact set.*100\.0 %/);
    },
  },
  "B17-label-answers-checked-late": {
    needs: existsSync(LLAMA2),
    check: (text) => {
      expect(text).toContain("too long, no validation: rc=1");
      expect(text).toContain("too long, with validation: rc=1");
      expect(text).toContain("labels.json");
      expect(text).not.toContain("training rows");
    },
  },
  "B18-beyond-the-context": {
    check: (text) => expect(text).toMatch(/maxPromptTokens[^\n]*1,?024|1,?024[^\n]*maxPromptTokens/),
  },
  "B19-added-tokens-ignored": {
    needs: hasPython && existsSync(LLAMA2),
    check: (text) => {
      if (text.includes("error:")) expect(text).toContain("added_tokens.json");
      else for (const id of ["32000", "32001", "rc=0"]) expect(text).toContain(id);
    },
  },
  "B21-lfs-pointer-weights": {
    check: (text) => {
      for (const shown of ["Git LFS pointer", "git lfs pull", "rc=1"]) expect(text).toContain(shown);
    },
  },
  "B23-between-quadratic": {
    needs: hasPython,
    check: (text) => {
      const [minutes, seconds] = (/^real\t(\d+)m([\d.]+)s/m.exec(text) ?? []).slice(1).map(Number);
      expect(60 * minutes + seconds).toBeLessThan(15);
    },
  },
  "B24-hub-name": {
    check: (text) => {
      expect(text).toMatch(/download/i);
      expect(text).toMatch(/"~"|'~'|~ is|home/);
    },
  },
  "B26-dev-split": {
    check: (text) => {
      for (const shown of ["dev.jsonl", "valid.jsonl", "not empty"]) expect(text).toContain(shown);
      expect(text).not.toContain("already holds a run");
    },
  },
  "B27-skipped-rows-not-in-report": {
    needs: hasPython,
    check: (text) => {
      expect(text).toMatch(/left out/);
      expect(text).not.toContain("report.html: 0");
    },
  },
};

describe.skipIf(!hasCases || !ENABLED)("a reported case", () => {
  for (const [id, { needs = true, check }] of Object.entries(EXPECTED)) {
    it.skipIf(!needs)(`${id} shows what its expected.txt says`, async () => check(await show(id)), 200_000);
  }
});
