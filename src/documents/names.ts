import { isWhole, type Mention, type MentionFinder, type OverlapPolicy } from "./mention.ts";
import type { TableRow } from "./name-rows.ts";
import {
  basePowers,
  createStringList,
  createStringSet,
  grown,
  hashOf,
  prefixHashes,
  type StringSet,
  spread,
} from "./string-set.ts";

/** How many rows, names and entities were read; rows = badRows + those that gave names. */
export interface DictionaryCounts {
  rows: number;
  badRows: number;
  /** Different names, aliases included. */
  names: number;
  entities: number;
  /** Names of several entities; the first entity has them. */
  ambiguous: number;
}

export interface DictionaryProblem {
  file: string;
  line: number;
  problem: string;
}

export interface Dictionary {
  readonly counts: DictionaryCounts;
  /** The first bad rows and ambiguous names, at most 20. */
  readonly problems: readonly DictionaryProblem[];
  finder(overlap: OverlapPolicy): MentionFinder;
}

/** The cells of a row, in this order. */
export const COLUMNS = ["name", "type", "id", "aliases"];
export const MAX_NAME_UNITS = 200;
const MAX_ID_UNITS = 500;
const MAX_TYPE_UNITS = 100;
const MAX_TYPES = 65_535;
const MAX_PROBLEMS = 20;

// A name is found by its hash. Three tables say, for what begins at a place of the text, which lengths a name can have, so that most places
// cost one or two look-ups: the first unit alone, the first two units, the first four units.
const PAIR_BITS = 20;
const QUAD_BITS = 21;
/** Names of this length or more share one bit: they are looked for by the lengths that exist. */
const LONG_UNITS = 31;
const LONG_BIT = 1 << LONG_UNITS;
const QUAD = 4;

/**
 * Collects rows into a dictionary, of about `expected` names; texts are compared as `fold` says (folding-table.ts). A bad row is left out,
 * counted and listed under the name of its file.
 */
export function createDictionary(expected: number, fold: Uint16Array) {
  const names = createStringSet(expected); // folded
  const ids = createStringSet(expected);
  const titles = createStringList(expected); // of entities: the names as they were written
  let entityOfName: Uint32Array = new Uint32Array(1 << 10);
  let typeOfEntity: Uint16Array = new Uint16Array(1 << 10);
  const types = new Map<string, number>([["", 0]]);
  const counts: DictionaryCounts = { rows: 0, badRows: 0, names: 0, entities: 0, ambiguous: 0 };
  const problems: DictionaryProblem[] = [];
  const units = new Uint16Array(Math.max(MAX_NAME_UNITS, MAX_ID_UNITS));
  const note = (file: string, line: number, problem: string) => {
    if (problems.length < MAX_PROBLEMS) problems.push({ file, line, problem });
  };
  const fill = (text: string) => {
    for (let i = 0; i < text.length; i++) units[i] = text.charCodeAt(i);
    return text.length;
  };
  const fillFolded = (text: string) => {
    for (let i = 0; i < text.length; i++) units[i] = fold[text.charCodeAt(i)];
    return text.length;
  };
  const entityOf = (id: string, name: string, type: string): number => {
    const entity = ids.add(units, fill(id));
    if (entity < counts.entities) {
      // A later row may know the type.
      if (typeOfEntity[entity] === 0 && type !== "") typeOfEntity[entity] = typeNumber(type);
      return entity;
    }
    counts.entities++;
    if (counts.entities > typeOfEntity.length) typeOfEntity = grown(typeOfEntity, counts.entities);
    titles.add(units, fill(name));
    typeOfEntity[entity] = typeNumber(type);
    return entity;
  };
  const typeNumber = (type: string): number => {
    const known = types.get(type);
    if (known !== undefined) return known;
    types.set(type, types.size);
    return types.size - 1;
  };
  const addName = (text: string, entity: number, file: string, line: number) => {
    const index = names.add(units, fillFolded(text));
    if (index === counts.names) {
      counts.names++;
      if (index >= entityOfName.length) entityOfName = grown(entityOfName, index + 1);
      entityOfName[index] = entity;
    } else if (entityOfName[index] !== entity) {
      counts.ambiguous++;
      const first = ids.text(entityOfName[index]);
      note(file, line, `"${text}" is a name of ${first} and of ${ids.text(entity)}; mentions get ${first}`);
    }
  };
  return {
    add({ line, cells, problem: unreadable }: TableRow, file: string) {
      counts.rows++;
      const [name = "", type = "", givenId = "", aliases = ""] = cells;
      const title = name.trim();
      const id = givenId.trim() || title;
      const others = aliases === "" ? [] : aliases.split("|");
      const problem = unreadable ?? rowProblem(title, type.trim(), id, others, types);
      if (problem !== null) {
        counts.badRows++;
        note(file, line, problem);
        return;
      }
      const entity = entityOf(id, title, type.trim());
      addName(title, entity, file, line);
      for (const alias of others) if (alias.trim() !== "") addName(alias.trim(), entity, file, line);
    },
    finish(): Dictionary {
      const typeNames = [...types.keys()];
      const tables = lengthTables(names);
      const mention = (index: number, start: number, length: number): Mention => {
        const entity = entityOfName[index];
        return {
          start,
          end: start + length,
          id: ids.text(entity),
          name: titles.text(entity),
          type: typeNames[typeOfEntity[entity]] || null,
        };
      };
      return { counts, problems, finder: (overlap) => finderOf(names, tables, fold, mention, overlap) };
    },
  };
}

function rowProblem(
  name: string,
  type: string,
  id: string,
  aliases: readonly string[],
  types: ReadonlyMap<string, number>,
): string | null {
  if (name === "") return "got an empty name, expected text";
  for (const text of [name, ...aliases]) {
    if (text.length > MAX_NAME_UNITS)
      return `got a name of ${text.length} characters, expected at most ${MAX_NAME_UNITS}`;
    if (/[\p{Cc}\p{Surrogate}]/u.test(text))
      return "got a control character or half a surrogate pair in a name, expected text";
  }
  if (id.length > MAX_ID_UNITS) return `got an id of ${id.length} characters, expected at most ${MAX_ID_UNITS}`;
  if (type.length > MAX_TYPE_UNITS)
    return `got a type of ${type.length} characters, expected at most ${MAX_TYPE_UNITS}`;
  if (/[\p{Cc}\p{Surrogate}]/u.test(id + type))
    return "got a control character or half a surrogate pair, expected text";
  if (types.size >= MAX_TYPES && !types.has(type)) return `got more than ${MAX_TYPES} different types`;
  return null;
}

type Names = StringSet;

interface LengthTables {
  /** Bit of a unit: a name of that one unit. */
  single: Uint8Array;
  /** By {@link pairSlot} of two units: bits of the lengths 2 and 3; bit 4 for longer names. */
  pairs: Uint8Array;
  /** By the hash of four units: bit L for a name of L units, bit 31 for a longer one. */
  quads: Int32Array;
  /** Lengths above 30 that exist, the longest first. */
  long: number[];
}

function pairSlot(first: number, second: number): number {
  return (Math.imul(first, 0x9e3779b1) + Math.imul(second, 0x85ebca6b)) >>> (32 - PAIR_BITS);
}

function lengthTables(names: Names): LengthTables {
  const single = new Uint8Array(1 << 16);
  const pairs = new Uint8Array(1 << PAIR_BITS);
  const quads = new Int32Array(1 << QUAD_BITS);
  const long = new Set<number>();
  const start = new Uint16Array(QUAD);
  for (let index = 0; index < names.size(); index++) {
    const length = names.lengthOf(index);
    names.copy(index, start, Math.min(length, QUAD));
    if (length === 1) single[start[0]] = 1;
    else pairs[pairSlot(start[0], start[1])] |= 1 << Math.min(length, QUAD);
    if (length < QUAD) continue;
    quads[spread(hashOf(start, QUAD)) & (quads.length - 1)] |= length < LONG_UNITS ? 1 << length : LONG_BIT;
    if (length >= LONG_UNITS) long.add(length);
  }
  return { single, pairs, quads, long: [...long].sort((a, b) => b - a) };
}

function finderOf(
  names: Names,
  { single, pairs, quads, long }: LengthTables,
  fold: Uint16Array,
  mention: (index: number, start: number, length: number) => Mention,
  overlap: OverlapPolicy,
): MentionFinder {
  const powers = basePowers(MAX_NAME_UNITS + 1);
  const quadPower = powers[QUAD];
  let units = new Uint16Array(1 << 12);
  let ends = new Int32Array((1 << 12) + 1);
  return {
    find({ text }) {
      const { length } = text;
      if (length > units.length) {
        units = new Uint16Array(2 * length);
        ends = new Int32Array(2 * length + 1);
      }
      for (let i = 0; i < length; i++) units[i] = fold[text.charCodeAt(i)];
      prefixHashes(units, length, ends);
      const unitAt = (i: number) => units[i];
      const found: Mention[] = [];
      /** Whether to look no further at this place. */
      const take = (start: number, size: number): boolean => {
        if (start + size > length) return false;
        const hash = (ends[start + size] - Math.imul(ends[start], powers[size])) | 0;
        const index = names.find(units, start, size, hash);
        if (index < 0 || !isWhole(unitAt, start, start + size, length)) return false;
        found.push(mention(index, start, size));
        return overlap === "longest";
      };
      const takeLong = (start: number): boolean => {
        for (const size of long) if (take(start, size)) return true;
        return false;
      };
      const takeAt = (start: number): void => {
        if (start + 1 < length) {
          const lengths = pairs[pairSlot(units[start], units[start + 1])];
          if (lengths >= 1 << QUAD && start + QUAD <= length) {
            const quad = (ends[start + QUAD] - Math.imul(ends[start], quadPower)) | 0;
            let bits = quads[spread(quad) & (quads.length - 1)];
            if (bits < 0 && takeLong(start)) return;
            bits &= ~LONG_BIT;
            while (bits !== 0) {
              const size = 31 - Math.clz32(bits);
              if (take(start, size)) return;
              bits &= ~(1 << size);
            }
          }
          if ((lengths & 8) !== 0 && take(start, 3)) return;
          if ((lengths & 4) !== 0 && take(start, 2)) return;
        }
        if (single[units[start]] !== 0) take(start, 1);
      };
      for (let start = 0; start < length; ) {
        const before = found.length;
        takeAt(start);
        start = overlap === "longest" && found.length > before ? found[before].end : start + 1;
      }
      return found;
    },
  };
}
