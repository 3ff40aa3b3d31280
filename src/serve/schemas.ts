import type { ServeLimits } from "./limits.ts";

/** JSON Schemas that several routes share. They check requests and are the OpenAPI document. */

const text = (about: string, most: number) => ({ type: "string", description: about, minLength: 1, maxLength: most });

export const RUN_NAME = {
  type: "string",
  description: "Name of a run (GET /v1/runs); may be left out where the server has one.",
  minLength: 1,
  maxLength: 100,
} as const;

export const SPAN = {
  description: "Place in the sentence in UTF-16 code units, [start, end).",
  anyOf: [
    {
      type: "object",
      properties: { start: { type: "integer", minimum: 0 }, end: { type: "integer", minimum: 1 } },
      required: ["start", "end"],
      additionalProperties: false,
    },
    { type: "array", items: { type: "integer", minimum: 0 }, minItems: 2, maxItems: 2 },
  ],
} as const;

const MAX_SENTENCE = 20_000;
const MAX_NAME = 200;

export const EXAMPLE = {
  type: "object",
  properties: {
    sentence: text("The text that has both entities.", MAX_SENTENCE),
    head: text("The first entity, as it is in the sentence.", MAX_SENTENCE),
    tail: text("The second entity.", MAX_SENTENCE),
    headSpan: SPAN,
    tailSpan: SPAN,
    id: {
      anyOf: [{ type: "string", maxLength: 500 }, { type: "integer" }],
      description: "Comes back with the answer.",
    },
  },
  required: ["sentence", "head", "tail"],
  additionalProperties: false,
} as const;

export const ENTITY = {
  type: "object",
  description:
    "A mention (start and end in code points, or startUtf16 and endUtf16), or a name that is looked for in the text.",
  properties: {
    start: { type: "integer", minimum: 0 },
    end: { type: "integer", minimum: 1 },
    startUtf16: { type: "integer", minimum: 0 },
    endUtf16: { type: "integer", minimum: 1 },
    name: text("The name of the entity.", MAX_NAME),
    aliases: { type: "array", items: text("Another name.", MAX_NAME), maxItems: 50 },
    type: text("Its type, for labels that hold between types.", 100),
    id: text("Equal for all names of one entity; default: the name.", 500),
  },
  additionalProperties: false,
} as const;

export const PROBLEM = {
  type: "object",
  description: "Why there is no answer (RFC 9457).",
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    code: { type: "string" },
    detail: { type: "string" },
    hint: { type: "string" },
    instance: { type: "string" },
    error: { type: "object", additionalProperties: true },
  },
  required: ["type", "title", "status", "code", "detail", "instance"],
} as const;

const PREDICTION = {
  type: "object",
  properties: { relation: { type: "string" }, probability: { type: "number", minimum: 0, maximum: 1 } },
  required: ["relation", "probability"],
} as const;

export const PAIR_ANSWER = {
  type: "object",
  properties: {
    id: {},
    predictions: { type: "array", items: PREDICTION, description: "The chosen relations, the most probable first." },
    probabilities: {
      type: "object",
      additionalProperties: { type: "number" },
      description: "Of every label, where the request asks for them.",
    },
    modelProbabilities: {
      type: "object",
      additionalProperties: { type: "number" },
      description:
        "The same of the language model alone, before companion and calibration: what a choice of completions has.",
    },
    truncated: { type: "boolean", description: "The sentence was shortened to fit." },
    generated: { type: "string" },
    error: { type: "string", description: "Why this example has no answer." },
  },
} as const;

const MENTION = {
  type: "object",
  properties: {
    text: { type: "string" },
    id: { type: "string" },
    name: { type: "string" },
    type: { type: ["string", "null"] },
    start: { type: "integer" },
    end: { type: "integer" },
    startUtf16: { type: "integer" },
    endUtf16: { type: "integer" },
    probability: { type: "number" },
  },
} as const;

export const TRIPLE = {
  type: "object",
  properties: {
    document: { type: "string" },
    sentence: { type: "string" },
    sentenceStart: { type: "integer" },
    head: MENTION,
    relation: { type: "string" },
    tail: MENTION,
    probability: { type: "number" },
    run: { type: "string", description: "Fingerprint of the run." },
  },
} as const;

export const SETTINGS_OF_TEXT = {
  window: { type: "integer", minimum: 1, maximum: 5, description: "Sentences that a pair may extend over; default 1." },
  maxPairs: { type: "integer", minimum: 1, maximum: 1000, description: "Most pairs of a sentence; default 100." },
  minProbability: { type: "number", minimum: 0, maximum: 1, description: "Relations with less are left out." },
  precision: {
    type: "number",
    minimum: 0,
    maximum: 1,
    description: "Leave out relations below the probability that had this precision on the validation rows.",
  },
  overlap: { enum: ["longest", "all"], description: "Names inside of names; default longest." },
} as const;

/** What any route may answer: a parameter that is not valid, no token, a page of another origin, a server that stops. */
const ALWAYS = [400, 401, 403, 503];

/** The answers of a route that are problems. */
export const problems = (...statuses: number[]) =>
  Object.fromEntries(
    [...new Set([...ALWAYS, ...statuses])]
      .sort()
      .map((status) => [
        status,
        { description: PROBLEM.description, content: { "application/problem+json": { schema: PROBLEM } } },
      ]),
  );

export const OBJECT = { type: "object", additionalProperties: true } as const;

/** The answer of a route, by its media type. */
export const answers = (description: string, byType: Record<string, object>) => ({
  200: {
    description,
    content: Object.fromEntries(Object.entries(byType).map(([type, schema]) => [type, { schema }])),
  },
});

/** Lines of JSON, or events, one after another: what they are is in the description. */
export const LINES = {} as const;

/** The key of a schema that only the OpenAPI document has: routes check it themselves, and say better what is missing. */
const ONE_OF = "x-one-of";

/** Exactly one of these keys. */
export const oneOf = (...keys: string[]) => ({ [ONE_OF]: keys.map((key) => ({ required: [key] })) });

/** The schema of a route whose body is a form with a file, which a route reads itself: its settings, and the file. */
export const upload = (settings: object) => ({ consumes: ["multipart/form-data"], [UPLOAD]: settings });
const UPLOAD = "x-upload";

/** The schema of a route as the OpenAPI document has it. */
export function documentedRoute<T extends object>(schema: T): T {
  const { [UPLOAD]: settings, ...others } = documented(schema) as T & { [UPLOAD]?: object };
  if (settings === undefined) return others as T;
  const file = { type: "string", format: "binary" };
  return { ...others, body: { type: "object", properties: { settings, file }, required: ["file"] } } as unknown as T;
}

function documented<T>(schema: T): T {
  if (Array.isArray(schema)) return schema.map(documented) as T;
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key === ONE_OF ? "oneOf" : key, documented(value)]),
  ) as T;
}

/** The body of POST /v1/extract. */
export const extractBody = (limits: ServeLimits) => ({
  type: "object",
  properties: {
    run: RUN_NAME,
    examples: { type: "array", items: EXAMPLE, minItems: 1, maxItems: limits.pairs, description: "Pairs to ask." },
    text: text("A text whose relations are looked for.", limits.textCharacters),
    entities: { type: "array", items: ENTITY, maxItems: limits.entities },
    find: { type: "boolean", description: "Find entities with the run too (a run with the task mentions)." },
    probabilities: { type: "boolean", description: "Give the probability of every label, for examples." },
    stream: { type: "boolean", description: "Answer line by line (NDJSON) as results are known." },
    ...SETTINGS_OF_TEXT,
  },
  additionalProperties: false,
  ...oneOf("examples", "text"),
  examples: [
    {
      examples: [{ sentence: "远山集团收购了近水公司的股份。", head: "远山集团", tail: "近水公司" }],
      probabilities: true,
    },
    {
      text: "远山集团收购了近水公司的股份。东风公司与它们合作。",
      entities: [{ name: "远山集团", aliases: ["远山"] }, { name: "近水公司" }, { start: 15, end: 19 }],
    },
  ],
});
