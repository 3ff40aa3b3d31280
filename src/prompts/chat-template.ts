import { nearestName, UserError } from "../base/errors.ts";

/**
 * A part of a prompt. Each text part is tokenized on its own, as the template code of LLaMA-Efficient-Tuning does: with SentencePiece the
 * ids depend on it.
 */
export type TemplatePiece =
  | { kind: "text"; text: string }
  /** The user's turn with the template's text around it. */
  | { kind: "query"; before: string; after: string }
  /** A special token by its name in the tokenizer; text that looks like it stays text. */
  | { kind: "token"; piece: string };

/** The text around the query in a prompt; the answer and the end token follow. */
export interface ChatTemplate {
  readonly name: string;
  /** Whether the prompt begins with the tokenizer's begin token, where it has one. */
  readonly begin: "bos" | "none";
  /** Exactly one of the pieces is the query. */
  readonly pieces: readonly TemplatePiece[];
  /** The piece that ends an answer; null for the tokenizer's own end token. */
  readonly end: string | null;
  /** The template of the family's later models, whose tokenizers have this piece. */
  readonly later?: { readonly piece: string; readonly template: string };
}

const DEFAULT_SYSTEM =
  "A chat between a curious user and an artificial intelligence assistant. " +
  "The assistant gives helpful, detailed, and polite answers to the user's questions.";

const LLAMA2_SYSTEM =
  "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  " +
  "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. " +
  "Please ensure that your responses are socially unbiased and positive in nature.\n\n" +
  "If a question does not make any sense, or is not factually coherent, explain why instead of answering something not correct. " +
  "If you don't know the answer to a question, please don't share false information.";

const ALPACA_SYSTEM =
  "Below is an instruction that describes a task. Write a response that appropriately completes the request.";

/** The templates that a recipe can name. */
export const chatTemplates = {
  /** The template in all of the CRE-LLM authors' commands (docs/method.md). */
  default: {
    name: "default",
    begin: "bos",
    pieces: [
      { kind: "text", text: DEFAULT_SYSTEM },
      { kind: "text", text: "\n" },
      { kind: "query", before: "Human: ", after: "\nAssistant: " },
    ],
    end: null,
  },
  /** Query, line break, answer: for small models trained from scratch. */
  plain: { name: "plain", begin: "bos", pieces: [{ kind: "query", before: "", after: "\n" }], end: null },
  /** Llama-2's chat models, with the system text of Meta's example code; one text, as LLaMA-Efficient-Tuning tokenizes it. */
  llama2: {
    name: "llama2",
    begin: "bos",
    pieces: [{ kind: "query", before: `[INST] <<SYS>>\n${LLAMA2_SYSTEM}\n<</SYS>>\n\n`, after: " [/INST] " }],
    end: null,
  },
  /** As ChatGLM2-6B's own code builds the first round (LLaMA-Efficient-Tuning counts rounds from 0 and adds two line breaks). */
  chatglm2: {
    name: "chatglm2",
    begin: "none",
    pieces: [
      { kind: "token", piece: "[gMASK]" },
      { kind: "token", piece: "sop" },
      { kind: "query", before: "[Round 1]\n\n问：", after: "\n\n答：" },
    ],
    end: null,
  },
  /** Baichuan2's user and assistant tokens, ids 195 and 196. */
  baichuan2: {
    name: "baichuan2",
    begin: "none",
    pieces: [
      { kind: "token", piece: "<reserved_106>" },
      { kind: "query", before: "", after: "" },
      { kind: "token", piece: "<reserved_107>" },
    ],
    end: null,
  },
  /** ChatML, as Qwen's chat models use it. */
  qwen: {
    name: "qwen",
    begin: "none",
    pieces: [
      { kind: "token", piece: "<|im_start|>" },
      { kind: "text", text: "system\nYou are a helpful assistant." },
      { kind: "token", piece: "<|im_end|>" },
      { kind: "text", text: "\n" },
      { kind: "token", piece: "<|im_start|>" },
      { kind: "query", before: "user\n", after: "" },
      { kind: "token", piece: "<|im_end|>" },
      { kind: "text", text: "\n" },
      { kind: "token", piece: "<|im_start|>" },
      { kind: "text", text: "assistant\n" },
    ],
    end: "<|im_end|>",
  },
  /** Llama-3's chat models, without a system text. */
  llama3: {
    name: "llama3",
    begin: "bos",
    pieces: [
      { kind: "token", piece: "<|start_header_id|>" },
      { kind: "text", text: "user" },
      { kind: "token", piece: "<|end_header_id|>" },
      { kind: "query", before: "\n\n", after: "" },
      { kind: "token", piece: "<|eot_id|>" },
      { kind: "token", piece: "<|start_header_id|>" },
      { kind: "text", text: "assistant" },
      { kind: "token", piece: "<|end_header_id|>" },
      { kind: "text", text: "\n\n" },
    ],
    end: "<|eot_id|>",
  },
  /** Mistral-7B-Instruct up to version 0.2, whose marks are text. */
  mistral: {
    name: "mistral",
    begin: "bos",
    pieces: [{ kind: "query", before: "[INST] ", after: " [/INST]" }],
    end: null,
    later: { piece: "[INST]", template: "mistral-v3" },
  },
  /**
   * Mistral's chat models from 7B-Instruct v0.3 on, whose marks are special tokens. What is between them is encoded by itself, as mistral-common
   * does: SentencePiece sets a space before it, the byte-level tokenizers (Nemo, Small) none.
   */
  "mistral-v3": {
    name: "mistral-v3",
    begin: "bos",
    pieces: [
      { kind: "token", piece: "[INST]" },
      { kind: "query", before: "", after: "" },
      { kind: "token", piece: "[/INST]" },
    ],
    end: null,
  },
  /** GLM-4's chat models; the line break in front of an answer is part of the prompt here. */
  glm4: {
    name: "glm4",
    begin: "none",
    pieces: [
      { kind: "token", piece: "[gMASK]" },
      { kind: "token", piece: "<sop>" },
      { kind: "token", piece: "<|user|>" },
      { kind: "query", before: "\n", after: "" },
      { kind: "token", piece: "<|assistant|>" },
      { kind: "text", text: "\n" },
    ],
    end: "<|user|>",
  },
  /** Stanford Alpaca without an input. */
  alpaca: {
    name: "alpaca",
    begin: "bos",
    pieces: [
      { kind: "text", text: ALPACA_SYSTEM },
      { kind: "text", text: "\n\n" },
      { kind: "query", before: "### Instruction:\n", after: "\n\n### Response:\n" },
    ],
    end: null,
  },
} as const satisfies Record<string, ChatTemplate>;

export type ChatTemplateName = keyof typeof chatTemplates;

/** In a recipe: the template of the model's family. */
export const AUTO_TEMPLATE = "auto";

/** What a tokenizer says about a piece. */
export interface TokenFinder {
  idOf(piece: string): number | null;
}

/** The name of a family's template for models with this tokenizer (null: unknown). */
export function templateFor(familyTemplate: string, tokenizer: TokenFinder | null): string {
  const { later } = chatTemplate(familyTemplate);
  return later !== undefined && tokenizer !== null && tokenizer.idOf(later.piece) !== null
    ? later.template
    : familyTemplate;
}

/** The template of a name; throws a UserError that lists the names. */
export function chatTemplate(name: string): ChatTemplate {
  if (Object.hasOwn(chatTemplates, name)) return chatTemplates[name as ChatTemplateName];
  const near = nearestName(name, Object.keys(chatTemplates));
  throw new UserError(
    `chat template: got "${name}", expected ${Object.keys(chatTemplates).join(", ")}${near ? `; did you mean "${near}"?` : ""}.`,
  );
}

/** The text of a prompt with its query; special tokens show as their names. */
export function templateText(template: ChatTemplate, query: string): string {
  return template.pieces
    .map((piece) => {
      if (piece.kind === "token") return piece.piece;
      return piece.kind === "text" ? piece.text : piece.before + query + piece.after;
    })
    .join("");
}
