import type { Example } from "../data/example.ts";
import type { Renderer } from "../prompts/renderer.ts";
import type { EncodedExample } from "./batches.ts";

/** The texts of the entities that the rows of each sentence name, in order of appearance. */
export function mentionsBySentence(examples: readonly Example[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { sentence, head, tail } of examples) {
    const known = found.get(sentence) ?? [];
    for (const text of [head, tail]) if (!known.includes(text)) known.push(text);
    found.set(sentence, known);
  }
  return found;
}

/**
 * One training example for each sentence: which of its parts is an entity? Every entity that the rows name is an answer with an equal share, so
 * that the model learns a distribution over the parts of a sentence. Parts that no row names are less probable than these, not wrong: rows
 * name the entities of annotated pairs only. `left` counts mentions whose answer is too long.
 */
export function encodeMentions(
  renderer: Pick<Renderer, "renderMentionPrompt" | "renderMention">,
  examples: readonly Example[],
): { encoded: EncodedExample[]; truncated: number; left: number } {
  const encoded: EncodedExample[] = [];
  let truncated = 0;
  let left = 0;
  for (const [sentence, mentions] of mentionsBySentence(examples)) {
    const all = mentions.flatMap((text) => {
      const ids = renderer.renderMention(text);
      return ids ? [Int32Array.from(ids)] : [];
    });
    left += mentions.length - all.length;
    if (all.length === 0) continue;
    const prompt = renderer.renderMentionPrompt(sentence);
    if (prompt.truncated) truncated++;
    const answers = all.map((ids) => ({ ids, weight: 1 / all.length }));
    encoded.push({ promptIds: Int32Array.from(prompt.ids), answerIds: all[0], answers, copiesPrompt: true });
  }
  return { encoded, truncated, left };
}
