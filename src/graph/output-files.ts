import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeFully } from "../base/files.ts";
import { makeFolder, namingFile, syncDirectory } from "../base/output.ts";

/** A text file that is written in parts; `write` waits for the disk when much is held. */
export interface OutputText {
  write(text: string): void;
  /** Writes what is held once it is much; call it between the parts. */
  flush(): Promise<void>;
}

/** Files of a folder that get their names together. */
export interface OutputFiles {
  /** A new file by its path in the folder. */
  file(name: string): Promise<OutputText>;
  /** Gives all files their names; returns these. */
  finish(): Promise<string[]>;
  /** Removes what was written. */
  discard(): Promise<void>;
}

const HELD_UNITS = 1 << 18;

/** Writes files of a folder under other names until all are whole. */
export function outputFiles(folder: string): OutputFiles {
  const files: { name: string; part: string; path: string; all(): Promise<void>; close(): Promise<void> }[] = [];
  return {
    async file(name) {
      const path = join(folder, name);
      const part = `${path}.part`;
      await makeFolder(dirname(path));
      const handle = await namingFile(path, () => open(part, "w"));
      let held: string[] = [];
      let units = 0;
      const all = async () => {
        const text = held.join("");
        held = [];
        units = 0;
        if (text !== "") await namingFile(path, () => writeFully(handle, Buffer.from(text)));
      };
      const close = async () => {
        await handle.close().catch(() => {});
      };
      files.push({ name, part, path, all, close });
      return {
        write(text) {
          held.push(text);
          units += text.length;
        },
        async flush() {
          if (units >= HELD_UNITS) await all();
        },
      };
    },
    async finish() {
      for (const { all, close } of files) {
        await all();
        await close();
      }
      for (const { part, path } of files) await namingFile(path, () => rename(part, path));
      for (const directory of new Set(files.map(({ path }) => dirname(path)))) await syncDirectory(directory);
      return files.map(({ name }) => name);
    },
    async discard() {
      for (const { part, close } of files) {
        await close();
        await rm(part, { force: true });
      }
    },
  };
}
