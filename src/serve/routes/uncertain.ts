import type { FastifyInstance } from "fastify";
import type { Example } from "../../data/example.ts";
import { inputKey, type SplitName } from "../../data/split.ts";
import type { Extraction, Unextracted } from "../../extract/extractor.ts";
import { exampleOf, type GivenExample, pairAnswer } from "../answers.ts";
import { admit, runOf, type ServeContext } from "../context.ts";
import type { GivenEntity } from "../given-entities.ts";
import { sendObject } from "../ndjson.ts";
import { Problem } from "../problem.ts";
import { answers, ENTITY, EXAMPLE, OBJECT, oneOf, problems, RUN_NAME, SETTINGS_OF_TEXT } from "../schemas.ts";
import type { ServedRun } from "../served-run.ts";
import { finderFor, type TextSettings, textEvents } from "../text-work.ts";
import { oneText } from "./extract.ts";

interface Body extends TextSettings {
  run?: string;
  examples?: GivenExample[];
  text?: string;
  entities?: GivenEntity[];
  find?: boolean;
  rows?: { split: SplitName; label?: string; offset?: number; limit?: number };
  limit?: number;
  skipJudged?: boolean;
}

/** An example with its answer. */
interface Asked {
  example: Example;
  result: Extraction | Unextracted;
}

const DEFAULT_ROWS = 200;

/** POST /v1/uncertain: examples in the order in which a person should look at them. */
export function addUncertainRoute(app: FastifyInstance, context: ServeContext): void {
  const { pairs, textCharacters, entities } = context.limits;
  const count = (minimum: number, maximum: number) => ({ type: "integer", minimum, maximum });
  const body = {
    type: "object",
    properties: {
      run: RUN_NAME,
      examples: { type: "array", items: EXAMPLE, minItems: 1, maxItems: pairs },
      text: { type: "string", minLength: 1, maxLength: textCharacters, description: "A text whose pairs are asked." },
      entities: { type: "array", items: ENTITY, maxItems: entities },
      find: { type: "boolean", description: "Find entities with the run too (a run with the task mentions)." },
      rows: {
        type: "object",
        description: "Rows of the run's data.",
        properties: {
          split: { enum: ["train", "valid", "test"] },
          label: { type: "string", maxLength: 500 },
          offset: count(0, 1e9),
          limit: { ...count(1, pairs), default: DEFAULT_ROWS },
        },
        required: ["split"],
        additionalProperties: false,
      },
      limit: { ...count(1, pairs), description: "Most rows of the answer; default all." },
      skipJudged: { type: "boolean", description: "Leave out rows of the labelled set." },
      ...SETTINGS_OF_TEXT,
    },
    additionalProperties: false,
    ...oneOf("examples", "text", "rows"),
  };
  const schema = {
    tags: ["review"],
    summary: "Examples, the most uncertain first",
    description:
      "Give examples, a text, or rows of the run's data. By the margin between the two most probable labels: 0 is a tie. Examples without an answer come last.",
    body,
    response: {
      ...answers("The examples with their answers.", { "application/json": OBJECT }),
      ...problems(404, 413, 422, 429),
    },
  };
  app.post<{ Body: Body }>("/v1/uncertain", { schema }, async (request, reply) => {
    const { body: given } = request;
    const served = runOf(context, given.run);
    const { examples, text, rows: wanted, limit = pairs, skipJudged = false } = given;
    if ([examples, text, wanted].filter((one) => one !== undefined).length !== 1) {
      throw new Problem("bad-request", 'Expected one of "examples", "text" and "rows".', {
        hint: 'For example {"rows": {"split": "train"}}.',
      });
    }
    const judged = new Set(skipJudged ? (context.review?.labelled.rows() ?? []).map(inputKey) : []);
    const isNew = (example: Example) => judged.size === 0 || !judged.has(inputKey(example));
    if (text !== undefined) {
      const ticket = admit(context, request, reply, 1);
      const finder = finderFor(context, served, ticket, given, text);
      const asked = createShortList(limit);
      const events = textEvents(context, served, ticket, oneText(text), finder, given, (questions, results) => {
        for (const [i, { example }] of questions.entries()) {
          if (isNew(example)) asked.add({ example, result: results[i] });
        }
      });
      let counts: unknown;
      for await (const event of events) if ("counts" in event) counts = event.counts;
      const rows = asked.rows().map((one) => ({ ...withText(one.example), ...answerOf(one, served) }));
      return sendObject(reply, { run: served.name, rows, counts });
    }
    const found = wanted
      ? (await context.datasets.rows(served.run, { offset: 0, limit: DEFAULT_ROWS, ...wanted })).rows
      : null;
    const all = found ?? (examples as GivenExample[]).map(exampleOf);
    const own = all
      .map((example, index) => ({ example: example as Example, index }))
      .filter((one) => isNew(one.example));
    const ticket = admit(context, request, reply, Math.max(1, own.length));
    const questions = own.map(({ example: { relations: _, ...example } }) => ({ example, mask: null }));
    const results = questions.length === 0 ? [] : await ticket.ask(served.pairs, questions);
    const list = createShortList(limit);
    for (const [i, one] of own.entries()) list.add({ ...one, result: results[i] });
    const rows = list.rows().map((one) => {
      const { index, example } = one as Asked & { index: number };
      if (!wanted) return { index, ...answerOf(one, served) };
      const { row } = example as Example & { row: number };
      return { row, ...withText(example), relations: example.relations, ...answerOf(one, served) };
    });
    return { run: served.name, rows };
  });
}

const withText = ({ sentence, head, tail, headSpan, tailSpan }: Example) => ({
  ...{ sentence, head, tail, headSpan, tailSpan },
});

function answerOf({ example, result }: Asked, { run }: ServedRun) {
  const id = typeof example.id === "bigint" ? undefined : example.id;
  return { margin: marginOf(result), ...pairAnswer(result, run.labels, { id }) };
}

/** Keeps the most uncertain of any number of answers, in the order of uncertainty, those of equal margins as they came. */
function createShortList(limit: number): { add(one: Asked): void; rows(): Asked[] } {
  let kept: { one: Asked; margin: number; order: number }[] = [];
  let order = 0;
  const cut = () => {
    kept.sort((a, b) => a.margin - b.margin || a.order - b.order);
    kept = kept.slice(0, limit);
  };
  return {
    add(one) {
      kept.push({ one, margin: marginOf(one.result) ?? 2, order: order++ });
      if (kept.length >= 2 * limit + 64) cut();
    },
    rows() {
      cut();
      return kept.map(({ one }) => one);
    },
  };
}

/** The most probable label's probability without that of the next one; null for an example without an answer. */
function marginOf(result: Extraction | Unextracted): number | null {
  if ("problem" in result) return null;
  let [best, second] = [0, 0];
  for (const probability of result.probabilities) {
    if (probability > best) [best, second] = [probability, best];
    else if (probability > second) second = probability;
  }
  return Number((best - second).toFixed(6));
}
