import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { TOKENIZER, temporaryFolder, toyRecipe, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { tinyDecoder } from "../../test/tiny-model.ts";
import { UserErrors } from "../base/errors.ts";
import { openReference } from "../compute/reference/backend.ts";
import type * as checkpoints from "../models/checkpoint.ts";
import { saveDecoder } from "../models/save.ts";
import { readRecipeParts } from "../recipe/read.ts";
import { copyTokenizer, openTokenizer } from "../tokenizers/open-tokenizer.ts";
import { openPrepared } from "./open.ts";
import { prepareTraining } from "./prepare.ts";

/** What happened to checkpoints since the test began. */
const seen = vi.hoisted(() => ({ opened: 0, closed: 0, read: 0 }));
vi.mock("../models/checkpoint.ts", async (original) => {
  const { openCheckpoint } = await original<typeof checkpoints>();
  const counting: typeof openCheckpoint = async (path) => {
    seen.opened++;
    const { source, ...checkpoint } = await openCheckpoint(path);
    const counted: typeof source = {
      tensors: source.tensors,
      checks: source.checks,
      read: (name) => {
        seen.read++;
        return source.read(name);
      },
      rows: (name) => {
        seen.read++;
        return source.rows?.(name) ?? null;
      },
      close: () => {
        seen.closed++;
        return source.close();
      },
    };
    return { ...checkpoint, source: counted };
  };
  return { openCheckpoint: counting };
});

const temporary = temporaryFolder("prepare");
const data = writeToyData(join(temporary.path, "data"));
const base = join(temporary.path, "base");
const recipe = {
  ...toyRecipe(data),
  model: { path: base },
  adapter: { method: "lora", rank: 2, targets: ["q_proj"] },
};
const file = writeRecipe(join(temporary.path, "recipe.yaml"), recipe);

beforeAll(async () => {
  vi.stubEnv("CRE_BACKEND", "reference");
  const backend = openReference({ precision: "float32" });
  const { vocabularySize } = await openTokenizer(TOKENIZER);
  await saveDecoder(await tinyDecoder(backend, { seed: 1, spec: { vocabularySize, maxTokens: 256 } }), base, {
    dtype: "F32",
  });
  await backend.close();
  await copyTokenizer(TOKENIZER, base);
});
beforeEach(() => Object.assign(seen, { opened: 0, closed: 0, read: 0 }));
afterAll(() => temporary.remove());

/** The problems of the recipe with these changes. */
async function problemsWith(...overrides: string[]): Promise<readonly string[]> {
  const error = await prepareTraining(await readRecipeParts({ file, overrides })).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(UserErrors);
  return error.problems;
}

describe("prepareTraining", () => {
  it("opens the model once, and reads its weights only when the recipe is opened", async () => {
    const prepared = await prepareTraining(await readRecipeParts({ file }));
    expect(seen).toEqual({ opened: 1, closed: 0, read: 0 });
    expect(prepared.dataset.labels.labels).toHaveLength(4);
    const opened = await openPrepared(prepared);
    expect(seen).toEqual({ opened: 1, closed: 1, read: expect.any(Number) });
    expect(seen.read).toBeGreaterThan(10);
    expect(opened.trainable.map(({ name }) => name.replace(/^.*layers\./, ""))).toEqual([
      ...["0.self_attn.q_proj.lora_A", "0.self_attn.q_proj.lora_B"],
      ...["1.self_attn.q_proj.lora_A", "1.self_attn.q_proj.lora_B"],
    ]);
    await opened.close();
    await prepared.close();
    expect(seen.closed).toBe(1);
  });

  it("reports mistakes of every kind together, before any weight is read", async () => {
    renameSync(join(data, "train.jsonl"), join(data, "rows.jsonl"));
    try {
      const problems = await problemsWith(
        "train.learningRat=1",
        "prompt.template=plian",
        "prompt.maxPromptTokens=300",
        "prompt.maxAnswerTokens=1",
        "adapter.targets=[q_porj, W_pack]",
        "model.storage=int4",
      );
      expect(problems).toEqual([
        'model.storage is "int4": Invalid option: expected one of "float32"|"bfloat16"|"int8"|"nf4"',
        'train.learningRat — unknown key, did you mean "learningRate"?',
        'chat template: got "plian", expected default, plain, llama2, chatglm2, baichuan2, qwen, llama3, mistral, mistral-v3, glm4, alpaca; did you mean "plain"?',
        'adapter.targets: "q_porj" is not a module of a llama model, did you mean "q_proj"?',
        'adapter.targets: "W_pack" is not a module of a llama model, expected q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or "all"',
        `prompt.maxPromptTokens is 300, expected at most the 256 of ${base}`,
        `data.path: ${data} has valid, test, expected train`,
        expect.stringMatching(
          /^prompt.maxAnswerTokens is 1, expected at least 3: .* for "unknown" \(3 tokens\), "收购" \(2 tokens\), "被收购" \(\d tokens\)/,
        ),
      ]);
      expect(seen).toEqual({ opened: 1, closed: 1, read: 0 });
    } finally {
      renameSync(join(data, "rows.jsonl"), join(data, "train.jsonl"));
    }
  });

  it("reports what is not there, with what can be checked without it", async () => {
    const nowhere = join(temporary.path, "nowhere");
    expect(await problemsWith(`model.path=${nowhere}`, "data.path=null", "prompt.style=markd")).toEqual([
      expect.stringContaining(`model.path: ${nowhere} does not exist`),
      "data.path is missing: give it in the recipe or with --data DIR",
      'prompt style: got "markd", expected paper, marked, asked, twice, pairs, between; did you mean "marked"?',
    ]);
    expect(await problemsWith("model={init: {width: 8}}", "prompt.style=markd")).toEqual([
      "model.init.layers is missing: Invalid input: expected number, received undefined",
      "model.init.heads is missing: Invalid input: expected number, received undefined",
      "model.init.keyValueHeads is missing: Invalid input: expected number, received undefined",
      "model.init.feedForward is missing: Invalid input: expected number, received undefined",
      "model.tokenizer: model.init needs a tokenizer",
      'adapter.method: a model from nothing is trained whole: expected "full"',
      'prompt style: got "markd", expected paper, marked, asked, twice, pairs, between; did you mean "marked"?',
    ]);
  });

  it("reports labels, tokenizer and template that do not fit, each with its hint", async () => {
    const labels = join(data, "labels.json");
    renameSync(labels, `${labels}.kept`);
    try {
      const problems = await problemsWith("prompt.template=qwen", "prompt.style=marked");
      expect(problems).toEqual([expect.stringMatching(/labels.json: is missing; .*\(Write one: /)]);
      rmSync(labels, { force: true });
    } finally {
      renameSync(`${labels}.kept`, labels);
    }
    expect(await problemsWith("prompt.template=qwen")).toEqual([
      'chat template "qwen": the tokenizer has no <|im_start|>, <|im_end|> (Does the template belong to this model? prompt.template: auto chooses by the family.)',
    ]);
    expect(seen.read).toBe(0);
  });
});
