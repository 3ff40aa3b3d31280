import { stringify as stringifyYaml } from "yaml";
import { z } from "zod";
import { wrapped } from "../base/text-layout.ts";

/** One key of a recipe, as its schema describes it. */
export interface KeyDescription {
  /** Path with dots; a key that the user chooses is "*" ("data.sources.*.weight"). */
  key: string;
  description: string;
  /** The values it accepts, in words; "" for a group. */
  allowed: string;
  /** What a recipe that leaves it out has; undefined when nothing is. */
  default?: unknown;
}

/** What of JSON Schema zod writes for a recipe. */
interface SchemaNode {
  type?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  items?: SchemaNode;
  properties?: Record<string, SchemaNode>;
  additionalProperties?: SchemaNode | boolean;
  anyOf?: SchemaNode[];
  oneOf?: SchemaNode[];
}

function schemaNode(schema: z.ZodType): SchemaNode {
  return z.toJSONSchema(schema, { io: "input" }) as SchemaNode;
}

/** Every key that a recipe of a schema may have, a name that the user chooses as "*"; a key without a description has "". */
export function describeSchema(schema: z.ZodType): KeyDescription[] {
  const described = new Map<string, KeyDescription>();
  const walk = (node: SchemaNode, path: string): void => {
    for (const option of node.oneOf ?? [node]) {
      for (const [name, child] of childrenOf(option, ["*"])) {
        const key = joined(path, name);
        described.set(key, descriptionOf(key, child, node.oneOf));
        walk(child, key);
      }
    }
  };
  walk(schemaNode(schema), "");
  return [...described.values()];
}

/** The keys of a group, `names` in the place of those that the user chooses. */
function childrenOf(node: SchemaNode, names: readonly string[]): [string, SchemaNode][] {
  const { properties = {}, additionalProperties: each } = node;
  return [
    ...Object.entries(properties),
    ...(typeof each === "object" ? names.map((name) => [name, each] as [string, SchemaNode]) : []),
  ];
}

/** Of a key in a union, what any of its `options` says and accepts. */
function descriptionOf(key: string, node: SchemaNode, options?: readonly SchemaNode[]): KeyDescription {
  const name = key.slice(key.lastIndexOf(".") + 1);
  const variants = options?.flatMap(({ properties = {} }) => properties[name] ?? []) ?? [node];
  const allowed = [...new Set(variants.map(allowedText))].join(" | ");
  const description = variants.find((variant) => variant.description)?.description ?? "";
  return { key, description, allowed, default: node.default };
}

function joined(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

/** The values that a node of JSON Schema accepts, in words. */
function allowedText(node: SchemaNode): string {
  if (node.const !== undefined) return String(node.const);
  if (node.enum) return node.enum.map(String).join(" | ");
  const options = node.anyOf ?? node.oneOf;
  if (options) {
    return [...new Set(options.map(allowedText))].filter(Boolean).join(" | ");
  }
  if (node.type === "array") return `list of ${allowedText(node.items ?? {})}`;
  if (node.type === "boolean") return "true | false";
  if (node.type === "string") return "text";
  if (node.type !== "integer" && node.type !== "number") return "";
  const { minimum, exclusiveMinimum, exclusiveMaximum } = node;
  // The largest safe integer is no bound that a user has to know.
  const maximum = node.maximum === Number.MAX_SAFE_INTEGER ? undefined : node.maximum;
  return [
    node.type === "integer" ? "whole number" : "number",
    ...(minimum === undefined ? [] : [`from ${minimum}`]),
    ...(exclusiveMinimum === undefined ? [] : [`above ${exclusiveMinimum}`]),
    ...(maximum === undefined ? [] : [`${minimum === undefined ? "up to" : "to"} ${maximum}`]),
    ...(exclusiveMaximum === undefined ? [] : [`below ${exclusiveMaximum}`]),
  ].join(" ");
}

/** A value of a recipe with everything known of it. */
export interface ExplainedValue extends KeyDescription {
  /** undefined: the recipe does not set it, and need not. */
  value: unknown;
}

/**
 * Every value of a recipe with its explanation, in the order of the schema; `defaults` are the values it would have if it left them out.
 * Optional keys without a value are in the list too, those inside an absent group are not.
 */
export function explainValues(schema: z.ZodType, recipe: object, defaults: object): ExplainedValue[] {
  const explained: ExplainedValue[] = [];
  const walk = (node: SchemaNode, path: string, group: object, byDefault: object): void => {
    const option = node.oneOf?.find((one) => hasConstants(one, group)) ?? node;
    for (const [name, child] of childrenOf(option, Object.keys(group))) {
      const key = joined(path, name);
      const [value, left] = [group, byDefault].map((values) => (values as Record<string, unknown>)[name]);
      const described = descriptionOf(key, child, node.oneOf);
      explained.push({ ...described, value: isGroup(value) ? undefined : value, default: left ?? described.default });
      if (isGroup(value)) walk(child, key, value, isGroup(left) ? left : {});
    }
  };
  walk(schemaNode(schema), "", recipe, defaults);
  return explained;
}

/** Whether a value is of this option of a union, by the keys of which each option has its own constant. */
function hasConstants({ properties = {} }: SchemaNode, value: object): boolean {
  return Object.entries(properties).every(
    ([name, { const: constant }]) => constant === undefined || (value as Record<string, unknown>)[name] === constant,
  );
}

/**
 * A recipe as YAML with a comment of one sentence over every value, which can be used as a recipe: a key that is not set is commented out.
 * `paint` colours comments; `columns` is where they wrap.
 */
export function explainedYaml(
  values: readonly ExplainedValue[],
  options: { columns: number; paint: (comment: string) => string },
): string {
  const isGroupKey = (key: string) => values.some((other) => other.key.startsWith(`${key}.`));
  const lines: string[] = [];
  for (const { key, value, description, allowed, default: byDefault } of values) {
    const names = key.split(".");
    const indent = "  ".repeat(names.length - 1);
    const name = names[names.length - 1];
    const comment = [description, bracketed(allowed, value, byDefault, isGroupKey(key))].filter(Boolean).join(" ");
    if (indent === "" && lines.length > 0) lines.push("");
    for (const line of comment === "" ? [] : wrapped(comment, options.columns - indent.length - 2)) {
      lines.push(`${indent}${options.paint(`# ${line}`)}`);
    }
    if (isGroupKey(key)) lines.push(`${indent}${name}:`);
    else if (value === undefined) lines.push(`${indent}${options.paint(`# ${name}:`)}`);
    else lines.push(`${indent}${name}: ${yamlOf(value)}`);
  }
  return `${lines.join("\n")}\n`;
}

function bracketed(allowed: string, value: unknown, byDefault: unknown, isGroupKey: boolean): string {
  if (isGroupKey) return "";
  const isDefault = byDefault !== undefined && JSON.stringify(value) === JSON.stringify(byDefault);
  const said =
    byDefault === undefined || isGroup(byDefault) ? "" : isDefault ? "default" : `default ${yamlOf(byDefault)}`;
  const parts = [allowed, value === undefined ? "not set" : said].filter(Boolean);
  return parts.length > 0 ? `[${parts.join("; ")}]` : "";
}

function yamlOf(value: unknown): string {
  return stringifyYaml(value, { collectionStyle: "flow", lineWidth: 0 }).trimEnd();
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
