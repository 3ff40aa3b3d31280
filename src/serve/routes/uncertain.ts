import type { FastifyInstance } from "fastify";
import { exampleOf, type GivenExample, pairAnswer } from "../answers.ts";
import { admit, runOf, type ServeContext } from "../context.ts";
import { EXAMPLE, problems, RUN_NAME } from "../schemas.ts";

interface Body {
  run?: string;
  examples: GivenExample[];
}

/** POST /v1/uncertain: examples in the order in which a person should look at them. */
export function addUncertainRoute(app: FastifyInstance, context: ServeContext): void {
  const body = {
    type: "object",
    properties: {
      run: RUN_NAME,
      examples: { type: "array", items: EXAMPLE, minItems: 1, maxItems: context.limits.pairs },
    },
    required: ["examples"],
    additionalProperties: false,
  };
  const schema = {
    tags: ["review"],
    summary: "Examples, the most uncertain first",
    description:
      "By the margin between the two most probable labels: 0 is a tie. Examples without an answer come last.",
    body,
    response: { 200: { type: "object", additionalProperties: true }, ...problems(400, 401, 404, 413, 422, 429, 503) },
  };
  app.post<{ Body: Body }>("/v1/uncertain", { schema }, async (request, reply) => {
    const served = runOf(context, request.body.run);
    const { examples } = request.body;
    const ticket = admit(context, request, reply, examples.length);
    const results = await ticket.ask(
      served.pairs,
      examples.map((example) => ({ example: exampleOf(example), mask: null })),
    );
    const rows = results.map((result, index) => {
      const margin = "problem" in result ? null : marginOf(result.probabilities);
      return { index, margin, ...pairAnswer(result, served.run.labels, { id: examples[index].id }) };
    });
    rows.sort((a, b) => (a.margin ?? 2) - (b.margin ?? 2) || a.index - b.index);
    return { run: served.name, rows };
  });
}

/** The most probable label's probability without that of the next one. */
function marginOf(probabilities: Float64Array): number {
  let [best, second] = [0, 0];
  for (const probability of probabilities) {
    if (probability > best) [best, second] = [probability, best];
    else if (probability > second) second = probability;
  }
  return Number((best - second).toFixed(6));
}
