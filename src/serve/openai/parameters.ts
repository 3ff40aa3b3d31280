import { createRandom } from "../../base/random.ts";
import { readJsonSchema } from "../../decode/constraint/json-schema.ts";
import type { Pattern } from "../../decode/constraint/pattern.ts";
import { readRegex } from "../../decode/constraint/regex.ts";
import type { Drawing } from "../../decode/draw.ts";
import type { ServeLimits } from "../limits.ts";
import { Problem } from "../problem.ts";

/** What completions and chat completions have in common, as OpenAI names it. */
export interface CompletionParameters {
  model?: string;
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  n?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  response_format?: { type: string; json_schema?: { name?: string; schema?: unknown } } | null;
  /** An extension, as vLLM names it. */
  structured_outputs?: { choice?: string[]; regex?: string } | null;
  [other: string]: unknown;
}

const nullable = (schema: object) => ({ anyOf: [schema, { type: "null" }] });
const MAX_SEED = Number.MAX_SAFE_INTEGER;
const MAX_CHOICES = 1000;
const MAX_STOP_CHARACTERS = 200;
const MAX_N = 8;
const MAX_TEMPERATURE = 2;

export const parameterProperties = (limits: ServeLimits) => ({
  model: { type: "string", minLength: 1, maxLength: 100, description: "Name of a run." },
  max_tokens: nullable({ type: "integer", minimum: 0, maximum: limits.newTokens }),
  temperature: nullable({ type: "number", minimum: 0, maximum: MAX_TEMPERATURE }),
  top_p: nullable({ type: "number", exclusiveMinimum: 0, maximum: 1 }),
  n: nullable({ type: "integer", minimum: 1, maximum: MAX_N }),
  seed: nullable({ type: "integer", minimum: -MAX_SEED, maximum: MAX_SEED }),
  stop: nullable({
    anyOf: [
      { type: "string", minLength: 1, maxLength: MAX_STOP_CHARACTERS },
      { type: "array", items: { type: "string", minLength: 1, maxLength: MAX_STOP_CHARACTERS }, maxItems: 4 },
    ],
  }),
  stream: nullable({ type: "boolean" }),
  stream_options: nullable({ type: "object", properties: { include_usage: { type: "boolean" } } }),
  response_format: nullable({
    type: "object",
    properties: {
      type: { enum: ["text", "json_schema", "json_object"] },
      json_schema: { type: "object", properties: { name: { type: "string" }, schema: { type: "object" } } },
    },
    required: ["type"],
  }),
  structured_outputs: nullable({
    type: "object",
    description: "The answer is one of the texts, or matches the expression.",
    properties: {
      choice: {
        type: "array",
        items: { type: "string", minLength: 1, maxLength: 500 },
        minItems: 1,
        maxItems: MAX_CHOICES,
      },
      regex: { type: "string", minLength: 1, maxLength: 4000 },
    },
    additionalProperties: false,
  }),
});

/** Settings of OpenAI that would change the answer and are not there, with the values that change nothing. */
const REFUSED: Record<string, (value: unknown) => boolean> = {
  tools: (value) => Array.isArray(value) && value.length === 0,
  functions: (value) => Array.isArray(value) && value.length === 0,
  tool_choice: (value) => value === "none" || value === "auto",
  frequency_penalty: (value) => value === 0,
  presence_penalty: (value) => value === 0,
  repetition_penalty: (value) => value === 1,
  logit_bias: (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0,
  suffix: (value) => value === "",
  best_of: (value) => value === 1,
  modalities: (value) => JSON.stringify(value) === '["text"]',
  audio: () => false,
};

/** Throws a Problem for a setting that is not supported: nothing is ignored that would change the answer. */
export function expectSupported(body: CompletionParameters): void {
  for (const [name, changesNothing] of Object.entries(REFUSED)) {
    const value = Object.hasOwn(body, name) ? body[name] : undefined;
    if (value === undefined || value === null || changesNothing(value)) continue;
    throw new Problem("bad-request", `${name} is not supported.`, { hint: "Leave it out." });
  }
}

/** How answers are drawn: each of `n` has its own stream of random numbers. */
export function drawingsOf({ temperature, top_p, seed, n }: CompletionParameters): Drawing[] {
  const first = seed ?? Math.floor(Math.random() * 2 ** 31);
  return Array.from({ length: n ?? 1 }, (_, i) => ({
    ...{ temperature: temperature ?? 1, topP: top_p ?? 1 },
    random: createRandom((first + i * 7919) >>> 0),
  }));
}

export const stopsOf = ({ stop }: CompletionParameters): string[] => (stop == null ? [] : [stop].flat());

/** The form that the answer must have. */
export type Form =
  | { kind: "free" }
  | { kind: "choice"; texts: string[] }
  | { kind: "pattern"; key: string; read: () => Pattern };

/** Throws a Problem for a form that is not supported, or more than one. */
export function formOf({ response_format: format, structured_outputs: structured }: CompletionParameters): Form {
  const forms: Form[] = [];
  if (format?.type === "json_object") {
    throw new Problem("bad-request", "response_format json_object is not supported.", {
      hint: 'Say what the object holds: {"type": "json_schema", "json_schema": {"schema": {…}}}',
    });
  }
  if (format?.type === "json_schema") {
    const schema = format.json_schema?.schema;
    if (schema === undefined) throw new Problem("bad-request", "response_format.json_schema: has no schema.");
    forms.push({ kind: "pattern", key: `schema ${JSON.stringify(schema)}`, read: () => readJsonSchema(schema) });
  }
  if (structured?.choice) forms.push({ kind: "choice", texts: [...new Set(structured.choice)] });
  if (structured?.regex !== undefined) {
    const { regex } = structured;
    forms.push({ kind: "pattern", key: `regex ${regex}`, read: () => readRegex(regex) });
  }
  if (forms.length > 1)
    throw new Problem(
      "bad-request",
      "The answer has several forms, expected one of response_format, choice and regex.",
    );
  return forms[0] ?? { kind: "free" };
}
