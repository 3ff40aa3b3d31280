import { defineConfig } from "vitest/config";
import LongestFirst from "./test/longest-first.ts";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: "forks",
    sequence: { sequencer: LongestFirst },
    // Tests read messages without colours, also where CI or FORCE_COLOR asks for them.
    env: { NO_COLOR: "1" },
    reporters: ["default", "./test/count-reporter.ts"],
  },
});
