import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../src/compute/backend.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { temporaryFolder } from "./e2e/support.ts";
import { worstOf } from "./golden/backends.ts";
import { elsewhereLogits, readElsewhere, theirLogits } from "./golden/elsewhere.ts";

// The configurations of test/golden/peft-elsewhere, made anew by the PEFT that is installed: a later one may save or compute them otherwise.

const PYTHON = process.env.CRE_PYTHON || "python3";
const LIBRARIES = "import torch, transformers, peft";
const found = spawnSync(PYTHON, ["-c", LIBRARIES], { encoding: "utf8" });
const installed = found.status === 0;
if (!installed) {
  const reason = found.error?.message ?? found.stderr.trim().split("\n").at(-1);
  console.warn(
    `peft-elsewhere.test.ts: skipped, "${LIBRARIES}" fails in ${PYTHON} (${reason}); CRE_PYTHON names another`,
  );
}

const temporary = temporaryFolder("peft-elsewhere");
const folder = join(temporary.path, "made");
const old = readElsewhere(join(import.meta.dirname, "golden", "peft-elsewhere"));
let backend: Backend;

describe.skipIf(!installed)("adapters that the installed PEFT makes", () => {
  beforeAll(() => {
    backend = openReference({ precision: "float32" });
    const script = join(import.meta.dirname, "golden", "make", "peft_elsewhere.py");
    const { status, stderr } = spawnSync(PYTHON, ["-P", script, folder], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  }, 300_000);
  afterAll(async () => {
    await backend.close();
    temporary.remove();
  });

  it("give the logits of PEFT, or are refused", { timeout: 300_000 }, async () => {
    const made = readElsewhere(folder);
    expect(made.cases).toEqual(old.cases);
    for (const [name, { base, read }] of Object.entries(made.cases)) {
      const ours = elsewhereLogits(backend, join(folder, name), base, made.sequences);
      if (!read) await expect(ours, name).rejects.toThrow(/^[^\n]*$/);
      else expect(worstOf(await ours, await theirLogits(folder, name)).difference, name).toBeLessThan(1e-4);
    }
  });
});
