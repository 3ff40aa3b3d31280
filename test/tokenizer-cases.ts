import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, SHARED } from "./e2e/support.ts";

const GOLDEN = join(ROOT, "test", "golden");
const LLAMA = join(GOLDEN, "llama-tokenizers");
const PUBLISHED = join(SHARED, "tokenizers");

/** A base model's tokenizer, as a test writes it into a folder. */
export interface TokenizerCase {
  name: string;
  /** The name of a model in tiny-families.ts, and its `model_type`. */
  model: string;
  modelType: string;
  write(folder: string): void;
  /** Texts besides the 500 lines. */
  texts?: readonly string[];
}

const json = (folder: string, name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value));
const llama = { model: "llama", modelType: "llama" };
const withFile =
  (file: string, name = "tokenizer.model") =>
  (folder: string) =>
    copyFileSync(file, join(folder, name));

const FLAGS = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
/** After the pieces of prefix.model and symbols.model. */
const FIRST_ADDED = 440;
const ADDED = { "<|im_start|>": FIRST_ADDED, "<|im_end|>": FIRST_ADDED + 1, "<think>": FIRST_ADDED + 2 };
const WITH_ADDED = [
  "<|im_start|>系统<think> 公司</think>",
  "a<|im_end|>",
  "<think>",
  "<|im_start|><|im_end|>公司 ",
  "东方<think>航空 公司",
];
const LEADING = [" 公司", "  a b", "▁a", " ", "", "末尾 "];

/** A llama2.c tokenizer with the pieces of a text. */
function llama2cFile(): Uint8Array {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const pieces = ["<unk>", "\n<s>\n", "\n</s>\n", ...bytes, ..." 公司收购东方航a", "公司", "收购", " 东", "公司收购"];
  const parts = pieces.map((piece, i) => {
    const text = Buffer.from(piece);
    const head = Buffer.alloc(8);
    head.writeFloatLE(-i, 0);
    head.writeInt32LE(text.length, 4);
    return Buffer.concat([head, text]);
  });
  const longest = Buffer.alloc(4);
  longest.writeInt32LE(24, 0);
  return Buffer.concat([longest, ...parts]);
}

/** Tokenizers of all forms that a base may have. */
export const TOKENIZER_CASES: readonly TokenizerCase[] = [
  {
    ...llama,
    name: "SentencePiece without a prefix, with symbols and a configuration",
    write: (folder) => {
      for (const name of ["tokenizer.model", "tokenizer_config.json"]) {
        copyFileSync(join(ROOT, "models", "base-zh", name), join(folder, name));
      }
    },
    texts: LEADING,
  },
  { ...llama, name: "a SentencePiece file alone", write: withFile(join(LLAMA, "prefix.model")), texts: LEADING },
  {
    ...llama,
    name: "SentencePiece with added_tokens.json and a chat template",
    write: (folder) => {
      withFile(join(LLAMA, "prefix.model"))(folder);
      json(folder, "added_tokens.json", ADDED);
      json(folder, "special_tokens_map.json", {
        eos_token: { content: "<|im_end|>", normalized: true },
        bos_token: "<s>",
      });
      writeFileSync(join(folder, "chat_template.jinja"), "{{ messages[0].content }}");
    },
    texts: [...LEADING, ...WITH_ADDED],
  },
  {
    ...llama,
    name: "SentencePiece with added_tokens_decoder, legacy",
    write: (folder) => {
      withFile(join(LLAMA, "prefix.model"))(folder);
      json(folder, "tokenizer_config.json", {
        tokenizer_class: "LlamaTokenizer",
        legacy: true,
        added_tokens_decoder: Object.fromEntries(
          Object.entries(ADDED).map(([content, id]) => [id, { ...FLAGS, content, special: content.includes("im_") }]),
        ),
        eos_token: { content: "<|im_end|>", ...FLAGS, __type: "AddedToken" },
        additional_special_tokens: ["<|im_start|>"],
      });
    },
    texts: [...LEADING, ...WITH_ADDED],
  },
  {
    ...llama,
    name: "SentencePiece with symbols, to which the configuration gives a prefix",
    write: (folder) => {
      withFile(join(LLAMA, "symbols.model"))(folder);
      json(folder, "tokenizer_config.json", {
        tokenizer_class: "LlamaTokenizer",
        add_prefix_space: true,
        legacy: false,
      });
    },
    texts: [...LEADING, "[甲]", "甲[乙]\n", "<N>", "[ a"],
  },
  {
    name: "ChatGLM2's commands and its authors' code",
    model: "chatglm2",
    modelType: "chatglm",
    write: (folder) => {
      withFile(join(ROOT, "models", "small-zh", "tokenizer.model"))(folder);
      json(folder, "tokenizer_config.json", {
        tokenizer_class: "ChatGLMTokenizer",
        auto_map: { AutoTokenizer: ["tokenization_chatglm.ChatGLMTokenizer", null] },
      });
      writeFileSync(join(folder, "tokenization_chatglm.py"), "import sentencepiece\n");
    },
    texts: [...LEADING, "philosophy sop [gMASK]"],
  },
  {
    name: "Baichuan2's",
    model: "baichuan2-7b",
    modelType: "baichuan",
    write: (folder) => {
      withFile(join(ROOT, "models", "small-zh", "tokenizer.model"))(folder);
      json(folder, "tokenizer_config.json", { tokenizer_class: "BaichuanTokenizer", add_bos_token: false });
    },
    texts: LEADING,
  },
  {
    name: "byte-level tokenizer.json",
    model: "qwen2",
    modelType: "qwen2",
    write: (folder) => cpSync(join(GOLDEN, "tokenizer-json"), folder, { recursive: true }),
    texts: [...LEADING, "<|im_start|>a<tool_call> b</tool_call>"],
  },
  {
    ...llama,
    name: "tokenizer.json of transformers 5",
    write: (folder) => {
      const { models } = JSON.parse(readFileSync(join(LLAMA, "files.json"), "utf8"));
      json(folder, "tokenizer.json", models.prefix.file);
      json(folder, "tokenizer_config.json", models.prefix.config);
    },
    texts: [...LEADING, "<x>公司<end> a", "在 <left>上海"],
  },
  {
    ...llama,
    name: "llama2.c's",
    write: (folder) => writeFileSync(join(folder, "tok300.bin"), llama2cFile()),
    texts: LEADING,
  },
  ...["llama2", "chatglm2", "baichuan2"]
    .filter((name) => existsSync(join(PUBLISHED, name)))
    .map((name) => ({
      name: `published: ${name}`,
      ...{
        llama2: llama,
        chatglm2: { model: "chatglm2", modelType: "chatglm" },
        baichuan2: { model: "baichuan2-7b", modelType: "baichuan" },
      }[name as "llama2" | "chatglm2" | "baichuan2"],
      write: withFile(join(PUBLISHED, name, "tokenizer.model")),
      texts: LEADING,
    })),
];

/** Writes a case's files into a new folder and returns it. */
export function writeCase(one: TokenizerCase, folder: string): string {
  mkdirSync(folder, { recursive: true });
  one.write(folder);
  return folder;
}

/** 500 sentences: FinRE's and SanWen's, or of one of them, where they are, else the demonstration's. */
export function sentences(sets: readonly string[] = ["finre", "sanwen"]): string[] {
  const data = join(SHARED, "data");
  const found = existsSync(data)
    ? sets.flatMap((name) => {
        const rows = readFileSync(join(data, name, "test.txt"), "utf8").split("\n");
        return rows.flatMap((row) => row.trimEnd().split("\t")[3] ?? []);
      })
    : readFileSync(join(ROOT, "demo", "train.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).sentence as string);
  const distinct = [...new Set(found)];
  const step = Math.floor(distinct.length / 500);
  return Array.from({ length: 500 }, (_, i) => distinct[i * step]);
}
