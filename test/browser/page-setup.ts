import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, onTestFailed } from "vitest";
import { type Serving, serving } from "../e2e/serving.ts";
import { buildCli, temporaryFolder } from "../e2e/support.ts";
import { buildPage, openBrowser, TIMEOUT_MS, type Watched, writeDemoRun } from "./chromium.ts";

/** What the steps of a file share; there when the first one begins. */
export interface PageSetup {
  server: Serving;
  browser: Watched;
  /** A path in a folder of the file's own. */
  file(name: string): string;
}

/**
 * Serves the embedded demonstration run and opens a browser for the steps of the `describe` that calls it. A step needs what the one before it
 * left on the page: after one that failed, the others are skipped instead of each waiting for what never comes.
 */
export function usePage(name: string): PageSetup {
  const temporary = temporaryFolder(name);
  const setup: Partial<PageSetup> = { file: (path) => join(temporary.path, path) };
  let failed: string | null = null;
  beforeAll(async () => {
    await buildCli();
    buildPage();
    const run = writeDemoRun(temporary.path);
    setup.server = await serving([run, "--work", join(temporary.path, "work")], { CRE_BACKEND: "" });
    setup.browser = await openBrowser();
  }, TIMEOUT_MS);
  beforeEach(({ skip, task }) => {
    if (failed !== null) skip(`“${failed}” failed`);
    onTestFailed(() => {
      failed ??= task.name;
    });
  });
  afterAll(async () => {
    await setup.browser?.close();
    await setup.server?.end();
    temporary.remove();
  });
  return setup as PageSetup;
}
