import { bytesOf } from "../../tokenizers/byte-level.ts";
import type { Tokenizer } from "../../tokenizers/tokenizer.ts";

/** The bytes that each token adds to a text, sorted, so that tokens with one beginning are next to each other. */
export interface TokenBytes {
  /** Ids by the order of their bytes; tokens that add nothing are left out. */
  ids: Int32Array;
  bytes: readonly Uint8Array[];
  /** Bytes that each has in common with the one before. */
  shared: Uint16Array;
}

export interface VocabularyBytes {
  /** Of a token behind others. */
  inside: TokenBytes;
  /** Of the first token of a text, where the tokenizer drops its space. */
  first: TokenBytes;
}

/** Tokens that are read between two pauses. */
const CHUNK = 2_000;

/** Reads what the tokens of a vocabulary add to a text. Pauses now and then, so that the event loop is not held. */
export async function readTokenBytes(
  tokenizer: Pick<Tokenizer, "vocabularySize" | "decode" | "pieceOf" | "encode">,
): Promise<VocabularyBytes> {
  // In front of a token, so that its space is kept.
  const anchor = tokenizer.encode("a").slice(-1);
  const before = tokenizer.decode(anchor).length;
  const inside: (Uint8Array | null)[] = [];
  const first: (Uint8Array | null)[] = [];
  for (let id = 0; id < tokenizer.vocabularySize; id++) {
    if (id % CHUNK === CHUNK - 1) await new Promise((done) => setImmediate(done));
    const text = tokenizer.decode([...anchor, id]).slice(before);
    const own = text.includes("\ufffd") ? bytesOfPiece(tokenizer.pieceOf(id)) : Buffer.from(text);
    inside.push(own.length === 0 ? null : own);
    const dropsSpace = own[0] === SPACE && !tokenizer.decode([id]).startsWith(" ");
    first.push(own.length === 0 ? null : dropsSpace ? own.subarray(1) : own);
  }
  return { inside: await sorted(inside), first: await sorted(first) };
}

const SPACE = 0x20;

/** Of a piece whose bytes are no text by themselves. */
function bytesOfPiece(piece: string): Uint8Array {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece);
  return byte ? Uint8Array.of(Number.parseInt(byte[1], 16)) : Uint8Array.from(bytesOf(piece));
}

async function sorted(tokens: readonly (Uint8Array | null)[]): Promise<TokenBytes> {
  const ids = Int32Array.from(tokens.keys()).filter((id) => tokens[id] !== null);
  await new Promise((done) => setImmediate(done));
  ids.sort((a, b) => Buffer.compare(tokens[a] as Uint8Array, tokens[b] as Uint8Array));
  const bytes = Array.from(ids, (id) => tokens[id] as Uint8Array);
  const shared = new Uint16Array(ids.length);
  for (let i = 1; i < ids.length; i++) {
    const most = Math.min(bytes[i].length, bytes[i - 1].length);
    let count = 0;
    while (count < most && bytes[i][count] === bytes[i - 1][count]) count++;
    shared[i] = count;
  }
  return { ids, bytes, shared };
}
