import { UserError } from "../base/errors.ts";
import { writeMembers } from "../base/json-text.ts";
import { type Example, quoted } from "./example.ts";

/** One row of instruction data as Stanford Alpaca and LLaMA-Factory read it. */
export interface AlpacaRow {
  instruction: string;
  input: string;
  output: string;
}

/** The format to write; for Alpaca rows the prompt style gives the texts. */
export type ConvertTarget =
  | { format: "alpaca"; render: (example: Example) => AlpacaRow }
  | { format: "jsonl" }
  | { format: "chinese-nre" };

/** Writes examples as lines of text without line ends. Throws a UserError for an example that the format cannot hold. */
export async function* convertExamples(
  examples: Iterable<Example> | AsyncIterable<Example>,
  target: ConvertTarget,
): AsyncGenerator<string> {
  let number = 0;
  for await (const example of examples) {
    number++;
    if (target.format === "alpaca") {
      const { instruction, input, output } = target.render(example);
      yield JSON.stringify({ instruction, input, output });
    } else if (target.format === "jsonl") {
      yield jsonlLine(example);
    } else {
      yield* chineseNreLines(example, number);
    }
  }
}

function jsonlLine(example: Example): string {
  const { id, sentence, head, tail, headSpan, tailSpan, relations } = example;
  return writeMembers(new Map(), { id, sentence, head, tail, headSpan, tailSpan, relations });
}

function chineseNreLines(example: Example, number: number): string[] {
  const { sentence, head, tail, relations = [] } = example;
  if (relations.length === 0) {
    throw new UserError(`example ${number}: has no relations, expected at least one to write it as chinese-nre.`);
  }
  for (const [name, text] of [["head", head], ["tail", tail], ...relations.map((relation) => ["relation", relation])]) {
    if (/[\t\r\n]/.test(text) || text !== text.trim()) {
      throw new UserError(
        `example ${number}: the ${name} ${quoted(text)} has a TAB, a line break or outer spaces, which chinese-nre cannot hold.`,
        { hint: "Write it as jsonl." },
      );
    }
  }
  if (/[\r\n]/.test(sentence)) {
    throw new UserError(
      `example ${number}: the sentence ${quoted(sentence)} has a line break, which chinese-nre cannot hold.`,
      {
        hint: "Write it as jsonl.",
      },
    );
  }
  return relations.map((relation) => `${head}\t${tail}\t${relation}\t${sentence}`);
}
