import { nearestName, UserError } from "../base/errors.ts";

/**
 * A part of a prompt. Each text part is given to the tokenizer on its own, as the template code of LLaMA-Efficient-Tuning does: with
 * SentencePiece the ids depend on it.
 */
export type TemplatePiece =
  | { kind: "text"; text: string }
  /** The user's turn with the text of the template around it. */
  | { kind: "query"; before: string; after: string }
  /** A special token that no text can give. */
  | { kind: "token"; id: number };

/** What stands around the query in a prompt; the answer and the end mark follow. */
export interface ChatTemplate {
  readonly name: string;
  /** Just one of the pieces is the query. */
  readonly pieces: readonly TemplatePiece[];
}

const DEFAULT_SYSTEM =
  "A chat between a curious user and an artificial intelligence assistant. " +
  "The assistant gives helpful, detailed, and polite answers to the user's questions.";

/** The templates a recipe can name. */
export const chatTemplates = {
  /** The one in all of the CRE-LLM authors' commands. */
  default: {
    name: "default",
    pieces: [
      { kind: "text", text: DEFAULT_SYSTEM },
      { kind: "text", text: "\n" },
      { kind: "query", before: "Human: ", after: "\nAssistant: " },
    ],
  },
  /** Query, line break, answer: for small models trained from scratch. */
  plain: { name: "plain", pieces: [{ kind: "query", before: "", after: "\n" }] },
} as const satisfies Record<string, ChatTemplate>;

export type ChatTemplateName = keyof typeof chatTemplates;

/** The template of a name; throws a UserError that lists the names. */
export function chatTemplate(name: string): ChatTemplate {
  if (Object.hasOwn(chatTemplates, name)) return chatTemplates[name as ChatTemplateName];
  const near = nearestName(name, Object.keys(chatTemplates));
  throw new UserError(
    `chat template: got "${name}", expected ${Object.keys(chatTemplates).join(" or ")}${near ? `; did you mean "${near}"?` : ""}.`,
  );
}

/** The text of a prompt with its query; special tokens show as `<id>`. */
export function templateText(template: ChatTemplate, query: string): string {
  return template.pieces
    .map((piece) => {
      if (piece.kind === "token") return `<${piece.id}>`;
      return piece.kind === "text" ? piece.text : piece.before + query + piece.after;
    })
    .join("");
}
