import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openGivenAdapter } from "../../src/adapters/given.ts";
import { UserError } from "../../src/base/errors.ts";
import { createRandom } from "../../src/base/random.ts";
import { openGguf } from "../../src/formats/gguf.ts";
import { openLlama2c } from "../../src/formats/llama2c.ts";
import { openPeftFolder } from "../../src/formats/peft-folder.ts";
import { openPytorchBin } from "../../src/formats/pytorch-bin.ts";
import { createChunkBuffers } from "../../src/formats/row-chunks.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { DTYPE_BYTES, type TensorSource } from "../../src/formats/tensor-source.ts";
import { openCheckpoint } from "../../src/models/checkpoint.ts";
import { parseJsonObject } from "../../src/tokenizers/bounded-json.ts";
import { parseSentencePiece } from "../../src/tokenizers/sentencepiece.ts";
import { createTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";

// Every reader of files against files with changed bytes: each is read or refused with a UserError, within two seconds and little memory.
// CRE_FUZZ=1 npx vitest run test/fuzz (CRE_FUZZ_COUNT and CRE_FUZZ_SEED change how many and which; TMPDIR in memory makes it faster)
const ENABLED = process.env.CRE_FUZZ === "1";
const COUNT = Number(process.env.CRE_FUZZ_COUNT ?? 200_000);
const SEED = Number(process.env.CRE_FUZZ_SEED ?? 1);
const LIMIT_MS = 2_000;
const LIMIT_BYTES = 1_000_000_000;
if (!ENABLED) console.warn("skipped: mutations of every file format take some ten minutes; set CRE_FUZZ=1 to run them");

const GOLDEN = join(import.meta.dirname, "..", "golden");
const folder = mkdtempSync(join(tmpdir(), "cre-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Random = ReturnType<typeof createRandom>;
const WORDS = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

/** One change; most fall into the first `headBytes`, where the structure is. */
function mutate(bytes: Buffer, headBytes: number, random: Random): Buffer {
  const reach = random.below(8) === 0 ? bytes.length : Math.min(headBytes, bytes.length);
  if (reach === 0) return bytes;
  const at = random.below(reach);
  const length = Math.min(1 + random.below(16), bytes.length - at);
  switch (random.below(8)) {
    case 0:
    case 1:
      bytes[at] = random.below(256);
      return bytes;
    case 2:
      bytes[at] ^= 1 << random.below(8);
      return bytes;
    case 3:
      if (at + 4 <= bytes.length) bytes.writeUInt32LE(WORDS[random.below(WORDS.length)], at);
      return bytes;
    case 4:
      return random.below(4) === 0 ? bytes.subarray(0, at) : bytes;
    case 5:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 6:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    default:
      bytes.copy(bytes, at, random.below(bytes.length), bytes.length);
      return bytes;
  }
}

async function readAll(source: TensorSource): Promise<void> {
  try {
    for (const [name, { shape }] of source.tensors) {
      const { length } = await source.read(name);
      const rows = source.rows?.(name);
      if (!rows) continue;
      let bytes = 0;
      for await (const chunk of rows.chunks(0, shape[0], createChunkBuffers())) bytes += chunk.length;
      expect(bytes).toBe(length * DTYPE_BYTES[rows.dtype]);
    }
  } finally {
    await source.close();
  }
}

function llama2cFile(): Buffer {
  const [width, hidden, vocabulary, positions] = [4, 3, 5, 6];
  const layer = 2 * width + 4 * width * width + 3 * hidden * width;
  const floats = vocabulary * width + 2 * layer + width + positions * 2;
  const bytes = Buffer.alloc(28 + floats * 4);
  for (const [i, size] of [width, hidden, 2, 2, 2, vocabulary, positions].entries()) bytes.writeInt32LE(size, i * 4);
  return bytes;
}

const peft = join(folder, "peft");
cpSync(join(GOLDEN, "llama-peft", "adapter"), peft, { recursive: true });
const onDisk = (name: string, open: (file: string) => Promise<TensorSource>) => {
  const file = join(folder, name);
  return async (bytes: Buffer) => {
    writeFileSync(file, bytes);
    await readAll(await open(file));
  };
};
const golden = (...path: string[]) => readFileSync(join(GOLDEN, ...path));
const FORMATS: [name: string, seeds: Buffer[], headBytes: number, read: (bytes: Buffer) => Promise<void>][] = [
  ["safetensors", [golden("formats", "types.safetensors")], 1000, onDisk("x.safetensors", openSafetensors)],
  [
    "PyTorch zip",
    [golden("formats", "protocol-2.bin"), golden("formats", "protocol-4.bin")],
    4000,
    onDisk("x.bin", openPytorchBin),
  ],
  ["GGUF", [golden("formats", "types.gguf")], 2500, onDisk("x.gguf", openGguf)],
  ["llama2.c", [llama2cFile()], 28, onDisk("y.bin", async (file) => (await openLlama2c(file)).source)],
  [
    "SentencePiece",
    [golden("tokenizers", "rules.model"), golden("tokenizers", "bytes.model")],
    20_000,
    async (bytes) => {
      const tokenizer = parseSentencePiece(bytes, "x.model");
      tokenizer.decode(tokenizer.encode("<s> 张三 and\tΑ\u0301 "));
    },
  ],
  [
    "tokenizer.json",
    [golden("tokenizer-json", "tokenizer.json")],
    20_000,
    async (bytes) => {
      const value = parseJsonObject(bytes.toString("utf8"), "x.json", "a tokenizer");
      const settings = { directory: "x", bos: null, eos: null, pad: null, addsBos: false };
      const tokenizer = createTokenizerJson(value, settings, "x.json");
      tokenizer.decode(tokenizer.encode("<s> 张三 and\tΑ\u0301 the company's "));
    },
  ],
  [
    "PEFT configuration",
    [golden("llama-peft", "adapter", "adapter_config.json")],
    1500,
    async (bytes) => {
      writeFileSync(join(peft, "adapter_config.json"), bytes);
      await readAll((await openPeftFolder(peft)).tensors);
    },
  ],
  [
    "PEFT configuration made elsewhere",
    ["patterns-rslora", "expression", "layer-number", "exclude-expression", "save-head", "tokens-by-module"].map(
      (name) => golden("peft-elsewhere", name, "adapter_config.json"),
    ),
    2000,
    async (bytes) => {
      writeFileSync(join(peft, "adapter_config.json"), bytes);
      const base = await openCheckpoint(join(GOLDEN, "llama-peft"));
      try {
        await (await openGivenAdapter(peft, base)).close();
      } finally {
        await base.source.close();
      }
    },
  ],
];

describe.skipIf(!ENABLED)(`${COUNT} mutations of each format`, () => {
  it.each(FORMATS)(
    "%s is read or refused",
    async (name, seeds, headBytes, read) => {
      const random = createRandom(SEED);
      let [accepted, slowestMs, mostBytes] = [0, 0, 0];
      for (let i = 0; i < COUNT; i++) {
        let bytes: Buffer = Buffer.from(seeds[i % seeds.length]);
        for (let changes = 1 + random.below(5); changes > 0; changes--) bytes = mutate(bytes, headBytes, random);
        const started = performance.now();
        try {
          await read(bytes);
          accepted++;
        } catch (error) {
          if (!(error instanceof UserError)) {
            writeFileSync(join(tmpdir(), "cre-fuzz-failure"), bytes);
            throw new Error(`mutation ${i}: ${(error as Error).stack}`, { cause: error });
          }
        }
        slowestMs = Math.max(slowestMs, performance.now() - started);
        if (i % 1000 === 0) mostBytes = Math.max(mostBytes, process.memoryUsage.rss());
      }
      const [ms, megabytes] = [slowestMs.toFixed(0), (mostBytes / 1e6).toFixed(0)];
      console.log(`${name}: ${COUNT} mutations, ${accepted} read; slowest ${ms} ms, most memory ${megabytes} MB`);
      expect(slowestMs).toBeLessThan(LIMIT_MS);
      expect(mostBytes).toBeLessThan(LIMIT_BYTES);
    },
    3_600_000,
  );
});
