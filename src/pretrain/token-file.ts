import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeAtomic, writeFully } from "../base/files.ts";
import { mixSeed } from "../base/random.ts";
import { encodePlain, type Tokenizer } from "../tokenizers/tokenizer.ts";
import { readDocuments } from "./documents.ts";
import type { PretrainSource } from "./recipe.ts";

/** Documents as token ids, without start and end marks. */
export interface TokenDocuments {
  /** Ids of document d are tokens[ends[d − 1]..ends[d]]. */
  tokens: Uint16Array | Int32Array;
  ends: Uint32Array;
  characters: number;
}

/** A tokenized source: the documents to train on and the held-out ones. */
export interface TokenSource {
  name: string;
  /** Digest of all that determines the ids: text, tokenizer and held-out share. */
  digest: string;
  /** The cache's file. */
  file: string;
  train: TokenDocuments;
  heldOut: TokenDocuments;
}

const MAGIC = "CRETOK1\n";
const HEADER_BYTES = 8 + 64;
const COUNTS = 7;

/**
 * Tokenizes a source, or reads its ids from the cache folder, where the file's name has the digest of all that determines them. A hash of a
 * document's text decides whether it is held out, so a repeated document is never in both parts.
 */
export async function openTokenSource(
  name: string,
  source: PretrainSource,
  tokenizer: Tokenizer,
  tokenizerDigest: string,
  seed: number,
  cacheFolder: string,
  onProgress: (documents: number, characters: number) => void = () => {},
): Promise<TokenSource> {
  const content = source.format === "relations" ? await digestOfDocuments(source) : await digestOfFile(source.path);
  const parts = [MAGIC, content, source.format, tokenizerDigest, source.heldOut, seed];
  const digest = createHash("sha256").update(JSON.stringify(parts)).digest("hex");
  const file = join(cacheFolder, `${name}-${digest.slice(0, 16)}.tokens`);
  if (!existsSync(file)) {
    const made = await tokenize(source, tokenizer, seed, onProgress);
    await saveTokens(file, made);
  }
  const { train, heldOut } = await loadTokens(file, tokenizer.vocabularySize);
  return { name, digest, file, train, heldOut };
}

/** The digest of a file's bytes, in hexadecimal. */
export async function digestOfFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest("hex");
}

async function digestOfDocuments(source: PretrainSource): Promise<string> {
  const hash = createHash("sha256");
  for await (const document of readDocuments(source)) hash.update(`${JSON.stringify(document)}\n`);
  return hash.digest("hex");
}

/** Growing lists of ids and ends. */
function createCollector(wide: boolean) {
  let tokens: Uint16Array | Int32Array = wide ? new Int32Array(1 << 16) : new Uint16Array(1 << 16);
  const ends: number[] = [];
  let used = 0;
  let characters = 0;
  return {
    add(ids: readonly number[], documentCharacters: number) {
      if (used + ids.length > tokens.length) {
        const larger = new (wide ? Int32Array : Uint16Array)(2 * (used + ids.length));
        larger.set(tokens.subarray(0, used));
        tokens = larger;
      }
      tokens.set(ids, used);
      used += ids.length;
      ends.push(used);
      characters += documentCharacters;
    },
    take: (): TokenDocuments => ({ tokens: tokens.subarray(0, used), ends: Uint32Array.from(ends), characters }),
  };
}

async function tokenize(
  source: PretrainSource,
  tokenizer: Tokenizer,
  seed: number,
  onProgress: (documents: number, characters: number) => void,
): Promise<{ train: TokenDocuments; heldOut: TokenDocuments }> {
  const wide = tokenizer.vocabularySize > 0x10000;
  const train = createCollector(wide);
  const heldOut = createCollector(wide);
  let documents = 0;
  let characters = 0;
  for await (const document of readDocuments(source)) {
    const length = characterCount(document);
    const part = isHeldOut(document, source.heldOut, seed) ? heldOut : train;
    part.add(encodePlain(tokenizer, document), length);
    characters += length;
    if (++documents % 64 === 0) onProgress(documents, characters);
  }
  return { train: train.take(), heldOut: heldOut.take() };
}

function isHeldOut(document: string, share: number, seed: number): boolean {
  const hash = createHash("sha256").update(document).digest();
  return mixSeed(seed, hash.readUInt32LE(0)) < share * 2 ** 32;
}

/** Counts code points. */
function characterCount(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

const bytesOf = (array: Uint32Array | Uint16Array | Int32Array) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** Magic, counts as float64, ends, tokens; in the byte order of this machine, since the file is a cache of the run. */
async function saveTokens(file: string, { train, heldOut }: Pick<TokenSource, "train" | "heldOut">): Promise<void> {
  const bytesEach = train.tokens.BYTES_PER_ELEMENT;
  const counts = [train, heldOut].flatMap(({ tokens, ends, characters }) => [tokens.length, ends.length, characters]);
  const header = new Float64Array([bytesEach, ...counts]);
  await writeAtomic(file, async (handle) => {
    await writeFully(handle, Buffer.from(MAGIC.padEnd(HEADER_BYTES - 8 * COUNTS, "\0")));
    await writeFully(handle, new Uint8Array(header.buffer));
    for (const { ends } of [train, heldOut]) await writeFully(handle, bytesOf(ends));
    for (const { tokens } of [train, heldOut]) await writeFully(handle, bytesOf(tokens));
  });
}

/** Reads and checks a file of token ids. */
async function loadTokens(file: string, vocabularySize: number): Promise<Pick<TokenSource, "train" | "heldOut">> {
  const bytes = await readFile(file);
  const damaged = (what: string) =>
    new UserError(`${file}: ${what}, it is damaged.`, { hint: "Remove it: it is made again from the sources." });
  if (bytes.length < HEADER_BYTES || bytes.toString("latin1", 0, 8) !== MAGIC) throw damaged("is no file of tokens");
  // A copy is aligned; a slice of a file need not be.
  const part = (start: number, length: number) => new Uint8Array(bytes.subarray(start, start + length)).buffer;
  const [bytesEach, ...counts] = new Float64Array(part(HEADER_BYTES - 8 * COUNTS, 8 * COUNTS));
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0 && value < 2 ** 32;
  if (!counts.every(isCount) || (bytesEach !== 2 && bytesEach !== 4)) throw damaged("has an impossible header");
  const [trainTokens, trainDocuments, trainCharacters, heldOutTokens, heldOutDocuments, heldOutCharacters] = counts;
  const expected = HEADER_BYTES + 4 * (trainDocuments + heldOutDocuments) + bytesEach * (trainTokens + heldOutTokens);
  if (bytes.length !== expected) throw damaged(`has ${bytes.length} bytes, expected ${expected}`);
  let at = HEADER_BYTES;
  const take = (length: number) => {
    at += length;
    return part(at - length, length);
  };
  const allEnds = [trainDocuments, heldOutDocuments].map((documents) => new Uint32Array(take(4 * documents)));
  const allTokens = [trainTokens, heldOutTokens].map((tokens) =>
    bytesEach === 2 ? new Uint16Array(take(2 * tokens)) : new Int32Array(take(4 * tokens)),
  );
  const [train, heldOut] = [trainCharacters, heldOutCharacters].map((characters, i) => ({
    tokens: allTokens[i],
    ends: allEnds[i],
    characters,
  }));
  for (const { tokens, ends } of [train, heldOut]) {
    if (tokens.some((id) => id < 0 || id >= vocabularySize)) throw damaged("has an id outside the vocabulary");
    const isRising = ends.every((end, d) => end >= (d === 0 ? 0 : ends[d - 1]));
    if (!isRising || (ends.at(-1) ?? 0) !== tokens.length) throw damaged("has document ends out of order");
  }
  return { train, heldOut };
}
