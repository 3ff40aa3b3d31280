import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LONGEST } from "./longest-first.ts";
import { ROOT } from "./source-tree.ts";

describe("the files that begin a test run", () => {
  it("exist", () => {
    expect(LONGEST.filter((name) => !existsSync(join(ROOT, name)))).toEqual([]);
  });
});
