import fc, { type Arbitrary } from "fast-check";

/** The part of JSON Schema that the server's OpenAPI document uses. */
export interface JsonSchema {
  type?: string | string[];
  enum?: unknown[];
  anyOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  additionalProperties?: boolean | JsonSchema;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
}

const MOST_ITEMS = 4;
const MOST_CHARACTERS = 60;
const TEXTS = [
  "远山收购近水的股份。",
  "远山",
  "近水",
  "toy",
  "甲😀乙",
  "\u0000",
  "\ud800",
  "</script>",
  "../../etc/passwd",
  "{}",
  "(a+)+$",
  "[",
  "#/$defs/x",
];

/** Values that a schema allows, small ones. */
export function arbitraryOf(schema: JsonSchema): Arbitrary<unknown> {
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map(arbitraryOf));
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  const { minimum = 0, maximum = 1000, exclusiveMinimum } = schema;
  switch (type) {
    case "string": {
      const { minLength = 0, maxLength = MOST_CHARACTERS } = schema;
      const some = fc.string({
        minLength,
        maxLength: Math.max(minLength, Math.min(maxLength, MOST_CHARACTERS)),
        unit: "binary",
      });
      return fc.oneof(
        fc.constantFrom(...TEXTS.filter(({ length }) => length >= minLength && length <= maxLength)),
        some,
      );
    }
    case "integer":
      return fc.integer({ min: minimum, max: Math.min(maximum, 50) < minimum ? maximum : Math.min(maximum, 50) });
    case "number":
      return fc.double({
        min: exclusiveMinimum ?? minimum,
        max: maximum,
        noNaN: true,
        minExcluded: exclusiveMinimum !== undefined,
      });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array": {
      const { items = {}, minItems = 0, maxItems = MOST_ITEMS } = schema;
      return fc.array(arbitraryOf(items), {
        minLength: minItems,
        maxLength: Math.max(minItems, Math.min(maxItems, MOST_ITEMS)),
      });
    }
    case "object": {
      const properties = Object.entries(schema.properties ?? {});
      const known = Object.fromEntries(properties.map(([name, one]) => [name, arbitraryOf(one)]));
      return fc.record(known, { requiredKeys: schema.required ?? [] });
    }
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

const WRONG: Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    -1,
    1e308,
    0.5,
    "",
    [],
    {},
    true,
    "x".repeat(3000),
    [[[[[]]]]],
    { $ref: "#" },
    2 ** 53,
  ),
  fc.jsonValue({ maxDepth: 3 }),
);

/** Values that a schema allows, of which one part at a time may be replaced by another value, taken away, or joined by an unknown key. */
export function nearlyOf(schema: JsonSchema): Arbitrary<unknown> {
  return fc
    .tuple(
      arbitraryOf(schema),
      WRONG,
      fc.array(fc.nat(30), { maxLength: 4 }),
      fc.constantFrom("keep", "replace", "remove", "add"),
    )
    .map(([value, wrong, path, change]) => changed(value, wrong, path, change));
}

function changed(value: unknown, wrong: unknown, path: readonly number[], change: string): unknown {
  if (change === "keep") return value;
  if (path.length === 0 || typeof value !== "object" || value === null) return change === "replace" ? wrong : value;
  const keys = Object.keys(value);
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
  if (keys.length === 0) return copy;
  const key = keys[path[0] % keys.length];
  if (path.length > 1) copy[key] = changed(copy[key], wrong, path.slice(1), change);
  else if (change === "replace") copy[key] = wrong;
  else if (change === "remove") delete copy[key];
  else copy[`${key}x`] = wrong;
  return copy;
}
