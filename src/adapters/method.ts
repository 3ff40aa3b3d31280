import { z } from "zod";
import type { Weight, WeightStorage } from "../compute/backend.ts";
import type { GgufField, GgufTensorToWrite } from "../formats/gguf-write.ts";
import type { TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import type { PlaceOptions } from "../models/place.ts";
import type { DecoderSpec } from "../models/spec.ts";

/** Trained weights that share a learning rate. Methods with rates of their own (LoRA+) return several groups. */
export interface WeightGroup {
  weights: readonly Weight[];
  /** Factor on the recipe's learning rate. */
  learningRateFactor: number;
}

/** Weights that are trained at the recipe's learning rate. */
export function oneGroup(weights: readonly Weight[]): WeightGroup[] {
  return [{ weights, learningRateFactor: 1 }];
}

/** The setting by which a method continues from a trained adapter. */
export const startSetting = z
  .string()
  .min(1)
  .optional()
  .describe(
    "PEFT folder whose weights the training continues from; without it a fresh adapter. cre train --adapter sets it.",
  );

/** The weights of all groups, in a fixed order. */
export function weightsOf(groups: readonly WeightGroup[]): Weight[] {
  return groups.flatMap(({ weights }) => weights);
}

/** Takes the place of an ability that a method lacks: the reason, as the end of a sentence that begins with the method's name. */
export interface Unable {
  because: string;
}

export const isUnable = (ability: object): ability is Unable => "because" in ability;

/** Tensors that are computed when they are read, from files that `close` closes. */
export interface OpenTensors<T> {
  tensors: T[];
  close(): Promise<void>;
}

/** What is made from an open file, with the function that closes it; closes it at once when making fails. */
export async function withSource<T>(
  source: { close(): Promise<void> },
  make: () => T,
): Promise<T & Pick<typeof source, "close">> {
  try {
    return { ...make(), close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** The trained result is a PEFT folder: adapter_config.json and adapter_model.safetensors, used together with the base model. */
export interface SavedAdapter<S> {
  kind: "adapter";
  /** Writes the folder; adapter_config.json comes last, so a folder that has it is complete. `baseModel` is noted in it. */
  save(model: Decoder, settings: S, directory: string, baseModel: string | null): Promise<void>;
  /** Puts a saved adapter on its base, frozen. Throws a UserErrors when it does not fit. */
  load(model: Decoder, directory: string): Promise<void>;
  /**
   * Writes the PEFT folder for a base that Hugging Face keeps with rotary pairs in halves, from one trained on interleaved pairs.
   * A base whose rows need no reordering has its folder copied instead.
   */
  saveInHalves(directory: string, output: string, spec: DecoderSpec): Promise<void>;
  /** Adds the adapter in `directory` to the tensors of its base. `where` names the output in errors. */
  merge:
    | ((base: readonly TensorToWrite[], directory: string, where: string) => Promise<OpenTensors<TensorToWrite>>)
    | Unable;
  /** The adapter in llama.cpp's form. */
  ggufAdapter:
    | ((
        directory: string,
        spec: DecoderSpec,
        where: string,
      ) => Promise<OpenTensors<GgufTensorToWrite> & { fields: GgufField[] }>)
    | Unable;
}

/** The trained result is a Hugging Face folder `model/` with its tokenizer; the base is no longer needed. */
export interface SavedModel {
  kind: "model";
}

/** How a method's weights go to a trainer elsewhere and come back: as PEFT folders for a base as its family's checkpoints are. */
export interface Elsewhere<S> {
  /** Writes the weights that a training of this seed starts with; needs no weights of the base. */
  writeFresh(settings: S, spec: DecoderSpec, seed: number, directory: string): Promise<void>;
  /** Puts the trained values of a folder into the weights that `attach` added. Throws a UserErrors when they do not fit. */
  readTrained(model: Decoder, directory: string): Promise<void>;
}

/** A way to tune a model. Everything that is special about it is in one file; {@link METHODS} lists the methods. */
export interface TuningMethod<S extends { method: string }> {
  readonly name: S["method"];
  /** Schema of a recipe's `adapter` block; its `method` is a literal with the method's name. */
  readonly schema: z.ZodObject & z.ZodType<S>;
  /** Highest learning rate for a model of billions of parameters, where a recipe names its model and gives none. */
  readonly usualLearningRate: number;
  /** A method with the same settings and usual learning rates: what a recipe of it leaves out comes from the shipped recipes of that one. */
  readonly likeMethod?: string;
  /** How the layers' matrices of the base may be kept while it trains. */
  readonly storages: readonly WeightStorage[];
  /** What it can start from: with "any", `model.init` (a model from nothing) too. */
  readonly startsFrom: "any" | "trained model";
  /** The settings with names in the place of "auto", for a family by its `model_type`. */
  resolve(settings: S, modelType: string): S;
  /** How many positions of the model's context go to virtual tokens in front of every sequence; absent: none. */
  virtualTokens?(settings: S): number;
  /** What does not fit a model of this specification, each with its key in the recipe; needs no weights. */
  problems(settings: S, spec: DecoderSpec): string[];
  /** Which of the base's own weights are loaded as trainable. */
  trainsOfBase(settings: S, spec: DecoderSpec): PlaceOptions["trainable"];
  /** How many numbers {@link attach} adds to a model, each of them trained. */
  addedNumbers(settings: S, spec: DecoderSpec): number;
  /** Numbers of each token that its forward pass keeps for the backward pass beyond those of the model, over all layers; absent: none worth counting. */
  keptNumbers?(settings: S, spec: DecoderSpec): number;
  /** Adds the method's own weights to a loaded model and returns everything that is trained, in a fixed order. */
  attach(model: Decoder, settings: S, seed: number): Promise<WeightGroup[]>;
  readonly saved: SavedAdapter<S> | SavedModel;
  /** Absent: trained here only. */
  readonly elsewhere?: Elsewhere<S>;
}
