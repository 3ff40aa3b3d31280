import type { Sentence } from "../documents/document.ts";
import { foldingTableOf } from "../documents/folding-table.ts";
import type { Mention } from "../documents/mention.ts";
import { createDictionary, type DictionaryProblem } from "../documents/names.ts";
import { createPairer } from "../documents/pairs.ts";
import { splitSentences } from "../documents/sentences.ts";
import { answerPairs } from "../extract/answer-pairs.ts";
import type { Extractor } from "../extract/extractor.ts";
import type { Found } from "../extract/triples.ts";

export interface FindOptions {
  /** Relations below this probability are left out; default 0. */
  minProbability?: number;
  /** Most pairs of one sentence, each in both orders; default 60. */
  maxPairs?: number;
  /** Text of OpenCC's TSCharacters.txt, so that a name in traditional characters is found by its simplified form; default none. */
  characters?: string;
}

/** A text, cut into sentences, with the places of the names in it. */
export interface NamedText {
  sentences: readonly Sentence[];
  mentions: readonly Mention[];
  /** Names that cannot be used, with their line in the list. */
  problems: readonly DictionaryProblem[];
}

/** What one sentence says. Offsets of mentions are UTF-16 code units into the text. */
export interface SentenceRelations {
  sentence: Sentence;
  /** Pairs of names that were asked, and that were left out because the sentence has too many. */
  pairs: number;
  cutPairs: number;
  relations: readonly Found[];
  /** Why pairs could not be asked. */
  problems: readonly string[];
}

/** Finds names in a text; a name may have other forms behind it, separated by "|". */
export function findNames(text: string, names: readonly string[], { characters = "" }: FindOptions = {}): NamedText {
  const dictionary = createDictionary(names.length, foldingTableOf(characters));
  for (const [i, row] of names.entries()) {
    const [name, ...aliases] = row.split("|");
    dictionary.add({ line: i + 1, cells: [name, "", "", aliases.join("|")], problem: null }, "names");
  }
  const { finder, problems } = dictionary.finish();
  const sentences = splitSentences(text);
  return { sentences, mentions: finder("longest").find({ id: "text", text, fields: {} }, sentences), problems };
}

/** Asks for the relation of every two names in each sentence of a text, one sentence after the other. */
export async function* findRelations(
  extractor: Extractor,
  text: string,
  { sentences, mentions }: Pick<NamedText, "sentences" | "mentions">,
  { minProbability = 0, maxPairs = 60 }: FindOptions = {},
): AsyncGenerator<SentenceRelations, void, void> {
  const { labels } = extractor;
  const pairer = createPairer(labels, { window: 1, maxPairs });
  for (const sentence of sentences) {
    const cutBefore = pairer.counts.cutByCap;
    const pairs = [...pairer.pairsOf({ id: "text", text, fields: {} }, [sentence], mentions)];
    const answers = pairs.length > 0 ? await answerPairs(extractor, pairs, labels, () => minProbability) : [];
    yield {
      sentence,
      pairs: pairs.length,
      cutPairs: pairer.counts.cutByCap - cutBefore,
      relations: answers.flatMap((answer) => ("problem" in answer ? [] : answer.found)),
      problems: answers.flatMap((answer) => ("problem" in answer ? [answer.problem] : [])),
    };
  }
}
