import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openModelTokenizer as openTokenizer } from "../runs/tokenizer.ts";
import { copyTokenizer } from "./open-tokenizer.ts";

const MODEL = new URL("../../test/golden/tokenizers/bytes.model", import.meta.url).pathname;
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cre-chatglm-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the tokenizer of a ChatGLM2 folder", () => {
  it("has five command pieces after the SentencePiece ones and no begin mark", async () => {
    const plain = await openTokenizer(MODEL);
    const count = plain.vocabularySize;
    const tokenizer = await openTokenizer(MODEL, { modelType: "chatglm" });
    expect(tokenizer).toMatchObject({ vocabularySize: count + 5, bosId: null, eosId: plain.eosId });
    expect(["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"].map(tokenizer.idOf)).toEqual(
      [0, 1, 2, 3, 4].map((i) => count + i),
    );
    expect(tokenizer.pieceOf(count + 1)).toBe("[gMASK]");
    const ids = tokenizer.encode("[gMASK]sop上海");
    expect(ids.every((id) => id < count)).toBe(true);
    expect(tokenizer.decode([count + 1, count + 3, ...ids, count + 4])).toBe("[gMASK]sop上海");
    expect(() => tokenizer.decode([count + 5])).toThrow(`id ${count + 5} is outside the tokenizer's ${count} pieces`);
  });

  it("is known by config.json or tokenizer_config.json, which is copied with it", async () => {
    await copyTokenizer(MODEL, folder);
    const size = (await openTokenizer(folder)).vocabularySize;
    await writeFile(join(folder, "config.json"), '{"model_type": "chatglm"}');
    expect((await openTokenizer(folder)).vocabularySize).toBe(size + 5);
    await writeFile(join(folder, "config.json"), '{"model_type": "llama"}');
    await writeFile(join(folder, "tokenizer_config.json"), '{"tokenizer_class": "ChatGLMTokenizer"}');
    const copy = join(folder, "copy");
    await copyTokenizer(folder, copy);
    expect((await openTokenizer(copy)).vocabularySize).toBe(size + 5);
  });

  it("Baichuan2's configuration removes the begin mark; a broken one is an error", async () => {
    const other = join(folder, "other");
    await copyTokenizer(MODEL, other);
    expect((await openTokenizer(other)).bosId).toBe(1);
    await writeFile(join(other, "tokenizer_config.json"), '{"add_bos_token": false, "bos_token": {"content": "<s>"}}');
    expect((await openTokenizer(other)).bosId).toBeNull();
    await writeFile(join(other, "tokenizer_config.json"), "[]");
    await expect(openTokenizer(other)).rejects.toThrow("tokenizer_config.json: holds [], expected an object");
  });
});
