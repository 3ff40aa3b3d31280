import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { afterAll, describe, expect, it } from "vitest";
import { ROOT } from "../../test/e2e/support.ts";
import { sentences, TOKENIZER_CASES, writeCase } from "../../test/tokenizer-cases.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { exportTokenizer, exportTokenizerNextTo } from "./tokenizer-files.ts";

const root = mkdtempSync(join(tmpdir(), "cre-tokenizer-files-"));
afterAll(() => rmSync(root, { recursive: true }));
const newFolder = () => mkdtempSync(join(root, "f-"));
const LINES = sentences();
const readJson = (...path: string[]) => JSON.parse(readFileSync(join(...path), "utf8"));
/** Published tokenizers are larger: test/transformers.test.ts opens them. */
const OWN_CASES = TOKENIZER_CASES.filter(({ name }) => !name.startsWith("published"));

interface JsLibrary {
  encode(text: string, options: object): { ids: number[] };
}

describe.each(OWN_CASES.map((one) => [one.name, one] as const))("an exported tokenizer: %s", (_name, one) => {
  it("has every file of its base and gives the same ids, also by its tokenizer.json alone", async () => {
    const { modelType, texts = [] } = one;
    const base = writeCase(one, newFolder());
    const output = join(newFolder(), "export");
    const notices: string[] = [];
    await exportTokenizer(base, output, { modelType, onNotice: (line) => notices.push(line) });
    expect(notices).toEqual([]);
    const names = readdirSync(output);
    const others = readdirSync(base).filter((name) => !/^(tok.*\.bin|golden\.jsonl|words\.jsonl)$/.test(name));
    expect(names).toEqual(expect.arrayContaining([...others, "tokenizer.json", "tokenizer_config.json"]));

    const tokenizer = await openModelTokenizer(base, { modelType });
    const all = [...LINES, ...texts];
    const ids = tokenizer.encodeAll(all);
    const again = await openModelTokenizer(output, { modelType });
    expect(again.encodeAll(all)).toEqual(ids);
    const marksOf = ({ bosId, eosId, padId, vocabularySize }: typeof tokenizer) => [
      bosId,
      eosId,
      padId,
      vocabularySize,
    ];
    expect(marksOf(again)).toEqual(marksOf(tokenizer));

    const alone = newFolder();
    const value = readJson(output, "tokenizer.json");
    const config = readJson(output, "tokenizer_config.json");
    writeFileSync(join(alone, "tokenizer.json"), JSON.stringify(value));
    writeFileSync(join(alone, "tokenizer_config.json"), JSON.stringify(config));
    const written = await openModelTokenizer(alone, { modelType: "another" });
    expect(written.encodeAll(all)).toEqual(ids);
    for (const line of LINES)
      expect(written.decode(written.encode(line))).toBe(tokenizer.decode(tokenizer.encode(line)));
    // Hugging Face's own library in JavaScript, which reads the file as it is.
    if (config.tokenizer_class !== "PreTrainedTokenizerFast") return;
    const library: JsLibrary = new Library(value, config);
    expect(all.map((text) => library.encode(text, { add_special_tokens: false }).ids)).toEqual(ids);
  });
});

describe("an exported tokenizer", () => {
  it("keeps the base's configuration, and names one class that needs no other package", async () => {
    const [one] = OWN_CASES.filter(({ name }) => name.startsWith("ChatGLM2"));
    const output = newFolder();
    await exportTokenizer(writeCase(one, newFolder()), output, { modelType: "chatglm", onNotice: () => {} });
    const config = readJson(output, "tokenizer_config.json");
    expect(config).toMatchObject({ tokenizer_class: "PreTrainedTokenizerFast", eos_token: "</s>", unk_token: "<unk>" });
    expect(config).not.toHaveProperty("auto_map");
    const { post_processor, added_tokens } = readJson(output, "tokenizer.json");
    const begin = post_processor.single.map((part: { SpecialToken?: { id: string } }) => part.SpecialToken?.id);
    expect(begin).toEqual(["[gMASK]", "sop", undefined]);
    expect(added_tokens.map(({ content }: { content: string }) => content)).not.toContain("sop");
  });

  it("replaces the files of an older one, and only those", async () => {
    const output = newFolder();
    for (const name of ["added_tokens.json", "merges.txt", "notes.json"]) writeFileSync(join(output, name), "{}");
    await exportTokenizer(join(ROOT, "models", "small-zh"), output, { modelType: "llama", onNotice: () => {} });
    expect(readdirSync(output).sort()).toEqual(
      ["notes.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"].sort(),
    );
  });

  it("says why there is no tokenizer.json for rules that it cannot hold", async () => {
    const output = newFolder();
    const notices: string[] = [];
    const model = join(ROOT, "test", "golden", "tokenizers", "rules.model");
    await exportTokenizer(model, output, { modelType: "llama", onNotice: (line) => notices.push(line) });
    expect(notices).toEqual([
      `${model}: has normalisation rules, which a tokenizer.json cannot hold. transformers needs sentencepiece and protobuf to open the tokenizer.`,
    ]);
    expect(readdirSync(output)).toEqual(["tokenizer.model"]);
  });

  it("says where the base's own tokenizer.json differs from its tokenizer.model", async () => {
    const base = writeCase(OWN_CASES[1], newFolder());
    const { models } = readJson(ROOT, "test", "golden", "llama-tokenizers", "files.json");
    const write = (file: object) => writeFileSync(join(base, "tokenizer.json"), JSON.stringify(file));
    const noticesOf = async () => {
      const notices: string[] = [];
      await exportTokenizer(base, newFolder(), { modelType: "llama", onNotice: (line) => notices.push(line) });
      return notices;
    };
    write({ ...models.prefix.file, added_tokens: [] });
    expect(await noticesOf()).toEqual([]);
    write({ ...models.symbols.file, added_tokens: [] });
    expect(await noticesOf()).toEqual([
      expect.stringMatching(/tokenizer\.json: gives ".*" other ids than .*tokenizer\.model/),
    ]);
    write({ ...models.prefix.file, model: { type: "Unigram" } });
    expect(await noticesOf()).toEqual([expect.stringMatching(/supported: BPE\. It is copied as it is\.$/)]);
  });

  it("next to a GGUF file, keeps another model's tokenizer unless it may be replaced", async () => {
    const output = newFolder();
    const notices: string[] = [];
    const options = { modelType: "llama", overwrite: false, onNotice: (line: string) => notices.push(line) };
    const [small, base] = ["small-zh", "base-zh"].map((name) => join(ROOT, "models", name));
    await exportTokenizerNextTo(small, output, options);
    await exportTokenizerNextTo(small, output, options);
    expect(notices).toEqual([]);
    const first = readFileSync(join(output, "tokenizer.model"));
    await exportTokenizerNextTo(base, output, options);
    expect(notices).toEqual([`${output}: has the tokenizer of another model (tokenizer.json), which is kept.`]);
    expect(readFileSync(join(output, "tokenizer.model")).equals(first)).toBe(true);
    await exportTokenizerNextTo(base, output, { ...options, overwrite: true });
    expect(readFileSync(join(output, "tokenizer.model")).equals(first)).toBe(false);
    expect(existsSync(join(output, "tokenizer_config.json"))).toBe(true);
  });
});
