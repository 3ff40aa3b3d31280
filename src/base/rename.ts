import { rename } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** Windows refuses to replace a file that another program has open: a virus scanner, an indexer, a reader of ours. Most close it soon. */
const BUSY = ["EPERM", "EACCES", "EBUSY"];
const WAITS_MS = [10, 20, 50, 100, 200, 500, 1000];

/** Renames a file over another. On Windows a refusal is tried again for two seconds; the last one is thrown. */
export async function replaceFile(
  from: string,
  to: string,
  platform: NodeJS.Platform = process.platform,
  renaming: typeof rename = rename,
): Promise<void> {
  const waitsMs = platform === "win32" ? WAITS_MS : [];
  for (const waitMs of waitsMs) {
    try {
      return await renaming(from, to);
    } catch (error) {
      if (!BUSY.includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      await sleep(waitMs);
    }
  }
  await renaming(from, to);
}
