import { brat } from "./brat.ts";
import { conll } from "./conll.ts";
import { doccano } from "./doccano.ts";
import { duie } from "./duie.ts";
import { alpaca, sharegpt } from "./instruction-rows.ts";
import { jsonList } from "./json-list.ts";
import { labelStudio } from "./label-studio.ts";
import type { LabelledFormat } from "./labelled.ts";
import { opennre } from "./opennre.ts";
import { spert } from "./spert.ts";

/** Formats of labelled data that are converted; a new one is a file and a line. */
export const LABELLED_FORMATS = {
  spert,
  duie,
  doccano,
  "label-studio": labelStudio,
  brat,
  conll,
  alpaca,
  sharegpt,
  opennre,
  json: jsonList,
} as const satisfies Record<string, LabelledFormat>;

export type LabelledFormatName = keyof typeof LABELLED_FORMATS;

export const LABELLED_FORMAT_NAMES = Object.keys(LABELLED_FORMATS) as LabelledFormatName[];

/** Formats whose rows are pairs with a label each: a recipe may name them as data.format. */
export const PAIR_FORMAT_NAMES = ["json", "opennre", "alpaca", "sharegpt"] as const satisfies LabelledFormatName[];

/** Formats whose rows are texts that need not be cut: a recipe may name them as data.format too. */
export const TEXT_FORMAT_NAMES = ["spert", "duie", "conll"] as const satisfies LabelledFormatName[];

export type TextFormatName = (typeof TEXT_FORMAT_NAMES)[number];

export type PairFormatName = (typeof PAIR_FORMAT_NAMES)[number];

/** The format that a row's keys are those of; null when none is known. */
export function recogniseRow(row: Readonly<Record<string, unknown>>): LabelledFormatName | null {
  return LABELLED_FORMAT_NAMES.find((name) => (LABELLED_FORMATS[name] as LabelledFormat).recognise?.(row)) ?? null;
}
