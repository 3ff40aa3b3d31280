import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import type { OnBadRow, SplitName } from "../data/split.ts";
import { type JointMetrics, type JointRow, type JointTriple, jointMetrics } from "../evaluate/joint.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "../extract/windows.ts";
import { mentionsBySentence } from "../train/mention-targets.ts";
import { type DataEvent, readLabelledSplit } from "./labelled-rows.ts";
import type { NoticeEvent } from "./notice.ts";
import type { Run } from "./run.ts";
import { lookNotice, recordTestLook } from "./test-looks.ts";

export interface JointOptions {
  /** Data folder; default: the one that the run was trained on. */
  data?: string;
  split?: SplitName;
  onBadRow?: OnBadRow;
  onEvent?: (event: DataEvent | NoticeEvent | { kind: "rows"; done: number; total: number }) => void;
}

export interface JointEvaluation {
  data: string;
  split: SplitName;
  metrics: JointMetrics;
  /** Pairs of entities that were asked, and sentences in which fewer than two were found. */
  pairs: number;
  withoutPair: number;
  rows: readonly JointRow[];
}

/**
 * Extracts from sentences alone: the run finds the entities, then the relations of all of their ordered pairs. Scores triples, relations and
 * entities against the rows. Throws a UserError for a run that cannot find entities.
 */
export async function evaluateJoint(run: Run, options: JointOptions = {}): Promise<JointEvaluation> {
  const { recipe, labels, folder } = run;
  const { data = recipe.data.path, split = "test", onBadRow = recipe.data.badRows, onEvent = () => {} } = options;
  if (data === undefined) {
    throw new UserError(`${folder.directory}: does not know where its data is.`, { hint: "Give it with --data DIR." });
  }
  const dataset = await openDataset(data, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
  const examples = await readLabelledSplit(dataset, split, onBadRow, onEvent);
  const goldTriples = triplesBySentence(examples);
  const sentences = [...mentionsBySentence(examples)];
  const rows: JointRow[] = [];
  let pairs = 0;
  let withoutPair = 0;
  onEvent({ kind: "rows", done: 0, total: sentences.length });
  for await (const window of windowsOf(sentences, DEFAULT_WINDOW_ROWS / 4)) {
    const found = await run.findMentions(window.map(([sentence]) => sentence));
    const asked = window.map(([sentence], i) =>
      pairsOf(
        sentence,
        found[i].map(({ text }) => text),
      ),
    );
    const answers = await run.extract(asked.flat());
    let next = 0;
    for (const [i, [sentence, goldMentions]] of window.entries()) {
      const predicted = asked[i].flatMap(({ head, tail }) =>
        answers[next++].predictions.map(({ relation }): JointTriple => ({ head, relation, tail })),
      );
      pairs += asked[i].length;
      if (asked[i].length === 0) withoutPair++;
      const mentions = found[i].map(({ text }) => text);
      rows.push({ sentence, gold: goldTriples.get(sentence) ?? [], predicted, goldMentions, mentions });
    }
    onEvent({ kind: "rows", done: rows.length, total: sentences.length });
  }
  if (split === "test") {
    const text = lookNotice(await recordTestLook(folder, dataset.name, examples));
    if (text !== null) onEvent({ kind: "notice", text });
  }
  return { data: dataset.name, split, metrics: jointMetrics(rows, labels.noRelation), pairs, withoutPair, rows };
}

/** Writes `joint.json` (the scores) and `joint.jsonl` (each sentence with what was found) into the run's folder. */
export async function saveJoint({ folder }: Pick<Run, "folder">, evaluation: JointEvaluation): Promise<string> {
  const { rows, ...scores } = evaluation;
  const file = join(folder.directory, "joint.json");
  await writeFileAtomic(join(folder.directory, "joint.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  await writeFileAtomic(file, `${JSON.stringify(scores, null, 2)}\n`);
  return file;
}

function pairsOf(sentence: string, mentions: readonly string[]): Example[] {
  return mentions.flatMap((head) => {
    return mentions.filter((tail) => tail !== head).map((tail) => ({ sentence, head, tail }));
  });
}

function triplesBySentence(examples: readonly Example[]): Map<string, JointTriple[]> {
  const found = new Map<string, JointTriple[]>();
  for (const { sentence, head, tail, relations = [] } of examples) {
    const known = found.get(sentence) ?? [];
    for (const relation of relations) known.push({ head, relation, tail });
    found.set(sentence, known);
  }
  return found;
}
