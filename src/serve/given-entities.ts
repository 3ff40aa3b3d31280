import { dictionaryOfRows } from "../documents/dictionary.ts";
import {
  combinedMentions,
  type Mention,
  type MentionFinder,
  type OverlapPolicy,
  type SlowMentionFinder,
} from "../documents/mention.ts";
import { codePointOffsets } from "../documents/offsets.ts";
import { findInParts } from "./find-in-parts.ts";
import { Problem } from "./problem.ts";

/** An entity as a request gives it: a place in the text, or a name. */
export interface GivenEntity {
  start?: number;
  end?: number;
  startUtf16?: number;
  endUtf16?: number;
  name?: string;
  aliases?: string[];
  type?: string;
  id?: string;
}

/** Finds the entities that a request gives. Throws a Problem for places outside the text and names that cannot be used. */
export function givenFinder(
  entities: readonly GivenEntity[],
  text: string | null,
  overlap: OverlapPolicy,
): SlowMentionFinder {
  const mentions: Mention[] = [];
  const names: { at: number; entity: GivenEntity }[] = [];
  const offsets = text === null ? null : codePointOffsets(text);
  for (const [at, entity] of entities.entries()) {
    if (!hasPlace(entity)) {
      if (entity.name === undefined) throw refused(at, "has neither a place nor a name");
      names.push({ at, entity });
    } else if (text === null || offsets === null) throw refused(at, "has a place, but the text is not given with it");
    else mentions.push(mentionOf(entity, at, text, offsets.toUtf16));
  }
  const finder = names.length > 0 ? findInParts(finderOfNames(names, overlap)) : null;
  return {
    async find(document, sentences) {
      const found = finder ? await finder.find(document, sentences) : [];
      // Those of one finder are in order already.
      return mentions.length === 0 ? found : combinedMentions([...mentions, ...found], overlap);
    },
  };
}

const hasPlace = ({ start, end, startUtf16, endUtf16 }: GivenEntity) =>
  [start, end, startUtf16, endUtf16].some((offset) => offset !== undefined);

function mentionOf(entity: GivenEntity, at: number, text: string, toUtf16: (codePoint: number) => number): Mention {
  let { startUtf16: start, endUtf16: end } = entity;
  if (start === undefined && end === undefined) {
    if (entity.start === undefined || entity.end === undefined) throw refused(at, "has one end of its place only");
    try {
      [start, end] = [toUtf16(entity.start), toUtf16(entity.end)];
    } catch {
      throw refused(at, `has the place [${entity.start}, ${entity.end}), which is outside the text`);
    }
  }
  if (start === undefined || end === undefined) throw refused(at, "has one end of its place only");
  if (start >= end || end > text.length)
    throw refused(at, `has the place [${start}, ${end}), which is no part of the text`);
  const own = text.slice(start, end);
  if (/^\p{Surrogate}|\p{Surrogate}$/u.test(own)) throw refused(at, "cuts through a character");
  return { start, end, id: entity.id ?? entity.name ?? own, name: entity.name ?? own, type: entity.type ?? null };
}

function finderOfNames(names: readonly { at: number; entity: GivenEntity }[], overlap: OverlapPolicy): MentionFinder {
  const rows = names.map(({ at, entity: { name, type, id, aliases = [] } }) => ({
    line: at,
    cells: [name, type, id, aliases.map((alias) => alias.replaceAll("|", " ")).join("|")],
    problem: null,
  }));
  const dictionary = dictionaryOfRows(rows, "entities");
  const bad = dictionary.counts.badRows > 0 ? dictionary.problems[0] : undefined;
  if (bad) throw refused(bad.line, bad.problem);
  return dictionary.finder(overlap);
}

function refused(at: number, problem: string): Problem {
  return new Problem("unusable", `entities.${at}: ${problem}.`, {
    hint: "Give start and end (code points), startUtf16 and endUtf16, or a name that is in the text.",
  });
}
