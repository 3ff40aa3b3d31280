import type { Example, LabelSet } from "../data/example.ts";
import { drawJoined } from "../data/joined.ts";
import { drawNegatives } from "../data/negatives.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { DividedRows } from "./held-out.ts";
import type { TrainingData } from "./labelled-rows.ts";

/** Rows of no relation that a training learns besides its labelled rows. */
export interface Negatives {
  examples: readonly Example[];
  /** Pairs that they were drawn from. */
  candidates: number;
}

/** The negatives of a recipe; none with `train.negatives: 0`. Rows that are validated on give none. */
export function negativesFor(
  { train: { negatives: share }, seed }: Pick<Recipe, "train" | "seed">,
  { labels, annotated }: Pick<TrainingData, "annotated"> & { labels: LabelSet },
  { train, valid }: Pick<DividedRows, "train" | "valid">,
): Negatives & { notice: string | null } {
  const { noRelation } = labels;
  if (share === 0 || noRelation === null) return { examples: [], candidates: 0, notice: null };
  const drawn = drawNegatives(train, { share, noRelation, seed, heldOut: valid, annotated });
  const { examples, candidates, sentences } = drawn;
  const found = `${candidates} pairs without a label in ${sentences} training sentences`;
  return {
    examples,
    candidates,
    notice: `train.negatives: ${examples.length} of ${found} are learnt as "${noRelation}".`,
  };
}

/**
 * The companion learns one in this number of the pairs across two sentences. A few teach it that a relation seldom crosses the end of a sentence; all
 * of them would hide what the words of the other pairs say (docs/documents.md).
 */
const COMPANION_EVERY = 24;

/** The rows of joined sentences of a recipe, and those of them that a companion learns; none with `train.joinedSentences: 0`. */
export function joinedFor(
  { train: { joinedSentences: share }, prompt: { maxPromptTokens }, seed }: Pick<Recipe, "train" | "prompt" | "seed">,
  { noRelation }: LabelSet,
  train: readonly Example[],
): { examples: readonly Example[]; ofCompanion: readonly Example[]; notice: string | null } {
  if (share === 0 || noRelation === null) return { examples: [], ofCompanion: [], notice: null };
  // A token has a character or more.
  const examples = drawJoined(train, { share, noRelation, seed, mostCharacters: maxPromptTokens });
  const across = examples.filter(({ relations }) => relations?.length === 1 && relations[0] === noRelation);
  return {
    examples,
    ofCompanion: across.filter((_, i) => i % COMPANION_EVERY === 0),
    notice: `train.joinedSentences: ${examples.length} rows of two sentences in one are learnt too, ${across.length} of them as "${noRelation}".`,
  };
}
