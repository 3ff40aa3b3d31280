import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/models/checkpoint.ts";
import { familyOf, readSpec } from "../../src/models/families/registry.ts";

// converted.gguf was made of each folder by llama.cpp's converter (test/golden/make/convert_gguf.py), without a vocabulary.
describe.each(["llama-peft", "qwen2", "qwen3", "chatglm2"])("%s as llama.cpp's converter writes it", (name) => {
  it("is the model of the folder", async () => {
    const folder = join(import.meta.dirname, name);
    const [converted, original] = await Promise.all([join(folder, "converted.gguf"), folder].map(openCheckpoint));
    const { normEpsilon, bosId: _bosId, eosId: _eosId, ...spec } = readSpec(original.config, name);
    expect(readSpec(converted.config, name)).toMatchObject({ ...spec, normEpsilon: expect.closeTo(normEpsilon, 12) });
    const { ignored } = familyOf(original.config, name);
    const names = [...original.source.tensors.keys()].filter((one) => !ignored.some((pattern) => pattern.test(one)));
    expect([...converted.source.tensors.keys()].sort()).toEqual(names.sort());
    for (const tensor of names) {
      expect(await converted.source.read(tensor)).toEqual(await original.source.read(tensor));
    }
    await converted.source.close();
    await original.source.close();
  });
});
