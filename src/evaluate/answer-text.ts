import { PAPER_MAX_TRIPLES } from "./tally.ts";

/**
 * The relation strings of an answer such as `([h],r,[t]),([h],r2,[t])`, read as the authors' script reads them: bracketed spans are taken
 * in pairs, and a relation is the text between the comma after the first and the comma before the second; at most four triples; nothing is
 * trimmed. An answer without a pair of brackets gives an empty list. (CRE-LLM, eval.py; entities are not looked at.)
 */
export function relationsOfAnswer(answer: string): string[] {
  const relations: string[] = [];
  let from = 0;
  while (relations.length < PAPER_MAX_TRIPLES) {
    const first = bracketedSpan(answer, from);
    const second = first === null ? null : bracketedSpan(answer, first.close + 1);
    if (first === null || second === null) break;
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
