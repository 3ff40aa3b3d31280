import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The files that take longest, first the longest, as `.ci/run` printed their times. By itself vitest begins with the largest files. */
export const LONGEST: readonly string[] = [
  "test/package/first-use.test.ts",
  "src/compute/native/native.test.ts",
  "test/e2e/cli-queue.test.ts",
  "test/torch-engine.test.ts",
  "test/browser/page.test.ts",
  "src/compute/wasm/wasm.test.ts",
  "test/llama-cpp.test.ts",
  "test/faults/random-inputs.test.ts",
  "test/cases/not-the-format.test.ts",
  "test/exported-models.test.ts",
  "test/e2e/cli-endpoint.test.ts",
  "test/native-export.test.ts",
  "test/cases/models.test.ts",
];

/** Begins with the files that take longest, so that no worker is left alone with one of them at the end. */
export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.findIndex((name) => moduleId.replaceAll("\\", "/").endsWith(`/${name}`));
      return at < 0 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}
