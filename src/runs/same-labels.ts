import { UserError } from "../base/errors.ts";
import { type LabelSet, quoted } from "../data/example.ts";

/** Labels with the folder that they belong to. */
export interface OwnedLabels {
  directory: string;
  labels: Pick<LabelSet, "labels" | "noRelation">;
}

/** Throws a UserError that names the first difference between two label sets, their order aside. */
export function expectSameLabels(first: OwnedLabels, other: OwnedLabels, hint: string): void {
  const where = `${first.directory} and ${other.directory}`;
  const known = [first, other].map(({ labels }) => new Set(labels.labels));
  const single = [
    ...first.labels.labels.filter((label) => !known[1].has(label)),
    ...other.labels.labels.filter((label) => !known[0].has(label)),
  ];
  if (single.length > 0) {
    const owner = known[0].has(single[0]) ? first : other;
    throw new UserError(`${where}: have different labels (only ${owner.directory} has ${quoted(single[0])}).`, {
      hint,
    });
  }
  if (first.labels.noRelation === other.labels.noRelation) return;
  const [one, two] = [first, other].map(({ labels }) =>
    labels.noRelation === null ? "none" : quoted(labels.noRelation),
  );
  throw new UserError(`${where}: have different labels for no relation (${one} and ${two}).`);
}
