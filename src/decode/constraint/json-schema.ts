import { showValue, UserError } from "../../base/errors.ts";
import {
  type CodeRange,
  choice,
  complementOf,
  EMPTY,
  optional,
  type Pattern,
  repeat,
  sequence,
  setOf,
  text,
  withoutRanges,
} from "./pattern.ts";
import { readRegex } from "./regex.ts";

type Schema = Record<string, unknown>;

const MAX_DEPTH = 32;
const MAX_PROPERTIES = 200;
const MAX_CHOICES = 1_000;
const MAX_COUNT = 500;
/** Keys that say nothing of what is valid. */
const REMARKS = new Set([
  "title",
  "description",
  "default",
  "examples",
  "$schema",
  "$id",
  "$comment",
  "$defs",
  "definitions",
  "deprecated",
  "readOnly",
  "writeOnly",
]);

const DIGIT = setOf([[0x30, 0x39]]);
const INTEGER = sequence(optional(text("-")), choice(text("0"), sequence(setOf([[0x31, 0x39]]), repeat(DIGIT, 0, 15))));
const FRACTION = sequence(text("."), repeat(DIGIT, 1, 16));
const EXPONENT = sequence(choice(text("e"), text("E")), optional(choice(text("+"), text("-"))), repeat(DIGIT, 1, 3));
const NUMBER = sequence(INTEGER, optional(FRACTION), optional(EXPONENT));
/** What JSON does not let a string have as it is: controls, quotation mark, backslash. */
const ESCAPED: CodeRange[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];
const HEXADECIMAL = setOf([
  [0x30, 0x39],
  [0x41, 0x46],
  [0x61, 0x66],
]);
const CHARACTER = choice(
  setOf(complementOf(ESCAPED)),
  sequence(text("\\"), setOf(Array.from('"\\/bfnrt', (one): CodeRange => [one.charCodeAt(0), one.charCodeAt(0)]))),
  sequence(text("\\u"), repeat(HEXADECIMAL, 4, 4)),
);
const COMMA = sequence(text(","), optional(text(" ")));
const COLON = sequence(text(":"), optional(text(" ")));

/**
 * The JSON texts of a schema, keys in the order of `properties`, as a regular language. Throws a UserError that names the first thing that
 * cannot be enforced: recursive schemas, unknown keys of objects, bounds of numbers, formats.
 */
export function readJsonSchema(schema: unknown): Pattern {
  const root = expectSchema(schema, "the schema");
  return patternOf(root, "the schema", root, 0);
}

function patternOf(given: unknown, where: string, root: Schema, depth: number): Pattern {
  if (depth > MAX_DEPTH) {
    throw new UserError(`${where}: is ${MAX_DEPTH} schemas deep or refers to itself, which cannot be enforced.`);
  }
  const schema = expectSchema(given, where);
  const inner = (one: unknown, name: string) => patternOf(one, `${where}.${name}`, root, depth + 1);
  if (typeof schema.$ref === "string") {
    expectKeys(schema, ["$ref"], where);
    return patternOf(referred(root, schema.$ref, where), schema.$ref, root, depth + 1);
  }
  if ("const" in schema) {
    expectKeys(schema, ["const", "type"], where);
    return text(JSON.stringify(schema.const));
  }
  if ("enum" in schema) {
    expectKeys(schema, ["enum", "type"], where);
    return choice(...listOf(schema.enum, `${where}.enum`, MAX_CHOICES).map((one) => text(JSON.stringify(one))));
  }
  for (const key of ["anyOf", "oneOf"] as const) {
    if (!(key in schema)) continue;
    expectKeys(schema, [key], where);
    return choice(...listOf(schema[key], `${where}.${key}`, MAX_CHOICES).map((one, i) => inner(one, `${key}.${i}`)));
  }
  if ("allOf" in schema) {
    const all = listOf(schema.allOf, `${where}.allOf`, MAX_CHOICES);
    expectKeys(schema, ["allOf"], where);
    if (all.length === 1) return inner(all[0], "allOf.0");
    throw new UserError(
      `${where}.allOf: has ${all.length} schemas, expected one: several cannot be enforced together.`,
    );
  }
  if (Array.isArray(schema.type)) {
    return choice(...schema.type.map((type) => patternOf({ ...schema, type }, where, root, depth + 1)));
  }
  switch (schema.type) {
    case "null":
      expectKeys(schema, ["type"], where);
      return text("null");
    case "boolean":
      expectKeys(schema, ["type"], where);
      return choice(text("true"), text("false"));
    case "integer":
      expectKeys(schema, ["type"], where);
      return INTEGER;
    case "number":
      expectKeys(schema, ["type"], where);
      return NUMBER;
    case "string":
      return stringOf(schema, where);
    case "array":
      return arrayOf(schema, where, inner);
    case "object":
      return objectOf(schema, where, inner);
    default:
      throw new UserError(
        `${where}.type is ${showValue(schema.type)}, expected object, array, string, number, integer, boolean or null.`,
        { hint: "Give every part of the schema a type, an enum, a const, anyOf or $ref." },
      );
  }
}

function stringOf(schema: Schema, where: string): Pattern {
  expectKeys(schema, ["type", "pattern", "minLength", "maxLength"], where);
  const quote = text('"');
  if (schema.pattern !== undefined) {
    if (typeof schema.pattern !== "string") throw new UserError(`${where}.pattern: expected a text.`);
    if (schema.minLength !== undefined || schema.maxLength !== undefined) {
      throw new UserError(`${where}: has a pattern and a length, of which one can be enforced.`);
    }
    const { pattern } = schema;
    if (!pattern.startsWith("^") || !pattern.endsWith("$")) {
      throw new UserError(`${where}.pattern: matches inside of texts, expected one from ^ to $.`, {
        hint: "Write ^.*PATTERN.*$ to allow text around it.",
      });
    }
    return sequence(quote, inString(readRegex(pattern)), quote);
  }
  const least = countOf(schema.minLength, 0, `${where}.minLength`);
  const most = schema.maxLength === undefined ? null : countOf(schema.maxLength, 0, `${where}.maxLength`);
  if (most !== null && most < least) throw new UserError(`${where}: maxLength is below minLength.`);
  return sequence(quote, repeat(CHARACTER, least, most), quote);
}

/** A pattern of text as JSON writes it inside of a string. */
function inString(pattern: Pattern): Pattern {
  if (pattern.kind === "text") return text(JSON.stringify(pattern.text).slice(1, -1));
  if (pattern.kind === "sequence") return { ...pattern, parts: pattern.parts.map(inString) };
  if (pattern.kind === "choice") return { ...pattern, options: pattern.options.map(inString) };
  if (pattern.kind === "repeat") return { ...pattern, of: inString(pattern.of) };
  const plain = withoutRanges(pattern.ranges, ESCAPED);
  const options: Pattern[] = plain.length > 0 ? [setOf(plain)] : [];
  for (const [from, to] of ESCAPED) {
    for (let code = from; code <= to; code++) {
      if (!pattern.ranges.some(([low, high]) => low <= code && code <= high)) continue;
      options.push(text(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
    }
  }
  return choice(...options);
}

type Inner = (schema: unknown, name: string) => Pattern;

function arrayOf(schema: Schema, where: string, inner: Inner): Pattern {
  expectKeys(schema, ["type", "items", "minItems", "maxItems"], where);
  if (schema.items === undefined) throw new UserError(`${where}: has no items, expected a schema for them.`);
  const item = inner(schema.items, "items");
  const least = countOf(schema.minItems, 0, `${where}.minItems`);
  const most = schema.maxItems === undefined ? null : countOf(schema.maxItems, 0, `${where}.maxItems`);
  if (most !== null && most < least) throw new UserError(`${where}: maxItems is below minItems.`);
  const some =
    most === 0
      ? EMPTY
      : sequence(item, repeat(sequence(COMMA, item), Math.max(0, least - 1), most === null ? null : most - 1));
  return sequence(text("["), least === 0 ? optional(some) : some, text("]"));
}

function objectOf(schema: Schema, where: string, inner: Inner): Pattern {
  expectKeys(schema, ["type", "properties", "required", "additionalProperties"], where);
  if (schema.additionalProperties !== undefined && schema.additionalProperties !== false) {
    throw new UserError(`${where}.additionalProperties: unknown keys cannot be enforced, expected false.`);
  }
  const properties = Object.entries(expectSchema(schema.properties ?? {}, `${where}.properties`));
  if (properties.length > MAX_PROPERTIES) {
    throw new UserError(`${where}: has ${properties.length} properties, expected at most ${MAX_PROPERTIES}.`);
  }
  const required = new Set(schema.required === undefined ? [] : listOf(schema.required, `${where}.required`, 1000, 0));
  const missing = [...required].find((name) => !properties.some(([known]) => known === name));
  if (missing !== undefined)
    throw new UserError(`${where}.required: ${showValue(missing)} is not among the properties.`);
  const members = properties.map(([name, one]) => ({
    member: sequence(text(JSON.stringify(name)), COLON, inner(one, `properties.${name}`)),
    isRequired: required.has(name),
  }));
  /** The members from place i on, behind a member or as the first. */
  const behind = (i: number): Pattern =>
    sequence(
      ...members.slice(i).map(({ member, isRequired }) => {
        const next = sequence(COMMA, member);
        return isRequired ? next : optional(next);
      }),
    );
  const firsts: Pattern[] = [];
  let i = 0;
  for (; i < members.length; i++) {
    firsts.push(sequence(members[i].member, behind(i + 1)));
    if (members[i].isRequired) break;
  }
  if (i === members.length) firsts.push(EMPTY);
  return sequence(text("{"), firsts.length === 1 ? firsts[0] : choice(...firsts), text("}"));
}

function expectSchema(value: unknown, where: string): Schema {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Schema;
  throw new UserError(`${where} is ${showValue(value)}, expected an object.`);
}

function expectKeys(schema: Schema, known: readonly string[], where: string): void {
  const other = Object.keys(schema).find((key) => !known.includes(key) && !REMARKS.has(key));
  if (other === undefined) return;
  throw new UserError(`${where}.${other.slice(0, 80)}: cannot be enforced here.`, {
    hint: `Supported: ${known.join(", ")}. Leave it out and check the answer yourself.`,
  });
}

function listOf(value: unknown, where: string, most: number, least = 1): unknown[] {
  if (Array.isArray(value) && value.length >= least && value.length <= most) return value;
  throw new UserError(`${where}: expected a list of ${least} to ${most}.`);
}

function countOf(value: unknown, usual: number, where: string): number {
  if (value === undefined) return usual;
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_COUNT) return value as number;
  throw new UserError(`${where} is ${showValue(value)}, expected a whole number up to ${MAX_COUNT}.`);
}

/** The schema that "#/$defs/NAME" names. */
function referred(root: Schema, reference: string, where: string): unknown {
  const found = /^#(?:\/(.*))?$/s.exec(reference);
  if (!found)
    throw new UserError(`${where}.$ref is ${showValue(reference)}, expected one into this schema (#/$defs/NAME).`);
  let at: unknown = root;
  for (const part of found[1]?.split("/") ?? []) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) {
      throw new UserError(`${where}.$ref: there is no ${showValue(reference)}.`);
    }
    at = (at as Schema)[key];
  }
  return at;
}
