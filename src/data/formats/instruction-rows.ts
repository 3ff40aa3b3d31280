import { showValue } from "../../base/errors.ts";
import { exampleProblem, quoted } from "../example.ts";
import { jsonFormat } from "./json-format.ts";
import { isObject, type LabelledFormat, type LabelledRow } from "./labelled.ts";

/** Rows of instruction data with the prompt of CRE-LLM (docs/method.md), as Alpaca ({"instruction", "input", "output"}) has them. */
export const alpaca: LabelledFormat = jsonFormat({
  title: "Alpaca rows of the paper's prompt",
  expected: '{"instruction", "input": "… ([甲],?,[乙])", "output": "([甲],收购,[乙])"}',
  recognise: (row) => "output" in row && ("input" in row || "instruction" in row),
  read(row, out) {
    const { instruction = "", input = "", output } = row;
    if (typeof instruction !== "string" || typeof input !== "string" || typeof output !== "string") {
      return `got ${showValue(row)}, expected texts as "instruction", "input" and "output"`;
    }
    return readPair(input === "" ? withoutFirstLine(instruction) : input, output, out);
  },
});

/** The same prompt as a conversation: ShareGPT's {"conversations": [{"from", "value"}]} or {"messages": [{"role", "content"}]}. */
export const sharegpt: LabelledFormat = jsonFormat({
  title: "ShareGPT rows of the paper's prompt",
  expected:
    '{"conversations": [{"from": "human", "value": "… ([甲],?,[乙])"}, {"from": "gpt", "value": "([甲],收购,[乙])"}]}',
  recognise: (row) => "conversations" in row || "messages" in row,
  read(row, out) {
    const turns = row.conversations ?? row.messages;
    if (!Array.isArray(turns)) return `got ${showValue(turns)}, expected a list of turns`;
    const said = turns.map((turn) => (isObject(turn) ? [turn.from ?? turn.role, turn.value ?? turn.content] : []));
    const spoken = said.filter(([who]) => who !== "system");
    const [question, answer] = spoken;
    const isPair =
      spoken.length === 2 &&
      ["human", "user"].includes(String(question[0])) &&
      ["gpt", "assistant"].includes(String(answer[0]));
    if (!isPair || typeof question[1] !== "string" || typeof answer[1] !== "string") {
      return `got ${showValue(turns)}, expected one question of "human" (or "user") and one answer of "gpt" (or "assistant")`;
    }
    return readPair(withoutFirstLine(question[1]), answer[1], out);
  },
});

/** The first line of a question that has several is the instruction. */
const withoutFirstLine = (text: string): string => text.slice(text.indexOf("\n") + 1);

/** Reads `SENTENCE ([HEAD],?,[TAIL])`, with brackets around every occurrence of both, and `([HEAD],LABEL,[TAIL]),…`. */
function readPair(input: string, output: string, out: LabelledRow): string | undefined {
  const question = /^([\s\S]*) \(\[((?:(?! \(\[)[\s\S])*)\],\?,\[((?:(?! \(\[)[\s\S])*)\]\)\s*$/.exec(input);
  if (question === null) return `got the input ${quoted(input)}, expected one that ends with ([甲],?,[乙])`;
  const [, marked, head, tail] = question;
  const sentence = marked.replaceAll(`[${tail}]`, tail).replaceAll(`[${head}]`, head);
  const [before, after] = [`([${head}],`, `,[${tail}])`];
  const relations: string[] = [];
  for (let rest = output.trim(); rest !== ""; ) {
    const end = rest.indexOf(after, before.length);
    if (!rest.startsWith(before) || end < 0) {
      return `got the output ${quoted(output)}, expected ${quoted(`${before}LABEL${after}`)}, several with commas between them`;
    }
    relations.push(rest.slice(before.length, end));
    rest = rest.slice(end + after.length);
    if (rest.startsWith(",")) rest = rest.slice(1);
  }
  if (relations.length === 0) return "got an empty output, expected at least one relation";
  const pair = { sentence, head, tail, relations };
  const problem = exampleProblem(pair);
  if (problem !== null) return problem;
  out.pairs.push(pair);
}
