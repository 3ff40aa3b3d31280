import { isSeq, parseDocument } from "yaml";
import { messageOf, showValue, UserError } from "../base/errors.ts";
import { expectShallow } from "../recipe/nesting.ts";

/** One setting and the values to try: "train.learningRate" and [1e-4, 3e-4]. */
export interface GridAxis {
  key: string;
  values: readonly GridValue[];
}

export interface GridValue {
  value: unknown;
  /** As the user wrote it. */
  text: string;
}

/** One combination of values, one for each axis. */
export interface GridPoint {
  /** "train.learningRate=1e-4 adapter.rank=8". */
  name: string;
  /** For the reader of recipes: `KEY=VALUE` with the value as JSON. */
  overrides: string[];
}

const MOST_POINTS = 1000;

/** Settings that decide nothing in a fold, or that the folds themselves decide. */
const REFUSED: Readonly<Record<string, string>> = {
  data: "the rows are divided into folds once, for all values alike",
  seed: "--seeds gives the seeds that each value is trained with",
  "train.checkpointSeconds": "it decides no score",
};

/** The form of a grid in a message. */
const FORM = "KEY=VALUE,VALUE,… as in train.learningRate=1e-4,3e-4";

/**
 * Reads "train.learningRate=1e-4,3e-4"; the values are the items of a YAML list, so that `adapter.targets=[q_proj],[q_proj, v_proj]` are two
 * lists. Throws a UserError for another form, a value given twice, and a key that cannot be tuned.
 */
export function parseGridAxis(text: string): GridAxis {
  const [, key, list] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined) throw new UserError(`--grid ${text}: expected ${FORM}.`);
  if (list.trim() === "") throw new UserError(`--grid ${text}: has no values, expected ${FORM}.`);
  expectShallow(list, `--grid ${key}`);
  const written = `[${list}]`;
  const document = parseDocument(written, { prettyErrors: false });
  const [problem] = document.errors;
  if (problem !== undefined || !isSeq(document.contents)) {
    throw new UserError(`--grid ${text}: the values are not YAML: ${problem?.message ?? "not a list"}`);
  }
  const items = document.contents.items as { range?: [number, number, number] | null }[];
  return gridAxis(
    key.trim(),
    listOf(document, text).map((value, i) => {
      const range = items[i]?.range;
      return { value, text: range ? written.slice(range[0], range[1]).trim() : showValue(value) };
    }),
  );
}

function listOf(document: ReturnType<typeof parseDocument>, text: string): unknown[] {
  try {
    return document.toJS({ maxAliasCount: 0 }) as unknown[];
  } catch (error) {
    throw new UserError(`--grid ${text}: the values are not YAML: ${messageOf(error)}`);
  }
}

/** An axis of values that a program gives. Throws a UserError for no values, a value given twice, and a key that cannot be tuned. */
export function gridAxis(key: string, given: readonly GridValue[]): GridAxis {
  const refused = Object.keys(REFUSED).find((own) => key === own || key.startsWith(`${own}.`));
  if (refused !== undefined) throw new UserError(`--grid ${key}: cannot be tuned: ${REFUSED[refused]}.`);
  if (given.length === 0) throw new UserError(`--grid ${key}: has no values, expected ${FORM}.`);
  const seen = new Map<string, string>();
  for (const { value, text } of given) {
    const json = JSON.stringify(value) ?? "";
    if (value === undefined || value === null) {
      throw new UserError(`--grid ${key}: has an empty value, expected ${FORM}.`);
    }
    const earlier = seen.get(json);
    if (earlier !== undefined) {
      const both = earlier === text ? `${text} twice` : `${earlier} and ${text}, which are equal`;
      throw new UserError(`--grid ${key}: has ${both}, expected each value once.`);
    }
    seen.set(json, text);
  }
  return { key, values: given };
}

/** All combinations, the last axis first to change. Throws a UserError for a key given twice and for more than 1,000 combinations. */
export function gridPoints(axes: readonly GridAxis[]): GridPoint[] {
  const keys = axes.map(({ key }) => key);
  for (const [i, key] of keys.entries()) {
    const other = keys.slice(0, i).find((one) => one === key || one.startsWith(`${key}.`) || key.startsWith(`${one}.`));
    if (other === key) throw new UserError(`--grid ${key}: is given twice, expected all of its values in one --grid.`);
    if (other !== undefined)
      throw new UserError(`--grid ${key}: ${other} is tuned too, and one is a part of the other.`);
  }
  const count = axes.reduce((product, { values }) => product * values.length, 1);
  if (count > MOST_POINTS) {
    throw new UserError(`The grid has ${count} combinations, expected at most ${MOST_POINTS}.`, {
      hint: "Tune some settings first and the others with the best of these.",
    });
  }
  return axes.reduce<GridPoint[]>(
    (points, { key, values }) =>
      points.flatMap(({ name, overrides }) =>
        values.map(({ value, text }) => ({
          name: name === "" ? `${key}=${text}` : `${name} ${key}=${text}`,
          overrides: [...overrides, `${key}=${JSON.stringify(value)}`],
        })),
      ),
    [{ name: "", overrides: [] }],
  );
}
