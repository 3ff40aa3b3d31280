import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, expect, it, vi } from "vitest";
import { TOKENIZER } from "../../test/e2e/support.ts";
import { naiveLogits } from "../../test/naive-decoder.ts";
import { tinyFamily } from "../../test/tiny-families.ts";
import { openReference } from "../compute/reference/backend.ts";
import { saveDecoder } from "../models/save.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { addModelScoreCommand } from "./model-score.ts";

const root = mkdtempSync(join(tmpdir(), "cre-model-score-"));
afterAll(() => rmSync(root, { recursive: true }));

async function scored(...command: string[]): Promise<string> {
  const lines: string[] = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text, ...rest) => {
    lines.push(String(text));
    const done = rest.find((one) => typeof one === "function") as (() => void) | undefined;
    done?.();
    return true;
  });
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
    addModelScoreCommand(program);
    await program.parseAsync(["score", ...command], { from: "user" });
  } finally {
    vi.restoreAllMocks();
  }
  return lines.join("");
}

it("gives the log-probabilities of the formulas, token by token", async () => {
  const backend = openReference({ precision: "float32" });
  const tokenizer = await openModelTokenizer(TOKENIZER, { modelType: "llama" });
  const { vocabularySize } = tokenizer;
  const model = await tinyFamily(backend, "llama", { seed: 3, vocabularySize });
  await saveDecoder(model, root, { dtype: "F32" });
  copyFileSync(TOKENIZER, join(root, "tokenizer.model"));
  const [prompt, continuation] = ["甲公司", "收购乙"];
  const promptIds = [tokenizer.bosId as number, ...tokenizer.encode(prompt)];
  const ids = tokenizer.encode(continuation);
  const rows = await naiveLogits(model, [...promptIds, ...ids]);
  await backend.close();
  const wanted = ids.map((id, i) => {
    const row = rows[promptIds.length - 1 + i];
    return row[id] - Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
  });
  const result = JSON.parse(await scored(root, "--prompt", prompt, "--continuation", continuation, "--json"));
  expect(result.promptIds).toEqual(promptIds);
  expect(result.tokens.map(({ id }: { id: number }) => id)).toEqual(ids);
  for (const [i, { piece, logProbability }] of result.tokens.entries()) {
    expect(piece).toBe(tokenizer.pieceOf(ids[i]));
    expect(Math.abs(logProbability - wanted[i])).toBeLessThan(1e-4);
  }
  expect(result.logProbability).toBeCloseTo(
    wanted.reduce((sum, value) => sum + value, 0),
    3,
  );
  const text = await scored(root, "--prompt", prompt, "--continuation", continuation);
  expect(text).toContain(`sum ${result.logProbability.toFixed(5)}`);
  await expect(scored(root, "--continuation", "")).rejects.toThrow("--continuation is empty");
});
