import { z } from "zod";
import { nearestName, UserErrors } from "./errors.ts";

/**
 * Checks a value against a closed schema (z.strictObject) and returns it with defaults filled in. Throws a UserErrors that lists every
 * problem with its path; an unknown key names the nearest known one.
 */
export function checkSchema<T extends z.ZodType>(schema: T, value: unknown, where: string): z.output<T> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  const problems = result.error.issues.flatMap((issue) => problemsOf(issue, schema, value));
  throw new UserErrors(`${where}: ${problems.length} ${problems.length === 1 ? "problem" : "problems"}:`, problems);
}

type Issue = z.core.$ZodIssue;

function problemsOf(issue: Issue, schema: z.ZodType, value: unknown): string[] {
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(schemaAt(schema, issue.path, value));
    return issue.keys.map((key) => {
      const nearest = nearestName(key, known);
      const advice = nearest ? `did you mean "${nearest}"?` : `known keys: ${known.join(", ")}`;
      return `${pathText([...issue.path, key])} — unknown key, ${advice}`;
    });
  }
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    const chosen = [...issue.errors].sort((a, b) => a.length - b.length)[0];
    const nested = chosen.map((one) => ({ ...one, path: [...issue.path, ...one.path] }) as Issue);
    if (nested.length > 0) return nested.flatMap((one) => problemsOf(one, schema, value));
  }
  const got = issue.input === undefined ? "is missing" : `is ${JSON.stringify(issue.input)}`;
  return [`${pathText(issue.path)} ${got}: ${issue.message}`];
}

function pathText(path: readonly PropertyKey[]): string {
  return path.length === 0 ? "the top level" : path.map(String).join(".");
}

function unwrap(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while (
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodNullable
  ) {
    inner = inner.unwrap() as z.ZodType;
  }
  return inner;
}

function schemaAt(schema: z.ZodType, path: readonly PropertyKey[], value: unknown): z.ZodType {
  let current = chooseOption(unwrap(schema), value);
  let at = value;
  for (const key of path) {
    at = (at as Record<PropertyKey, unknown> | undefined)?.[key];
    if (!(current instanceof z.ZodObject)) break;
    const next = current.shape[key as string] as z.ZodType | undefined;
    if (!next) break;
    current = chooseOption(unwrap(next), at);
  }
  return current;
}

/** Of a union told apart by a literal key, the option that the value claims to be. */
function chooseOption(schema: z.ZodType, value: unknown): z.ZodType {
  if (!(schema instanceof z.ZodDiscriminatedUnion)) return schema;
  const key = schema.def.discriminator;
  const claimed = (value as Record<string, unknown> | undefined)?.[key];
  const options = schema.options as unknown as z.ZodObject[];
  const fitting = options.find((option) => (option.shape[key] as z.ZodType | undefined)?.safeParse(claimed).success);
  return fitting ?? schema;
}

function knownKeys(schema: z.ZodType): string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}
