import type { LabelQuestion, LabelTrie } from "../decode/label-trie.ts";

/**
 * Equal questions as one: (tail, head) of one pair may be (head, tail) of another. `places[i]` is where the answer of question i is among the
 * answers of the distinct ones.
 */
export function distinctQuestions(questions: readonly LabelQuestion[]): {
  distinct: LabelQuestion[];
  places: number[];
} {
  const seen = new Map<LabelTrie, Map<string, number>>();
  const distinct: LabelQuestion[] = [];
  const places = questions.map((question) => {
    const ofTrie = seen.get(question.trie) ?? new Map<string, number>();
    seen.set(question.trie, ofTrie);
    const key = Array.prototype.join.call(question.promptIds, ",");
    const place = ofTrie.get(key) ?? distinct.push(question) - 1;
    ofTrie.set(key, place);
    return place;
  });
  return { distinct, places };
}
