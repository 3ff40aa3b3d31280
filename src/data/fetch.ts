import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { fileSizeBytes, writeFileAtomic } from "../base/files.ts";

export type PublishedDataset = "finre" | "sanwen";

/** A published file: its path in the repository, its name in our folder, its exact content. */
interface PublishedFile {
  path: string;
  name: string;
  sizeBytes: number;
  sha256: string;
}

export interface FetchedFile {
  name: string;
  sizeBytes: number;
  /** Where the content came from: "kept" means the right file was already there. */
  origin: "downloaded" | "copied" | "kept";
}

/** The state of thunlp/Chinese_NRE that the checksums belong to. */
const COMMIT = "2cd47e6dc1b95e8ca3e93b5b8567666c37c5d654";
const BASE_URL = `https://raw.githubusercontent.com/thunlp/Chinese_NRE/${COMMIT}`;
const TIMEOUT_MS = 120_000;

const LICENSE_FILE: PublishedFile = {
  path: "LICENSE",
  name: "LICENSE",
  sizeBytes: 1063,
  sha256: "e4bab5047c1a36cf978ed1fb564531a7383c4b28a14e6da27c773c5fce8cb49c",
};

const PUBLISHED: Record<PublishedDataset, readonly PublishedFile[]> = {
  finre: [
    publishedFile("FinRE", "relation2id.txt", 527, "c03715baabbb965018bd0b6e8fcd2c6d59b7c8a4260d4d73ae5a95a802109b58"),
    publishedFile("FinRE", "train.txt", 2502638, "1dc75af255bb2da7e3c01952f1b97b20fe3f4b5f06f307d9d265843345898267"),
    publishedFile("FinRE", "valid.txt", 278652, "94842290437ca421cf93b544a4caf8f3e9355ffe754ac04780a072dcb984c72c"),
    publishedFile("FinRE", "test.txt", 698379, "f8bfff9691ccdea0fd4e0fcdb38c3cf7c41d75a1f9e5e3e84818e87370258151"),
    LICENSE_FILE,
  ],
  sanwen: [
    publishedFile("SanWen", "relation2id.txt", 113, "7e9e0208eec6ab4bc37bc6760b096c38d8f96daf2a7d5ae0aa01b4f103b0d3e3"),
    publishedFile("SanWen", "train.txt", 2087902, "1b50540a3ef585956fe5006724e0e573a110863e0858fefb6e6a7a1f46369ecc"),
    publishedFile("SanWen", "valid.txt", 226962, "64a46712fff04b8b6435d033dfb79d08bb7644289c5e9258e13d2f50d03650bc"),
    publishedFile("SanWen", "test.txt", 271387, "3e4ae94f14be46fc3e60eec432160b0a5d5427844c0bcd1ec061a33d80b383ef"),
    LICENSE_FILE,
  ],
};

function publishedFile(folder: string, name: string, sizeBytes: number, sha256: string): PublishedFile {
  return { path: `data/${folder}/${name}`, name, sizeBytes, sha256 };
}

/**
 * Brings a published dataset into the folder `target`, from its repository or from a folder of copies (`from`: the files themselves or a
 * clone of the repository). Every file is checked before the first one is written. Throws a UserError for a file that is missing, is not
 * the published one, or would replace a different file in `target`.
 */
export async function fetchDataset(
  name: PublishedDataset,
  target: string,
  options: { from?: string; baseUrl?: string; onProgress?: (file: FetchedFile) => void } = {},
): Promise<FetchedFile[]> {
  const ready: { file: PublishedFile; content: Uint8Array | null; origin: FetchedFile["origin"] }[] = [];
  for (const file of PUBLISHED[name]) {
    if (await isAlreadyThere(join(target, file.name), file)) {
      ready.push({ file, content: null, origin: "kept" });
    } else if (options.from !== undefined) {
      ready.push({ file, content: await readCopy(options.from, file), origin: "copied" });
    } else {
      const url = `${options.baseUrl ?? BASE_URL}/${file.path}`;
      ready.push({ file, content: await download(url, file), origin: "downloaded" });
    }
  }
  const fetched: FetchedFile[] = [];
  for (const { file, content, origin } of ready) {
    if (content !== null) await writeFileAtomic(join(target, file.name), content);
    fetched.push({ name: file.name, sizeBytes: file.sizeBytes, origin });
    options.onProgress?.(fetched[fetched.length - 1]);
  }
  return fetched;
}

async function isAlreadyThere(path: string, file: PublishedFile): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  if (info === null) return false;
  if (info.isFile() && info.size === file.sizeBytes && sha256Of(await readFile(path)) === file.sha256) return true;
  throw new UserError(`${path}: is there and is not the published file (sha256 ${file.sha256}); it is left as it is.`, {
    hint: "Remove it, or fetch into another folder.",
  });
}

async function readCopy(directory: string, file: PublishedFile): Promise<Uint8Array> {
  const inClone = join(directory, file.path);
  const path = (await stat(inClone).catch(() => null)) === null ? join(directory, file.name) : inClone;
  const sizeBytes = await fileSizeBytes(path, "a copy of the published file");
  if (sizeBytes !== file.sizeBytes) {
    throw new UserError(`${path}: has ${sizeBytes} bytes, expected the ${file.sizeBytes} of the published file.`, {
      hint: "Were its line ends changed (git core.autocrlf)?",
    });
  }
  return checked(await readFile(path), path, file);
}

async function download(url: string, file: PublishedFile): Promise<Uint8Array> {
  const hint = "Without a network: copy the files to this machine and pass their folder with --from.";
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      throw new UserError(`${url}: the server answered ${response.status} ${response.statusText}, expected 200.`, {
        hint,
      });
    }
    for await (const part of response.body) {
      sizeBytes += part.length;
      if (sizeBytes > file.sizeBytes) {
        throw new UserError(`${url}: sent more than the ${file.sizeBytes} bytes of the published file.`, { hint });
      }
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    // The message of fetch is only "fetch failed"; its cause has the reason, for a name with several addresses only as a code.
    const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
    const why = cause === undefined ? messageOf(error) : messageOf(cause) || cause.code;
    throw new UserError(`${url}: cannot be downloaded (${why}).`, { hint });
  }
  return checked(Buffer.concat(parts), url, file);
}

function checked(content: Uint8Array, where: string, file: PublishedFile): Uint8Array {
  const got = sha256Of(content);
  if (got === file.sha256) return content;
  throw new UserError(`${where}: sha256 is ${got}, expected ${file.sha256}; nothing was written.`, {
    hint: "The file is damaged or is another edition of the data.",
  });
}

function sha256Of(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}
