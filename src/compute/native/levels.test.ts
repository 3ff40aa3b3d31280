import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { addonFile, builtLevels, levelError, reasonAgainst, runnableLevels } from "./levels.ts";

it("lists the levels whose addon exists", () => {
  const folder = mkdtempSync(join(tmpdir(), "levels-"));
  expect(builtLevels(folder)).toEqual([]);
  for (const level of ["avx512", "portable"]) writeFileSync(addonFile(level, folder), "");
  expect(builtLevels(folder)).toEqual(["portable", "avx512"]);
  expect(() => runnableLevels(folder)).toThrow(/cre-cpu\.node/);
  rmSync(folder, { recursive: true });
});

it("says why a level cannot be used", () => {
  expect(reasonAgainst("avx2", ["portable", "avx2"], ["avx2"])).toBeNull();
  expect(reasonAgainst("portable", ["portable", "avx2"], ["avx2"])).toBe("it is not built (built: avx2)");
  expect(reasonAgainst("avx2", ["portable", "avx2"], [])).toBe("it is not built (built: none)");
  expect(reasonAgainst("amx", ["portable", "avx2"], ["amx"])).toBe("this processor runs only portable, avx2");
});

it("says how to build a level that is asked for and not built", () => {
  const error = levelError("CRE_CPU", "portable", ["portable", "avx2"], ["avx2"]);
  expect(error.message).toBe('CRE_CPU is "portable", but that level is not built; built: avx2.');
  expect(error.hint).toBe("`CRE_LEVELS=all npm run build` builds every level.");
  const other = levelError("level", "amx", ["portable", "avx2"], ["avx2"]);
  expect(other.message).toBe('level is "amx", but this machine runs only: portable, avx2.');
  expect(other.hint).toBe("Leave it out to get the best level.");
});
