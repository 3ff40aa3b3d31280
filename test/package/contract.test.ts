import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { nativeStatus } from "../../src/compute/native/open.ts";
import { ROOT } from "../e2e/support.ts";
import { ended } from "./installed.ts";

// contract.mjs, which runs the contract suite under another Node, tried with this one.

const NAME = "own-test";
const folder = join(ROOT, "build", `contract-${NAME}`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const status = nativeStatus();

it.skipIf(!status.available)(
  `contract.mjs reports each test with a digest of its values, the same each time${status.available ? "" : `: ${status.reason}`}`,
  async () => {
    const script = join(ROOT, "test", "package", "contract.mjs");
    const words = ["--addons", join(ROOT, "build", "native"), "--only", "values given are copied", "--name", NAME];
    const { code, stdout, stderr } = await ended(process.execPath, [script, ...words], { cwd: ROOT });
    expect(code, stderr + stdout).toBe(0);
    const count = /^(\d+) passed, 0 failed, 0 skipped$/m.exec(stdout)?.[1];
    const report = readFileSync(join(folder, "report.txt"), "utf8");
    const lines = report.trimEnd().split("\n");
    expect(lines).toHaveLength(Number(count) + 1);
    for (const line of lines.slice(0, -1))
      expect(line).toMatch(/^passed [0-9a-f]{64} native > \S+, float32 > rules > /);
    expect(lines.at(-1)).toMatch(/^[0-9a-f]{64} of [1-9]\d* values$/);

    const again = await ended(process.execPath, ["run.js"], {
      cwd: folder,
      env: { CRE_ONLY: "values given are copied" },
    });
    expect(again.code, again.stderr).toBe(0);
    expect(readFileSync(join(folder, "report.txt"), "utf8")).toBe(report);
  },
  180_000,
);

it.skipIf(!status.available)(
  "contract.mjs fails when Node ends early, whatever its code says",
  async () => {
    const script = join(ROOT, "test", "package", "contract.mjs");
    const words = ["--addons", join(ROOT, "build", "native"), "--name", NAME, "--", process.execPath, "--version"];
    const { code, stdout, stderr } = await ended(process.execPath, [script, ...words], { cwd: ROOT });
    expect({ code, stdout }, stderr).toEqual({
      code: 1,
      stdout: expect.stringContaining("ended before the last test (code 0)."),
    });
  },
  180_000,
);
