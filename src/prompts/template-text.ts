import type { ChatTemplate } from "./chat-template.ts";

// Chat templates in the languages of other programs: a chat of user and assistant; the text of the system comes before the first query.

export interface TemplateForm {
  /** The text that the prompt begins with, or the end of an answer; "" for none. */
  begin: string;
  end: string;
  /**
   * Text before each piece that follows another one: the space that a tokenizer sets before every text that is encoded by itself, as the
   * pieces are here ("" where it sets none, or sets it itself after a special token).
   */
  joins: readonly string[];
}

/** The template in Jinja, as transformers, vLLM and llama.cpp read it (chat_template.jinja). */
export function jinjaOf({ pieces }: ChatTemplate, { begin, end, joins }: TemplateForm): string {
  const output = (text: string) => (text === "" ? "" : `{{- ${quotedJinja(text)} -}}`);
  const at = pieces.findIndex(({ kind }) => kind === "query");
  const textOf = (from: number, to: number) =>
    pieces
      .slice(from, to)
      .map(
        (piece, i) =>
          joins[from + i] + (piece.kind === "token" ? piece.piece : piece.kind === "text" ? piece.text : ""),
      )
      .join("");
  const query = pieces[at] as Extract<ChatTemplate["pieces"][number], { kind: "query" }>;
  const before = textOf(0, at) + joins[at] + query.before;
  const after = query.after + textOf(at + 1, pieces.length);
  return [
    output(begin),
    "{%- set system = namespace(text='') -%}",
    "{%- for message in messages -%}",
    "{%- if message['role'] == 'system' -%}",
    "{%- set system.text = message['content'] + '\\n\\n' -%}",
    "{%- elif message['role'] == 'user' -%}",
    output(before),
    "{{- system.text + message['content'] -}}",
    output(after),
    "{%- set system.text = '' -%}",
    "{%- elif message['role'] == 'assistant' -%}",
    `{{- message['content'] + ${quotedJinja(end)} -}}`,
    "{%- endif -%}",
    "{%- endfor -%}",
  ]
    .filter((line) => line !== "")
    .join("\n");
}

const quotedJinja = (text: string): string =>
  `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("\n", "\\n")}'`;

/** The template of one round in Go, as Ollama's Modelfile has it. Ollama sets the begin mark itself. */
export function goTemplateOf({ pieces }: ChatTemplate, { joins }: Pick<TemplateForm, "joins">): string {
  const parts = pieces.map((piece, i) => {
    if (piece.kind === "token") return joins[i] + piece.piece;
    if (piece.kind === "text") return joins[i] + piece.text;
    return `${joins[i]}${piece.before}{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}${piece.after}`;
  });
  return parts.join("");
}
