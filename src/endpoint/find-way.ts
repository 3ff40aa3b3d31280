import { nearestName, UserError } from "../base/errors.ts";
import { type AskText, createAskText } from "./chat.ts";
import { type EndpointClient, EndpointError } from "./client.ts";
import { echoProbabilities, echoScores } from "./echo-way.ts";
import type { Asker, EndpointQuestion } from "./question.ts";
import { spelledEcho, spelledTokenScores } from "./spelled-way.ts";
import { type AskQuestion, CHOICE_FORMS, choiceProbabilities, createAskQuestion } from "./text-way.ts";
import {
  byAllowedTokens,
  byLogitBias,
  forcedTokenScores,
  namedTokenScores,
  type ScoreOptions,
  type TokenScores,
  treeProbabilities,
} from "./tree-way.ts";
import type { Way, WayName } from "./ways.ts";

/** Attempts of a trial: a server that does not know a field may answer 500 to it. */
const TRIAL_ATTEMPTS = 4;
/** Texts that no model says by itself. */
const TRIAL_CHOICES = ["选项七", "选项九"];
const SUM_TOLERANCE = 1e-3;
const MAX_SHOWN_MODELS = 10;

const TRIAL_EXAMPLE = { sentence: "远山集团收购了近水公司。", head: "远山集团", tail: "近水公司" };

/** What a way needs to be tried and used. */
interface Trial {
  client: EndpointClient;
  asker: Asker;
  askQuestion: AskQuestion;
  question: EndpointQuestion;
}

/** Ways in the order of preference: exact and cheap ones first. Each gives null where the server does not have it. */
const TRIALS: readonly { name: WayName; attempt(trial: Trial): Promise<Way | null> }[] = [
  { name: "choice", attempt: (trial) => choiceWay(trial, "probabilities") },
  { name: "tree", attempt: (trial) => treeWay(trial, namedTokenScores, "logprob_token_ids") },
  { name: "tree", attempt: (trial) => treeWay(trial, forcedBy(byAllowedTokens), "allowed_token_ids") },
  { name: "tree", attempt: (trial) => treeWay(trial, forcedBy(byLogitBias), "logit_bias") },
  { name: "tree", attempt: spelledTreeWay },
  { name: "echo", attempt: echoWay },
  { name: "echo", attempt: spelledEchoWay },
  { name: "choice", attempt: (trial) => choiceWay(trial, "text") },
  { name: "generate", attempt: async (trial) => generateWay(trial) },
];

/**
 * Finds out how a server can be asked, by small trials; `given` allows one way only. Throws a UserError for a way that it does not have.
 */
export async function findWay(
  client: EndpointClient,
  asker: Asker,
  { given, onNotice }: { given?: WayName; onNotice?: (text: string) => void } = {},
): Promise<Way> {
  const ask: AskText = createAskText(client, onNotice);
  const question = asker.questionOf(TRIAL_EXAMPLE);
  const trial = { client, asker, question, askQuestion: createAskQuestion(ask, asker) };
  for (const { name, attempt } of TRIALS) {
    if (given !== undefined && given !== name) continue;
    const way = await unlessRefused(() => attempt(trial));
    if (way) return way;
  }
  const needsTokens = (given === "tree" || given === "echo") && !asker.hasTokens;
  throw new UserError(
    `--way ${given}: ${needsTokens ? "needs the model's tokenizer" : `${client.url} does not have it`}.`,
    {
      hint: needsTokens
        ? "Give a run, or the folder of the model with its tokenizer: --base DIR."
        : "Leave --way out: the program finds out what the server has.",
    },
  );
}

/**
 * The models of a server as it describes them; empty where it lists none. Throws a UserError when it lists its models and the client's is not
 * among them.
 */
export async function listModels(client: EndpointClient): Promise<Record<string, unknown>[]> {
  const listed = await client.models().catch((error: unknown) => {
    // Some servers list nothing.
    if (error instanceof EndpointError && (error.status === 404 || error.status === 405)) return [];
    throw error;
  });
  const names = listed.map(({ id }) => String(id));
  if (names.length === 0 || names.includes(client.model)) return listed;
  const near = nearestName(client.model, names);
  const shown = names.slice(0, MAX_SHOWN_MODELS).join(", ") + (names.length > MAX_SHOWN_MODELS ? ", …" : "");
  throw new UserError(
    `--model ${client.model}: ${client.url} has no such model, ${near ? `did you mean ${near}?` : `expected one of ${shown}.`}`,
  );
}

/** Null for what the server refuses or does not answer as expected; a wrong key or a server that is gone is an error. */
async function unlessRefused(attempt: () => Promise<Way | null>): Promise<Way | null> {
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    if (error instanceof EndpointError && [null, 401, 403, 429].includes(error.status)) throw error;
    return null;
  }
}

type ScoresOf = (client: EndpointClient, options?: ScoreOptions) => TokenScores;

const forcedBy =
  (force: Parameters<typeof forcedTokenScores>[1]): ScoresOf =>
  (client, options) =>
    forcedTokenScores(client, force, options);

async function treeWay({ client, question: { tokens } }: Trial, scores: ScoresOf, field: string): Promise<Way | null> {
  if (!tokens) return null;
  const { trie } = tokens;
  const [first, second] = [...new Set(trie.nodes.slice(1).map(({ token }) => token))];
  if (second === undefined) return null;
  // One of the two is not the most likely token.
  const found = await scores(client, { attempts: TRIAL_ATTEMPTS, mostLikely: 1 })(tokens.promptIds, [first, second]);
  // With probabilities after the limit on tokens, each would be 1.
  if (Math.exp(found[0]) + Math.exp(found[1]) > 1 + SUM_TOLERANCE) return null;
  const tokenScores = scores(client);
  return {
    name: "tree",
    about: `label tree by ${field}`,
    kind: "probabilities",
    ask: (question) => treeProbabilities(tokensOf(question), tokenScores),
  };
}

async function echoWay({ client, question: { tokens } }: Trial): Promise<Way | null> {
  if (!tokens) return null;
  const ids = [...tokens.promptIds, tokens.trie.nodes[1].token];
  await echoScores(client, TRIAL_ATTEMPTS)([ids], [1]);
  const scores = echoScores(client);
  return {
    name: "echo",
    about: "every label's answer by echo",
    kind: "probabilities",
    ask: (question) => echoProbabilities(tokensOf(question), scores),
  };
}

async function spelledTreeWay({ client, asker: { spelling }, question: { tokens } }: Trial): Promise<Way | null> {
  if (!tokens || !spelling) return null;
  const all = [...new Set(tokens.trie.nodes.slice(1).map(({ token }) => token))];
  const [named, others] = [true, false].map((isNamed) =>
    all.filter((id) => (spelling.nameOf(id) !== null) === isNamed),
  );
  // All tokens of labels are improbable somewhere: a server that tells a few likely ones only is found out here.
  for (const some of [named, others.slice(0, 1)]) {
    const found = await spelledTokenScores(client, spelling, TRIAL_ATTEMPTS)(tokens.promptIds, some);
    if (found.reduce((sum, score) => sum + Math.exp(score), 0) > 1 + SUM_TOLERANCE) return null;
  }
  const scores = spelledTokenScores(client, spelling);
  return {
    name: "tree",
    about: "label tree by logprobs of texts",
    kind: "probabilities",
    ask: (question) => treeProbabilities(tokensOf(question), scores),
  };
}

async function spelledEchoWay({ client, asker: { spelling }, question: { tokens } }: Trial): Promise<Way | null> {
  if (!tokens || !spelling) return null;
  const ids = [...tokens.promptIds, tokens.trie.nodes[1].token];
  await spelledEcho(client, spelling, TRIAL_ATTEMPTS)([ids], [1]);
  const scores = spelledEcho(client, spelling);
  return {
    name: "echo",
    about: "every label's answer by echo of texts",
    kind: "probabilities",
    ask: (question) => echoProbabilities(tokensOf(question), scores),
  };
}

const tokensOf = ({ tokens }: EndpointQuestion) => tokens as NonNullable<EndpointQuestion["tokens"]>;

async function choiceWay({ client, askQuestion, question }: Trial, kind: Way["kind"]): Promise<Way | null> {
  for (const { field, formOf } of CHOICE_FORMS) {
    const trial = askQuestion(question, formOf(TRIAL_CHOICES));
    const answer = await trial.catch((error: unknown) => {
      if (error instanceof EndpointError && (error.status === 400 || error.status === 422)) return null;
      throw error;
    });
    if (!answer || !TRIAL_CHOICES.includes(answer.text)) continue;
    const hasProbabilities = choiceProbabilities(answer.choice, TRIAL_CHOICES, client.url) !== null;
    const about = `one of the labels by ${field}`;
    if (kind === "text")
      return {
        ...{ name: "choice", about, kind: "text" },
        async ask(asked) {
          const { text, finishReason } = await askQuestion(asked, formOf(asked.answers));
          return { text, ended: finishReason !== "length" };
        },
      };
    if (!hasProbabilities) return null;
    return {
      ...{ name: "choice", about: `${about}, with probabilities`, kind: "probabilities" },
      async ask(asked) {
        const { choice } = await askQuestion(asked, formOf(asked.answers));
        const probabilities = choiceProbabilities(choice, asked.answers, client.url);
        if (probabilities) return probabilities;
        throw new UserError(`${client.url}: an answer has no "choice_probabilities".`);
      },
    };
  }
  return null;
}

function generateWay({ askQuestion, question }: Trial): Way {
  return {
    name: "generate",
    about: `free text, by ${question.tokens ? "completions" : "chats"}`,
    kind: "text",
    async ask(asked) {
      const { text, finishReason } = await askQuestion(asked);
      return { text, ended: finishReason !== "length" };
    },
  };
}
