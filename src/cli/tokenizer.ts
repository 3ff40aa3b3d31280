import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { messageOf, UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { checkModelFolder } from "../export/output-folder.ts";
import { readDocuments } from "../pretrain/documents.ts";
import type { PretrainSource } from "../pretrain/recipe.ts";
import { parseSentencePiece } from "../tokenizers/sentencepiece.ts";
import type { WeightedText } from "../tokenizers/train-bpe.ts";
import { trainBpeModel } from "../tokenizers/train-bpe-model.ts";
import { wholeNumber } from "./options.ts";
import { duration, print, progress, say } from "./terminal.ts";

interface TrainTokenizerOptions {
  output: string;
  overwrite?: boolean;
  pieces: number;
  coverage: number;
  longest: number;
  symbols: string;
}

type TextSource = Pick<PretrainSource, "path" | "format" | "weight">;

const DEFAULT_SYMBOLS = "[ ] { } ( ) , ? : → <N>";

export function addTokenizerCommands(program: Command): void {
  const tokenizer = program.command("tokenizer").description("make tokenizers");
  tokenizer
    .command("train")
    .description("learn a SentencePiece BPE tokenizer (tokenizer.model) from text")
    .argument(
      "<sources...>",
      "text (documents separated by blank lines) or JSONL files, .gz or not, or folders of data sets (their training sentences); SOURCE@WEIGHT counts it WEIGHT times",
    )
    .requiredOption("--output <dir>", "model folder to write tokenizer.model into")
    .option("--overwrite", "replace a tokenizer that is there")
    .option("--pieces <n>", "size of the vocabulary", wholeNumber, 16_000)
    .option("--coverage <share>", "share of the text whose characters become pieces", Number, 0.9985)
    .option("--longest <n>", "characters of the longest piece", wholeNumber, 6)
    .option(
      "--symbols <list>",
      "what always stays alone, with spaces between; a line break does so too",
      DEFAULT_SYMBOLS,
    )
    .action(trainTokenizer);
}

async function trainTokenizer(given: readonly string[], options: TrainTokenizerOptions): Promise<void> {
  const started = performance.now();
  await checkModelFolder(options.output, { overwrite: options.overwrite, read: [], writes: "tokenizer" });
  const sources = await Promise.all(given.map(sourceOf));
  const { pieces, coverage, longest } = options;
  const symbols = ["\n", ...options.symbols.split(" ").filter(Boolean)];
  const bytes = await trainBpeModel(textsOf(sources), { pieces, coverage, longest, symbols });
  const file = join(options.output, "tokenizer.model");
  // What was written is read back like every other tokenizer: a broken file is noticed now.
  const tokenizer = parseSentencePiece(bytes, file, { expectedPieces: pieces });
  await writeFileAtomic(file, bytes);
  say(`${file}: ${pieces} pieces in ${duration((performance.now() - started) / 1000)}`);
  for (const source of sources) {
    let characters = 0;
    let tokens = 0;
    for await (const document of readDocuments(source)) {
      characters += Array.from(document).length;
      tokens += tokenizer.encode(document).length;
    }
    await print(`${source.path}: ${(characters / Math.max(1, tokens)).toFixed(3)} characters a token\n`);
  }
}

async function sourceOf(given: string): Promise<TextSource> {
  const at = given.lastIndexOf("@");
  const path = at > 0 ? given.slice(0, at) : given;
  const weight = at > 0 ? Number(given.slice(at + 1)) : 1;
  if (!(weight > 0) || !Number.isFinite(weight)) {
    throw new UserError(`${given}: the weight after @ is no positive number.`);
  }
  try {
    const isFolder = (await stat(path)).isDirectory();
    return { path, weight, format: isFolder ? "relations" : /\.jsonl(\.gz)?$/.test(path) ? "jsonl" : "text" };
  } catch (error) {
    throw new UserError(`${path}: cannot be read (${messageOf(error)}), expected text or the folder of a data set.`);
  }
}

async function* textsOf(sources: readonly TextSource[]): AsyncGenerator<WeightedText> {
  const reading = progress("read", null);
  let characters = 0;
  for (const source of sources) {
    for await (const text of readDocuments(source)) {
      characters += text.length;
      reading.update(characters, `characters, ${source.path}`);
      yield { text, weight: source.weight };
    }
  }
  reading.stop();
}
