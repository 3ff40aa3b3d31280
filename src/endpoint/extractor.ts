import { UserError } from "../base/errors.ts";
import { type Example, exampleProblem } from "../data/example.ts";
import type { LabelMask } from "../data/label-types.ts";
import { type Normalization, normalizedExample } from "../data/normalize.ts";
import { combineDirections } from "../extract/combine.ts";
import { decodeProbabilities, type MixedCompanion } from "../extract/decoding.ts";
import {
  type Extraction,
  type Extractor,
  type ExtractorSettings,
  mirrored,
  type Unextracted,
} from "../extract/extractor.ts";
import { EndpointError } from "./client.ts";
import type { Asker, EndpointQuestion } from "./question.ts";
import type { Way } from "./ways.ts";

export interface EndpointExtractorOptions {
  asker: Asker;
  way: Way;
  settings: ExtractorSettings;
  normalize: Normalization;
  companion: MixedCompanion | null;
}

interface Prepared {
  example: Example;
  question: EndpointQuestion;
  mirror: EndpointQuestion | null;
  mask: LabelMask | null;
}

/**
 * The extractor whose model is on a server. All questions of a call are handed to the client at once, which bounds what is in progress. A way
 * that gives texts has no probabilities: they are NaN in memory, and left out of every output.
 */
export function createEndpointExtractor(options: EndpointExtractorOptions): Extractor {
  const { asker, way, normalize, companion } = options;
  const { labels } = asker;
  const settings: ExtractorSettings = { ...options.settings, method: way.kind === "text" ? "generate" : "labels" };
  const decoding = { labels, choice: settings, scale: settings.scale ?? null, companion };

  const prepare = (given: Example, mask: LabelMask | null = null): Prepared => {
    const example = normalizedExample(given, normalize);
    const problem = typeof example === "string" ? example : exampleProblem(example);
    if (typeof example === "string" || problem !== null) throw new UserError(problem as string);
    const asksBoth = settings.bothDirections && way.kind === "probabilities";
    const mirror = asksBoth ? asker.questionOf(mirrored(example)) : null;
    return { example, question: asker.questionOf(example), mirror, mask };
  };

  const byProbabilities = async ({ example, question, mirror, mask }: Prepared): Promise<Extraction> => {
    if (way.kind !== "probabilities") throw new Error("This way has no probabilities.");
    const asked = [question, ...(mirror ? [mirror] : [])].map((one) => way.ask(one));
    const [direct, opposite] = await Promise.all(asked);
    const own = mirror ? combineDirections(direct, opposite, labels) : direct;
    const [decoded] = decodeProbabilities(decoding, [example], [own], [mask]);
    return { ...decoded, modelProbabilities: own, truncated: question.truncated, generated: null };
  };

  const byText = async ({ question, mask }: Prepared): Promise<Extraction> => {
    if (way.kind !== "text") throw new Error("This way has no texts.");
    const { text, ended } = await way.ask(question);
    const { relations, unparsed, unknownLabels } = asker.parse(text, question);
    const isAllowed = (relation: string) => mask === null || mask[labels.labels.indexOf(relation)] === 1;
    const probabilities = Float64Array.from(labels.labels, () => Number.NaN);
    return {
      predictions: [...new Set(relations)].filter(isAllowed).map((relation) => ({ relation, probability: Number.NaN })),
      ...{ probabilities, modelProbabilities: probabilities, truncated: question.truncated },
      generated: { text, unparsed, unknownLabels, ended },
    };
  };

  const answer = way.kind === "text" ? byText : byProbabilities;
  return {
    labels,
    settings,
    normalize,
    mixture: way.kind === "probabilities" && companion ? companion.mixture : null,
    ...(way.kind === "text" ? { hasNoProbabilities: true } : {}),
    async extract(examples) {
      const prepared = examples.map((example) => prepare(example));
      return Promise.all(prepared.map(answer));
    },
    async extractEach(examples, masks = []) {
      const prepared = examples.map((example, i): Prepared | Unextracted => {
        try {
          return prepare(example, masks[i]);
        } catch (error) {
          if (error instanceof UserError) return { problem: error.message };
          throw error;
        }
      });
      return Promise.all(prepared.map((one) => ("problem" in one ? one : answer(one).catch(problemOf))));
    },
  };
}

/** What a server refuses about one row (a prompt that is too long for it) is the row's problem; anything else ends the extraction. */
function problemOf(error: unknown): Unextracted {
  if (error instanceof EndpointError && [400, 413, 422].includes(error.status ?? 0)) return { problem: error.message };
  throw error;
}
