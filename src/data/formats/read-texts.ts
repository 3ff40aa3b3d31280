import { UserErrors } from "../../base/errors.ts";
import { type LabelSet, quoted } from "../example.ts";
import { createLabelSet } from "../label-set.ts";
import type { AnnotatedSentence } from "../mentions-file.ts";
import { noRelationLookalike } from "../no-relation.ts";
import { type Normalization, normalizedExample } from "../normalize.ts";
import type { Split, SplitOptions } from "../split.ts";
import { DEFAULT_NO_RELATION, type ExampleOptions, emptyConversionCounts, rowExamples } from "./examples.ts";
import type { LabelledFormat } from "./labelled.ts";
import { LABELLED_FORMATS, type TextFormatName } from "./registry.ts";
import { rowSplit } from "./row-split.ts";

/** A text is one row of the file; pairs without a label are drawn while training (`train.negatives`). */
const AS_IT_IS: ExampleOptions = { negatives: 0, noRelation: DEFAULT_NO_RELATION, seed: 0, sentencesOf: null };

/**
 * Reads a split of a format whose rows are texts with entities and relations: one example for each pair with a label. Texts without a relation give none.
 * Throws UserErrors for bad rows (unless skipped) and a UserError for a file without relations.
 */
export async function readTextSplit(
  format: TextFormatName,
  file: string,
  labels: LabelSet,
  options: SplitOptions = {},
): Promise<Split> {
  const split = rowSplit(file, labels, options);
  for await (const row of formatOf(format).read(file)) {
    const examples = [...rowExamples(row, AS_IT_IS, emptyConversionCounts())];
    for (const one of [...row.problems, ...examples]) split.add(row.line, one);
  }
  return split.finish();
}

/** The texts of a file with the places of all of their entities. A row that cannot be used gives none. */
export async function readTextMentions(
  format: TextFormatName,
  file: string,
  normalize: Normalization = "none",
): Promise<AnnotatedSentence[]> {
  const sentences: AnnotatedSentence[] = [];
  const onSentence = ({ sentence, mentions }: AnnotatedSentence) => {
    const moved = mentions.flatMap(({ start, end }) => {
      const span = { start, end };
      const name = sentence.slice(span.start, span.end);
      const one = normalizedExample({ sentence, head: name, tail: name, headSpan: span, tailSpan: span }, normalize);
      return typeof one === "string" ? [] : [one];
    });
    if (moved.length < 2) return;
    sentences.push({ sentence: moved[0].sentence, mentions: moved.flatMap(({ headSpan }) => headSpan ?? []) });
  };
  for await (const row of formatOf(format).read(file)) {
    for (const _ of rowExamples(row, { ...AS_IT_IS, onSentence }, emptyConversionCounts()));
  }
  return sentences;
}

/**
 * The labels of files without a labels.json, in their order, and one for no relation: the label of the data that means it by its name, else "unknown". A
 * notice says so. Throws UserErrors for labels that cannot be used and for files without relations.
 */
export async function findTextLabels(
  format: TextFormatName,
  files: readonly string[],
  where: string,
): Promise<{ labels: LabelSet; notice: string }> {
  const found = new Set<string>();
  for (const file of files) {
    for await (const row of formatOf(format).read(file)) {
      for (const { relations = [] } of rowExamples(row, AS_IT_IS, emptyConversionCounts())) {
        for (const label of relations) found.add(label);
      }
    }
  }
  if (found.size === 0) throw new UserErrors(`${where}: has no relations, expected at least one label in:`, [...files]);
  const noRelation = noRelationLookalike(found) ?? DEFAULT_NO_RELATION;
  const labels = createLabelSet(
    { labels: [...new Set([...found, noRelation])], noRelation },
    `${where}: the labels of its rows`,
  );
  const notice = `${where}: has no labels.json; its rows have ${found.size} labels, ${quoted(noRelation)} means no relation (train.negatives draws rows of it), and no inverse labels are known.`;
  return { labels, notice };
}

const formatOf = (name: TextFormatName): LabelledFormat => LABELLED_FORMATS[name];
