import { spawn } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ROOT, SHARED, temporaryFolder } from "../e2e/support.ts";
import { canRun, done } from "./outcome.ts";
import { dataFolder, type ToyRuns, toyRuns } from "./toy-runs.ts";

// The commands of each case as they were reported, with their own inputs; what they must show is in its expected.txt. The other files of
// this folder test the same and more of its kind without these inputs.

const CASES = join(SHARED, "cases");
const temporary = temporaryFolder("shared-cases");
const hasCases = existsSync(CASES);
let toys: ToyRuns;
/** Finds one relation of each row of case B12, as the reporter's run did: then the numbers are those that were reported. */
let knowing: string;

beforeAll(async () => {
  if (!hasCases) return;
  toys = await toyRuns();
  cpSync(CASES, join(temporary.path, "cases"), { recursive: true });
  const rows = join(temporary.path, "cases", "B12-one-relation-per-row", "joined");
  const known = dataFolder(join(temporary.path, "known"), {
    train: readFileSync(join(rows, "test.jsonl")),
    "labels.json": readFileSync(join(rows, "labels.json")),
  });
  knowing = join(temporary.path, "knowing");
  const set = ["train.epochs=40", "train.learningRate=0.02"].flatMap((value) => ["--set", value]);
  await done(["train", toys.recipe, "--data", known, "--run", knowing, ...set], { env: { CRE_BACKEND: "" } });
}, 120_000);
afterAll(() => temporary.remove());

if (!hasCases) console.warn(`skipped: the reported cases; ${CASES} is absent`);
const hasPython = canRun(["python3", "--version"], "reported cases whose inputs a Python script makes");
const LLAMA2 = join(SHARED, "tokenizers", "llama2", "tokenizer.model");
if (!existsSync(LLAMA2)) console.warn(`skipped: cases B17 and B19 as reported; ${LLAMA2} is absent`);

/** What a case printed, standard output and error in their order. */
async function show(id: string, run: string): Promise<string> {
  const command = readFileSync(join(temporary.path, "cases", id, "cmd.sh"), "utf8");
  const child = spawn("bash", ["-c", `exec 2>&1; cd cases/${id}; set -- ; ${withoutHeader(command)}`], {
    cwd: temporary.path,
    env: {
      ...process.env,
      P: ROOT,
      RUN: run,
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

interface ExpectedOutcome {
  /** Whether what the case needs is here; by default nothing. */
  needs?: boolean;
  /** By default the toy run of a whole model. */
  run?: () => string;
  check: (text: string) => void;
}

const EXPECTED: Record<string, ExpectedOutcome> = {
  "B01-big-integers": {
    check: (text) => {
      expect(text).not.toContain("7311234567890124000");
      expect(text).toContain("7311234567890123457");
      for (const kept of ['"doc":4915338127400017923', '"score":1.0']) expect(text).toContain(kept);
      expect(f1(text, "micro")[0]).toBe("100.0");
    },
  },
  "B03-all-rows-bad-exit-0": {
    check: (text) => {
      expect(text.match(/rc=1/g)).toHaveLength(3);
      // Once a file, and no line of its own for each bad row.
      expect(
        text.match(/^error: .* not one of its \d+ rows can be used, expected JSONL: one object a line/gm),
      ).toHaveLength(3);
      expect(text).not.toContain("bad row, line");
      expect(text).toMatch(/^hint: It is a JSON array, expected one object a line/m);
      expect(text).toMatch(/^hint: It looks like CSV/m);
      expect(text).toContain("iconv -f GB18030");
    },
  },
  "B04-invisible-characters": {
    check: (text) => {
      const lines = text.split("\n");
      const shown = [/U\+200B/, /U\+FEFF/, /the same text after Unicode normalisation/, /full-width, half-width/];
      for (const [i, difference] of shown.entries()) expect(lines[i]).toMatch(difference);
    },
  },
  "B06-output-path-faults": {
    // Only an adapter can be exported as the case asks.
    run: () => toys.loraRun,
    check: (text) => {
      for (const name of [
        "directory",
        "parent is a file",
        "dangling link",
        "export to a dangling link",
        "run is a file",
      ])
        expect(text).toMatch(new RegExp(`^${name}: rc=1$`, "m"));
      const errors = text.match(/^error: \S+:/gm) ?? [];
      expect(
        errors.map((error) =>
          error
            .split("/")
            .slice(-2)
            .join("/")
            .replace(/tmp\.\w+/, "T"),
        ),
      ).toEqual(["T/dir:", "file/x.jsonl:", "gone/x.jsonl:", "gone/x:", "T/file:"]);
      // Not one row was computed.
      expect(text).not.toMatch(/extracted|predictions/);
    },
  },
  "B08-mkdir-hang": {
    check: (text) => expect(text).toMatch(/^error: \/proc\/run-here: cannot be made .*\nrc=1 /),
  },
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
    run: () => knowing,
    check: (text) => {
      expect(f1(text, "micro")).toEqual(["80.0", "80.0", "80.0", "80.0"]);
      // Of the rows with one relation each the first line says what became of the third.
      expect(text.match(/^2 rows, 2 sentences, 3 relations/gm)).toHaveLength(4);
      expect(text.match(/; 1 of 3 rows merged into another$/gm)).toHaveLength(2);
      expect(text).toMatch(/^more than one relation +1 /m);
      expect(text).toMatch(/^note: .*: 1 rows of train were merged into a row of the same sentence/m);
      const [first, second, ...others] = text.split("\n").filter((line) => line.startsWith('{"instruction"'));
      expect(JSON.parse(first).output).toBe("([甲公司],合作,[乙公司]),([甲公司],持股,[乙公司])");
      expect(JSON.parse(second).output).toBe("([丙公司],收购,[丁公司])");
      expect(others).toEqual([]);
    },
  },
  "B13-no-relation-by-another-name": {
    check: (text) => {
      // The program is told by an option or labels.json, and says so: 80.0 is no longer printed without a word.
      const told = 'note: the label "无关系" counts as a relation; if it means no relation, declare it: --no-relation';
      expect(text.split(told)).toHaveLength(3);
      expect(text).toMatch(
        /^note: folder\/labels\.json: the label "unknown" counts as a relation; write "noRelation"/m,
      );
    },
  },
  "B15-brackets-in-entities": { check: (text) => expect(f1(text, "micro")[0]).toBe("50.0") },
  "B16-more-than-four-triples": {
    check: (text) => {
      expect(f1(text, "micro")[0]).toBe("100.0");
      expect(text).toMatch(/exact set.*100\.0 %/);
      expect(text).toMatch(/^! 1 of 1 rows have more than four triples; the paper convention reads four$/m);
      expect(text).not.toContain("not a label");
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
    check: (text) => {
      expect(text).toMatch(/prompt\.maxPromptTokens is 20000, expected at most the 1024 of/);
      expect(text).toContain("train rc=1");
    },
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
      // Of the processor, since other tests run at the same time.
      const [minutes, seconds] = (/^user\t(\d+)m([\d.]+)s/m.exec(text) ?? []).slice(1).map(Number);
      expect(60 * minutes + seconds).toBeLessThan(3);
      expect(text).toContain("1 rows: 1 extracted, 0 bad");
    },
  },
  "B24-hub-name": {
    check: (text) => {
      expect(text).toMatch(/"Qwen\/Qwen2-0\.5B" is a name of the Hugging Face hub: download the model first/);
      expect(text).toContain("a relative path in a recipe or of --set starts at the folder of the recipe's file");
      expect(text).toMatch(/^error: "~\/models\/x": "~" is not the home folder here\.$/m);
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
      expect(text).toMatch(/^1 rows, 1 sentences, 1 relations; 2 of 3 rows left out$/m);
      expect(text).toMatch(/^\{'rows': 1, 'badRows': 2,/m);
      expect(text).toMatch(/report\.html: [1-9]/);
    },
  },
};

// Most of a case is the start of processes, one after another.
vi.setConfig({ maxConcurrency: 2 });

describe.skipIf(!hasCases).concurrent("a reported case", () => {
  for (const [id, { needs = true, run = () => toys.run, check }] of Object.entries(EXPECTED)) {
    it.skipIf(!needs)(`${id} shows what its expected.txt says`, async () => check(await show(id, run())), 200_000);
  }

  it("each has its check here", () => {
    expect(readdirSync(CASES).sort()).toEqual(Object.keys(EXPECTED).sort());
  });
});
