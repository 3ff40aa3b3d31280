import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { loadAddonFile } from "./addon-file.ts";
import { addonFile, builtLevels, cpuAddonFile, runnableLevels } from "./levels.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-addon-"));
afterAll(() => rmSync(folder, { recursive: true }));

function problemOf(file: string): string {
  try {
    loadAddonFile(file, "Engine" as never);
    return "none";
  } catch (error) {
    if (error instanceof UserError) return error.message.replace(`${file}: `, "");
    throw error;
  }
}

describe("an addon file", () => {
  const levels = builtLevels();
  const file = join(folder, "x.node");

  it("that is no library is refused by name", () => {
    expect(problemOf(file)).toMatch(/^cannot be (read|loaded)/);
    for (const content of ["", "no library", "x".repeat(5000)]) {
      writeFileSync(file, content);
      expect(problemOf(file)).toMatch(
        /^(has \d+ bytes|is no 64-bit ELF library|cannot be loaded .*), expected an addon/,
      );
    }
  });

  it.skipIf(levels.length === 0 || process.platform !== "linux")(
    "that is cut short anywhere is refused by name",
    () => {
      const whole = readFileSync(addonFile(levels[0]));
      for (const share of [0.0001, 0.01, 0.3, 0.7, 0.99, 1 - 1 / whole.length]) {
        writeFileSync(file, whole);
        truncateSync(file, Math.floor(share * whole.length));
        expect(problemOf(file)).toMatch(
          /^(is cut short: it has \d+ bytes, expected \d+|has \d+ bytes), expected an addon/,
        );
      }
      whole.writeUInt16LE(whole.readUInt16LE(18) === 62 ? 183 : 62, 18);
      writeFileSync(file, whole);
      expect(problemOf(file)).toMatch(/^is not built for (x64|arm64), expected an addon/);
    },
  );

  it.skipIf(levels.length === 0)("of another kind is refused by name", () => {
    expect(problemOf(cpuAddonFile())).toBe('has no "Engine", expected an addon of this program.');
    copyFileSync(addonFile(levels[0]), cpuAddonFile(folder));
    expect(() => runnableLevels(folder)).toThrow('cre-cpu.node: has no "supportedLevels"');
  });
});
