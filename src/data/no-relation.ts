import { type LabelSet, quoted } from "./example.ts";

/** Labels by which data sets of the field say "no relation", as {@link folded} text. */
const NAMES: ReadonlySet<string> = new Set(
  [
    ...[
      "unknown",
      "na",
      "n/a",
      "nil",
      "null",
      "none",
      "no relation",
      "not related",
      "unrelated",
      "negative",
      "other",
      "others",
    ],
    ...["none of the above", "no_rel", "norel", "nota"],
    ...[
      "无",
      "無",
      "无关系",
      "無關係",
      "没有关系",
      "沒有關係",
      "无关",
      "無關",
      "不相关",
      "无联系",
      "无任何关系",
      "不存在关系",
      "无明确关系",
    ],
    ...["其他", "其它", "其他关系", "其它关系", "未知", "未知关系", "空", "负例"],
  ].map(folded),
);

function folded(label: string): string {
  return label
    .normalize("NFKC")
    .toLowerCase()
    .replace(/[\s_\-./()<>[\]]/g, "");
}

/** The first label that by its name may mean "no relation"; null when there is none. */
export function noRelationLookalike(labels: Iterable<string>): string | null {
  for (const label of labels) if (NAMES.has(folded(label))) return label;
  return null;
}

/** A notice when no label is declared as "no relation" and one looks as if it were; `file` holds the labels. */
export function undeclaredNotices({ labels, noRelation, hasNoRelation }: LabelSet, file: string): string[] {
  const label = noRelation === null && hasNoRelation !== false ? noRelationLookalike(labels) : null;
  if (label === null) return [];
  const isJson = file.endsWith(".json");
  const step = isJson
    ? `write "noRelation": ${quoted(label)} if it means no relation, "noRelation": null if it is a relation`
    : 'only "unknown" means no relation in this format; write the data as JSONL with "noRelation" in labels.json for another name';
  return [`${file}: the label ${quoted(label)} counts as a relation; ${step}.`];
}
