import { z } from "zod";
import { type Example, exampleProblem, type LabelDefinition, quoted } from "./example.ts";

/** Definitions as `labels.json` has them: a text, or a text with examples in which the label holds. */
export type LabelDefinitionsJson = Record<string, string | { definition: string; examples: DefinitionExample[] }>;

type DefinitionExample = Pick<Example, "sentence" | "head" | "tail" | "headSpan" | "tailSpan">;

const MAX_DEFINITION_CHARS = 2000;
const MAX_EXAMPLES = 20;
const MAX_SENTENCE_CHARS = 2000;

const spanSchema = z.strictObject({ start: z.int(), end: z.int() }).optional();
const exampleSchema = z.strictObject({
  sentence: z.string().max(MAX_SENTENCE_CHARS),
  head: z.string(),
  tail: z.string(),
  headSpan: spanSchema,
  tailSpan: spanSchema,
});
const definitionText = z.string().max(MAX_DEFINITION_CHARS);

export const definitionsSchema = z.record(
  z.string(),
  z.union([
    definitionText,
    z.strictObject({ definition: definitionText, examples: z.array(exampleSchema).max(MAX_EXAMPLES).default([]) }),
  ]),
);

/** The definitions by label. Adds a problem for an empty text and for an example whose entities are not in its sentence. */
export function definitionsFromJson(
  json: z.input<typeof definitionsSchema>,
  problems: string[],
): ReadonlyMap<string, LabelDefinition> {
  const definitions = new Map<string, LabelDefinition>();
  for (const [label, given] of Object.entries(json)) {
    const { definition, examples = [] } = typeof given === "string" ? { definition: given } : given;
    if (definition.trim() === "") problems.push(`definitions: ${quoted(label)} has an empty definition, expected text`);
    for (const [i, example] of examples.entries()) {
      const problem = exampleProblem(example);
      if (problem !== null) problems.push(`definitions: ${quoted(label)}, example ${i + 1}: ${problem}`);
    }
    definitions.set(label, { definition: definition.trim(), examples });
  }
  return definitions;
}

/** The JSON form; {@link definitionsFromJson} reads it back. */
export function definitionsToJson(definitions: ReadonlyMap<string, LabelDefinition>): LabelDefinitionsJson {
  const one = ({ definition, examples }: LabelDefinition) =>
    examples.length === 0 ? definition : { definition, examples: [...examples] };
  return Object.fromEntries(Array.from(definitions, ([label, given]) => [label, one(given)]));
}
