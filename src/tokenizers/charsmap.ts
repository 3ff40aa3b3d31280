import { UserError } from "../base/errors.ts";
import { decodeStrict } from "./utf8.ts";

const MAX_KEY_BYTES = 256;
const MAX_REPLACEMENT_BYTES = 1024;
const MAX_NODES = 1 << 19;
const MAX_RULES = 1 << 18;

/** Replacement rules of a normaliser: `from[i]` becomes `to[i]`. */
export interface NormalizationRules {
  from: string[];
  to: string[];
}

/**
 * Reads the `precompiled_charsmap` of a SentencePiece model: a 32-bit size, a double-array trie of that size, and the replacements, each
 * ended by a zero byte (layout: SentencePiece normalizer.h; the units of the trie: darts-clone, darts.h). Throws a UserError when an offset
 * points outside the blob or the rules exceed the bounds.
 */
export function readCharsmap(blob: Uint8Array, name: string): NormalizationRules {
  const broken = (what: string) => new UserError(`${name}: the normalisation rules cannot be read: ${what}.`);
  if (blob.length < 8) throw broken(`${blob.length} bytes, expected at least 8`);
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const trieBytes = view.getUint32(0, true);
  if (trieBytes % 4 !== 0 || trieBytes === 0 || trieBytes > blob.length - 4) {
    throw broken(`the trie has ${trieBytes} bytes, expected a multiple of 4 within the ${blob.length - 4} that follow`);
  }
  const units = new Int32Array(trieBytes / 4);
  for (let i = 0; i < units.length; i++) units[i] = view.getInt32(4 + i * 4, true);
  const replacements = blob.subarray(4 + trieBytes);

  const replacementAt = (start: number): string => {
    if (start >= replacements.length) {
      throw broken(`a rule points to byte ${start} of the ${replacements.length} bytes of replacements`);
    }
    const length = replacements.subarray(start, start + MAX_REPLACEMENT_BYTES + 1).indexOf(0);
    if (length < 0) {
      throw broken(`the replacement at byte ${start} has no end within ${MAX_REPLACEMENT_BYTES} bytes`);
    }
    const text = decodeStrict(replacements, start, start + length);
    if (text === null) throw broken(`the replacement at byte ${start} is not UTF-8`);
    return text;
  };

  const children = childrenByPosition(units);
  const rules: NormalizationRules = { from: [], to: [] };
  const key = new Uint8Array(MAX_KEY_BYTES);
  let visited = 0;
  const walk = (position: number, length: number): void => {
    if (++visited > MAX_NODES) throw broken(`the trie has more than ${MAX_NODES} nodes`);
    for (const child of children.get(position) ?? []) {
      if (length === MAX_KEY_BYTES) throw broken(`a rule is longer than ${MAX_KEY_BYTES} bytes`);
      key[length] = child ^ position;
      const next = child ^ offsetOf(units[child]);
      if ((units[child] & 0x100) !== 0) addRule(length + 1, next);
      walk(next, length + 1);
    }
  };
  const addRule = (length: number, position: number): void => {
    if (position >= units.length) throw broken(`a value lies at unit ${position} of ${units.length}`);
    const from = decodeStrict(key, 0, length);
    if (from === null) throw broken(`rule ${rules.from.length} does not start from whole UTF-8 characters`);
    if (rules.from.length === MAX_RULES) throw broken(`there are more than ${MAX_RULES} rules`);
    rules.from.push(from);
    rules.to.push(replacementAt(units[position] & 0x7fffffff));
  };
  walk(offsetOf(units[0]), 0);
  return rules;
}

/** A child holds its label; its position is its parent's XOR that label. Units of values have the top bit set; no label is 0. */
function childrenByPosition(units: Int32Array): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (let child = 1; child < units.length; child++) {
    const label = units[child] & 0xff;
    if (units[child] < 0 || label === 0) continue;
    const position = child ^ label;
    const siblings = children.get(position);
    if (siblings === undefined) children.set(position, [child]);
    else siblings.push(child);
  }
  return children;
}

/** The distance from a unit to its node's position: bits 10 to 30, in steps of 256 where bit 9 is set. */
function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
