import { z } from "zod";
import { nearestName, showValue, UserErrors } from "./errors.ts";

/**
 * Checks a value against a closed schema (z.strictObject) and returns it with defaults filled in. Throws a UserErrors that lists every
 * problem with its path; an unknown key names the nearest known one.
 */
export function checkSchema<T extends z.ZodType>(schema: T, value: unknown, where: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.flatMap((issue) => problemsOf(issue, schema, value));
  throw new UserErrors(problemsTitle(where, problems.length), problems);
}

/** The first line of a message that lists problems. */
export function problemsTitle(where: string, count: number): string {
  return `${where}: ${count} ${count === 1 ? "problem" : "problems"}:`;
}

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

function problemsOf(issue: Issue, schema: z.ZodType, value: unknown): string[] {
  const { path } = issue;
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(schemasAt(schema, path, value));
    return issue.keys.map((key) => {
      const nearest = nearestName(key, known);
      const advice = nearest ? `did you mean "${nearest}"?` : `known keys: ${known.join(", ")}`;
      return `${showPath([...path, key])} — unknown key, ${advice}`;
    });
  }
  // A refinement's message is a whole sentence of its own.
  if (issue.code === "custom") return [`${showPath(path)}: ${issue.message}`];
  if (issue.code === "invalid_union" && issue.errors.length > 0) return problemsOfUnion(issue, schema, value);
  const got = valueAt(value, path);
  return [`${showPath(path)} is ${showValue(got)}: ${issue.message}`];
}

/** The problems of the option that fits a value best; where none fits, those of all options. */
function problemsOfUnion(issue: z.core.$ZodIssueInvalidUnion, schema: z.ZodType, value: unknown): string[] {
  const entered = issue.errors.filter((option) => option.every((one) => one.path.length > 0 || isInside(one)));
  if (entered.length === 0) {
    const messages = new Set(issue.errors.flat().map(({ message }) => message.replace(/^Invalid input: /, "")));
    return [`${showPath(issue.path)} is ${showValue(valueAt(value, issue.path))}: ${[...messages].join(", or ")}`];
  }
  const nearest = entered.reduce((best, option) => (option.length < best.length ? option : best));
  return nearest.flatMap((one) => problemsOf({ ...one, path: [...issue.path, ...one.path] } as Issue, schema, value));
}

/** Whether an issue is about the content of a value, not about its kind. */
function isInside(issue: Issue): boolean {
  return issue.code !== "invalid_type" && issue.code !== "invalid_value";
}

function showPath(path: Path): string {
  return path.length === 0 ? "the top level" : path.map(String).join(".");
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const key of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[key];
  }
  return at;
}

/** The schemas that may apply at a path: one, or several options of a union. */
function schemasAt(schema: z.ZodType, path: Path, value: unknown): z.ZodType[] {
  let current = optionsOf(schema, value);
  for (const [depth, key] of path.entries()) {
    const at = valueAt(value, path.slice(0, depth + 1));
    current = current.flatMap((one) => {
      const inner = childOf(one, key);
      return inner ? optionsOf(inner, at) : [];
    });
  }
  return current;
}

function childOf(schema: z.ZodType, key: PropertyKey): z.ZodType | undefined {
  if (schema instanceof z.ZodObject) return schema.shape[key as string] as z.ZodType | undefined;
  if (schema instanceof z.ZodArray) return schema.element as z.ZodType;
  if (schema instanceof z.ZodRecord) return schema.valueType as z.ZodType;
  return undefined;
}

/** A schema without its wrappers (default, optional); of a union with a literal key, the option that the value names. */
function optionsOf(schema: z.ZodType, value: unknown): z.ZodType[] {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable
  ) {
    return optionsOf(schema.unwrap() as z.ZodType, value);
  }
  if (!(schema instanceof z.ZodUnion)) return [schema];
  const options = (schema.options as unknown as z.ZodType[]).flatMap((option) => optionsOf(option, value));
  if (!(schema instanceof z.ZodDiscriminatedUnion)) return options;
  const key = schema.def.discriminator;
  const claimed = valueAt(value, [key]);
  return options.filter(
    (option) => option instanceof z.ZodObject && (option.shape[key] as z.ZodType).safeParse(claimed).success,
  );
}

function knownKeys(schemas: readonly z.ZodType[]): string[] {
  return [...new Set(schemas.flatMap((schema) => (schema instanceof z.ZodObject ? Object.keys(schema.shape) : [])))];
}
