import { tripleAt } from "../prompts/parse-triples.ts";

/** The entities that a row asks about. */
export interface AskedEntities {
  head: string;
  tail: string;
}

/**
 * The relation strings of an answer such as `([h],r,[t]),([h],r2,[t])`; entities are not looked at, nothing is trimmed. A whole triple is
 * read as `cre extract` reads it, so that the entities may hold brackets; those of `asked` may hold anything. Other text is read as the
 * authors' script does (CRE-LLM, eval.py): bracketed spans are taken in pairs, and a relation is the text between the comma after the first
 * and the comma before the second. Without brackets in the entities both give the same. The script's limit of four triples is part of the
 * convention `paper`, not of reading. An answer without a pair of brackets gives an empty list.
 */
export function relationsOfAnswer(answer: string, asked: AskedEntities | null = null): string[] {
  const relations: string[] = [];
  let from = 0;
  for (;;) {
    const first = bracketedSpan(answer, from);
    if (first === null) break;
    const whole = answer[first.open - 1] === "(" ? tripleAt(answer, first.open - 1, asked) : null;
    if (whole !== null) {
      relations.push(whole.relation);
      from = whole.end;
      continue;
    }
    const second = bracketedSpan(answer, first.close + 1);
    if (second === null) break;
    relations.push(answer.slice(first.close + 2, Math.max(first.close + 2, second.open - 1)));
    from = second.close + 1;
  }
  return relations;
}

function bracketedSpan(text: string, from: number): { open: number; close: number } | null {
  const open = text.indexOf("[", from);
  const close = open < 0 ? -1 : text.indexOf("]", open);
  return close < 0 ? null : { open, close };
}
