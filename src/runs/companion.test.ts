import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { temporaryFolder, toyRows } from "../../test/e2e/support.ts";
import { UserError } from "../base/errors.ts";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import { computeMetrics } from "../evaluate/metrics.ts";
import { chooseRelations } from "../extract/combine.ts";
import type { Extraction } from "../extract/extractor.ts";
import { writeFolderSums } from "../formats/folder-sums-write.ts";
import { linearProbabilities } from "../linear/model.ts";
import type { Recipe } from "../recipe/schema.ts";
import { mixtureOf } from "./calibration-read.ts";
import { companionFor, openCompanion, saveCompanion } from "./companion.ts";
import { COMPANION_FILES, expectNoMixture, type RunCompanion } from "./companion-read.ts";
import {
  type CompanionValidation,
  companionReferences,
  companionScores,
  linearF1,
  validateDecoding,
} from "./companion-scores.ts";
import { type RunFolder, runFolder } from "./run-folder.ts";

const LABELS = createLabelSet(
  { labels: ["unknown", "收购", "被收购", "合作"], noRelation: "unknown", inverses: { 收购: "被收购" } },
  "labels",
);
const TRAIN: Example[] = toyRows(48, 1);
const VALID: Example[] = toyRows(24, 2);
const DECODE = { method: "labels", companion: "auto", furtherRelations: 1, noRelationWeight: 1 } as const;
const RECIPE = { decode: DECODE, train: { keepBest: "micro" }, seed: 1 } as unknown as Recipe;
const CHOICES = { method: "labels", model: DECODE, mixed: DECODE } as const;
const validate = (...given: Parameters<typeof validateDecoding>) =>
  validateDecoding(...given).companion as CompanionValidation;

const temporary = temporaryFolder("companion");
afterAll(() => temporary.remove());
let folders = 0;
function newFolder(): RunFolder {
  const folder = runFolder(join(temporary.path, `run-${folders++}`));
  mkdirSync(folder.directory);
  return folder;
}

let companion: RunCompanion;
beforeAll(async () => {
  companion = (await companionFor(newFolder(), RECIPE, LABELS, TRAIN, VALID)) as RunCompanion;
});

/** Probabilities of a language model that gives the gold label `likely`, and a wrong one that in some rows. */
function modelThatIsWrong(isWrong: (row: number) => boolean, likely = 0.7): Float64Array[] {
  return VALID.map(({ relations = [] }, row) => {
    const gold = LABELS.labels.indexOf(relations[0]);
    const chosen = isWrong(row) ? (gold + 1) % LABELS.labels.length : gold;
    return Float64Array.from(LABELS.labels, (_, label) => (label === chosen ? likely : (1 - likely) / 3));
  });
}

const extractionsBy = (probabilities: readonly Float64Array[]): Extraction[] =>
  probabilities.map((own) => {
    const { predictions } = chooseRelations(own, LABELS, DECODE);
    return { predictions, probabilities: own, modelProbabilities: own, truncated: false, generated: null };
  });

describe("companionFor", () => {
  it("trains on the rows, and tells the floor on the validation rows or on held-out ones", async () => {
    const made = await companionFor(newFolder(), RECIPE, LABELS, TRAIN, VALID);
    expect(made?.rows).toBe(48);
    const { event } = made as NonNullable<typeof made>;
    expect(event).toMatchObject({ kind: "companion", rows: 48, validation: { rows: 24 }, heldOut: { rows: 48 } });
    expect(event.validation?.microF1).toBe(linearF1(companion.model, LABELS, VALID).microF1);
    expect(event.validation?.microF1).toBeGreaterThan(0.8);
    expect((await companionFor(newFolder(), RECIPE, LABELS, TRAIN, []))?.event.validation).toBe(null);
  });

  it("takes the one of a resumed run, and a new one where that is damaged or half gone", async () => {
    const folder = newFolder();
    await saveCompanion(folder, companion);
    const [bin, json] = COMPANION_FILES.map((name) => join(folder.directory, name));
    const read = await companionFor(folder, RECIPE, LABELS, TRAIN, VALID);
    expect(read?.event.seconds).toBe(null);
    expect(read?.model).toEqual(companion.model);
    for (const damage of [
      () => rmSync(json),
      () => rmSync(bin),
      () => writeFileSync(bin, readFileSync(bin).fill(0, 100, 101)),
      () => writeFileSync(json, "{}"),
    ]) {
      await saveCompanion(folder, companion);
      damage();
      const again = await companionFor(folder, RECIPE, LABELS, TRAIN, VALID);
      expect(again?.event.seconds).toBeGreaterThan(0);
      expect(again?.model).toEqual(companion.model);
    }
  });

  it("makes none where the recipe wants none", async () => {
    const none = { ...RECIPE, decode: { ...DECODE, companion: "none" } } as unknown as Recipe;
    expect(await companionFor(newFolder(), none, LABELS, TRAIN, VALID)).toBe(null);
  });
});

describe("openCompanion", () => {
  it("gives back what was saved, null for a run without one", async () => {
    const folder = newFolder();
    expect(await openCompanion(folder, LABELS)).toBe(null);
    const validation = validate(
      companion.model,
      RECIPE,
      LABELS,
      VALID,
      modelThatIsWrong(() => false),
    );
    const { model, rows, choice } = companion;
    await saveCompanion(folder, { model, rows, choice, validation });
    expect(await openCompanion(folder, LABELS)).toEqual({ model, rows, choice, validation });
  });

  it("refuses a half, other labels, notes that are none, and a run that lost it", async () => {
    const folder = newFolder();
    await saveCompanion(folder, companion);
    const [bin, json] = COMPANION_FILES.map((name) => join(folder.directory, name));
    const others = createLabelSet({ labels: [...LABELS.labels].reverse() }, "labels");
    await expect(openCompanion(folder, others)).rejects.toThrow(
      "was trained for other labels than those in labels.json",
    );
    await writeFolderSums(folder.directory, COMPANION_FILES, {});
    const copy = newFolder();
    for (const [lost, message] of [
      [[bin], "companion.bin: cannot be read"],
      [[json], "companion.json: cannot be read"],
      [[bin, json], "companion.bin: cannot be read"],
    ] as const) {
      cpSync(folder.directory, copy.directory, { recursive: true });
      for (const file of lost) rmSync(file.replace(folder.directory, copy.directory));
      const opening = openCompanion(copy, LABELS);
      await expect(opening).rejects.toThrow(message);
      await expect(opening).rejects.toBeInstanceOf(UserError);
    }
    writeFileSync(json, JSON.stringify({ rows: 1 }));
    await expect(openCompanion(folder, LABELS)).rejects.toThrow("companion.json: 2 problems");
  });
});

describe("validateDecoding", () => {
  it("mixes the companion in where it corrects errors of the model", () => {
    const validation = validate(
      companion.model,
      RECIPE,
      LABELS,
      VALID,
      modelThatIsWrong((row) => row % 3 === 0, 0.5),
    );
    expect(validation.gains).toBe(true);
    expect(validation.mixture.weight).toBeGreaterThan(0.2);
    expect(validation.mixed.microF1).toBeGreaterThan(validation.model.microF1 + 0.1);
    expect(validation.linear).toEqual(linearF1(companion.model, LABELS, VALID));
    expect(validation.rows).toBe(24);
  });

  it("leaves it out where the model needs no help", () => {
    const validation = validate(
      companion.model,
      RECIPE,
      LABELS,
      VALID,
      modelThatIsWrong(() => false, 0.97),
    );
    expect(validation).toMatchObject({ gains: false, model: { microF1: 1 } });
  });

  it("decides by the metric that keeps the best weights", () => {
    const byPaper = { ...RECIPE, train: { keepBest: "paper" } } as unknown as Recipe;
    const own = modelThatIsWrong((row) => row % 3 === 0, 0.5);
    const { gains, model, mixed } = validate(companion.model, byPaper, LABELS, VALID, own);
    expect(gains).toBe(mixed.paperF1 > model.paperF1);
  });
});

describe("mixtureOf", () => {
  const fitted = { weight: 0.3, temperature: 1.2 };
  const f1 = { paperF1: 0, microF1: 0 };
  const validation = { rows: 1, mixture: fitted, linear: f1, model: f1, mixed: f1, gains: true };
  const with_ = (gains: boolean | null): RunCompanion => ({
    ...companion,
    validation: gains === null ? null : { ...validation, gains },
  });

  it("is the fitted one where it gains, the weight that is asked for, or none", () => {
    const cases = [
      [true, "auto", "labels", fitted],
      [false, "auto", "labels", null],
      [null, "auto", "labels", null],
      [true, 0, "labels", null],
      [false, 0.5, "labels", { weight: 0.5, temperature: 1 }],
      [true, "none", "labels", null],
      [true, "auto", "generate", null],
      [true, 0.5, "generate", null],
    ] as const;
    for (const [gains, wanted, method, mixture] of cases) {
      expect(mixtureOf(with_(gains), { companion: wanted, method }), `${gains} ${wanted} ${method}`).toEqual(mixture);
    }
  });

  it("cannot be asked of a run without a companion", () => {
    const decode = { method: "labels" } as const;
    expect(() => expectNoMixture({ ...decode, companion: 0.3 }, "runs/a")).toThrow(
      "runs/a: has no linear companion, expected one for decode.companion 0.3",
    );
    for (const companion of ["auto", "none", 0] as const) expectNoMixture({ ...decode, companion }, "runs/a");
  });
});

describe("companionScores", () => {
  const own = modelThatIsWrong((row) => row % 3 === 0, 0.5);
  const extractions = extractionsBy(own);
  const rowsBy = (probabilities: readonly Float64Array[]) =>
    VALID.map(({ relations = [], sentence }, i) => {
      const { predictions } = chooseRelations(probabilities[i], LABELS, DECODE);
      return { gold: relations, predicted: predictions.map(({ relation }) => relation), group: sentence };
    });
  const metricsOf = (probabilities: readonly Float64Array[]) =>
    computeMetrics(rowsBy(probabilities), LABELS, { bootstrap: null });

  it("has the floor, the model alone and the mixture, whichever of them the run decodes with", () => {
    const validation = validate(companion.model, RECIPE, LABELS, VALID, own);
    const run = { ...companion, validation };
    const alone = companionScores(run, LABELS, CHOICES, null, {
      examples: VALID,
      extractions,
      metrics: metricsOf(own),
    });
    expect(alone.model.conventions.micro.f1).toBe(validation.model.microF1);
    expect(alone.mixed?.conventions.micro.f1).toBe(validation.mixed.microF1);
    const floor = metricsOf(linearProbabilities(companion.model, VALID));
    expect(alone.linear).toEqual({ conventions: floor.conventions, macro: floor.macro });
    expect(companionReferences(alone).map(({ name, f1 }) => [name, f1.micro])).toEqual([
      ["linear floor", validation.linear.microF1],
      ["mixed", validation.mixed.microF1],
    ]);

    const metrics = alone.mixed as NonNullable<typeof alone.mixed>;
    const used = companionScores(run, LABELS, CHOICES, validation.mixture, { examples: VALID, extractions, metrics });
    expect(used).toEqual({ ...alone, mixture: validation.mixture });
    expect(companionReferences(used).map(({ name, f1 }) => [name, f1.macro])).toEqual([
      ["linear floor", floor.macro.f1],
      ["model alone", alone.model.macro.f1],
    ]);
  });

  it("has no mixture where none was fitted or text is generated", () => {
    const evaluated = { examples: VALID, extractions, metrics: metricsOf(own) };
    expect(companionScores(companion, LABELS, CHOICES, null, evaluated).mixed).toBe(null);
    const validation = validate(companion.model, RECIPE, LABELS, VALID, own);
    const generated = { ...CHOICES, method: "generate" as const };
    expect(companionScores({ ...companion, validation }, LABELS, generated, null, evaluated).mixed).toBe(null);
  });
});
