import { createHash } from "node:crypto";
import type { Backend, Values } from "../backend.ts";
import { openReference } from "../reference/backend.ts";

// Digests of what backends compute, for comparing two runs bit by bit: test/package/contract.mjs writes one for each test.

/** What tests have read since the last call. */
export interface ReadRecord {
  reads: number;
  values: number;
  /** SHA-256 over the reads in the order of their calls, each with its number of values and its bits. */
  digest: string;
}

interface Read {
  values: number;
  digest: Buffer;
}

const REJECTED: Read = { values: 0, digest: Buffer.from("rejected") };

function digestOf(values: Values): Read {
  const hash = createHash("sha256").update(`${values.constructor.name} ${values.length}\n`);
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { values: values.length, digest: hash.update(bytes).digest() };
}

/**
 * From now on keeps a digest of every value that is read from a backend other than the reference; the function that it returns takes them.
 * Reads are recorded at their call: which of two open reads ends first makes no difference.
 */
export function recordReads(): () => Promise<ReadRecord> {
  const reference = openReference();
  const shared = Object.getPrototypeOf(reference) as Pick<Backend, "read" | "readWeight">;
  let reads: Promise<Read>[] = [];
  const recorded = <T extends unknown[]>(read: (this: Backend, ...given: T) => Promise<Values>) =>
    function (this: Backend, ...given: T): Promise<Values> {
      const values = read.apply(this, given);
      if (this.name !== reference.name) reads.push(values.then(digestOf, () => REJECTED));
      return values;
    };
  shared.read = recorded(shared.read);
  shared.readWeight = recorded(shared.readWeight);
  return async () => {
    const ended = await Promise.all(reads);
    reads = [];
    const hash = createHash("sha256");
    for (const { digest } of ended) hash.update(digest);
    return { reads: ended.length, values: ended.reduce((sum, one) => sum + one.values, 0), digest: hash.digest("hex") };
  };
}
