import { describe } from "vitest";
import { backendContract, type ContractOptions } from "../contract/backend.contract.ts";
import { precisionsOf, skipOtherLevels } from "./levels.contract.ts";
import { nativeStatus, openNative } from "./open.ts";

// The contract suite on every instruction level and precision of this machine. Outputs are poisoned with NaN, so that what a kernel
// leaves out shows.

const status = nativeStatus();

describe.skipIf(!status.available)("native", () => {
  for (const level of status.levels) {
    for (const precision of precisionsOf(level)) {
      const openWithThreads = (threads: number) => openNative({ level, precision, threads, poison: true });
      const options: ContractOptions = {
        tolerance: precision === "float32" ? 1e-5 : 2e-2,
        lossTolerance: precision === "float32" ? 1e-4 : 1e-2,
        openWithThreads,
      };
      describe(`${level}, ${precision}`, () => backendContract(() => openWithThreads(2), options));
    }
  }
});

skipOtherLevels("native contract");
