import type { Example } from "../data/example.ts";
import type { MentionModel } from "../extract/mention-finder.ts";
import { fitMentionScale, type MentionRow } from "../extract/mention-scores.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "../extract/windows.ts";
import { mentionsBySentence } from "../train/mention-targets.ts";
import type { Calibration } from "./calibration-read.ts";

/** Sentences that the scale of mentions is fitted on. */
const MENTION_SENTENCES = 1000;

/** Fits the scale of mentions on the sentences of labelled rows that were not learnt. */
export async function fitMentions(
  model: MentionModel,
  validated: readonly Example[],
): Promise<NonNullable<Calibration["mentions"]>> {
  const gold = [...mentionsBySentence(validated)].slice(0, MENTION_SENTENCES);
  const rows: MentionRow[] = [];
  for await (const window of windowsOf(gold, DEFAULT_WINDOW_ROWS)) {
    const shares = await model.score(window.map(([sentence]) => sentence));
    for (const [i, [, texts]] of window.entries()) rows.push({ shares: shares[i], gold: texts });
  }
  return { sentences: rows.length, ...fitMentionScale(rows) };
}
