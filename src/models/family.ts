import type { GgufField } from "../formats/gguf-write.ts";
import type { LinearSlot, NormSlot } from "./layer.ts";
import type { DecoderSpec, ModelSizes, RotaryLayout } from "./spec.ts";

/** A module of a layer as checkpoints keep it: the weight of one slot, or the rows of several slots in one matrix, in this order. */
export interface LayerModule {
  /** Its name after the layer's own, for example "self_attn.q_proj". */
  name: string;
  slots: readonly LinearSlot[] | readonly [NormSlot];
  /** Its name in GGUF files; one name a slot where a file splits the matrix that checkpoints join. */
  gguf: readonly string[];
}

/** A family's GGUF files, as llama.cpp's converter writes them and llama.cpp reads them. */
export interface FamilyGguf {
  /** llama.cpp's name of the architecture. */
  architecture: string;
  /** The order of the rows of queries and keys in files. */
  rotaryLayout: RotaryLayout;
  /** llama.cpp's name of the rule by which a SentencePiece vocabulary cuts text (`tokenizer.ggml.pre`). */
  sentencePieceRule: string;
  /** Whether llama.cpp divides the angles of this architecture by rope_freqs.weight, as Llama 3.1 needs it. */
  dividesAngles?: boolean;
  /** Metadata that only this family has. */
  fields: readonly GgufField[];
  /** For a family with both kinds of positions: llama.cpp tells them by the number of layers, and computes any other model without positions. */
  layersByPositions?: { rotary: number; alibi: number };
}

/** The code by which a family reads its tokenizer's files. */
export interface FamilyTokenizer {
  /** The `tokenizer_class` of its tokenizer_config.json; a folder that names no class has this one. */
  tokenizerClass: string;
  /** Pieces after the file's own, in the order of their ids. No text gives them; a tokenizer that has any sets no begin mark. */
  commandPieces: readonly string[];
  /** The command pieces that the family's code sets before a text, in place of a begin mark. */
  beginPieces?: readonly string[];
}

/** The form in which transformers computes a family's models with code of its own. */
export type NativeForm = { modelType: string } | { because: string };

/** Everything that sets one family of models apart. Adding a family is one such value in a file of its own and one line in registry.ts. */
export interface Family {
  /** The `model_type` of its config.json. */
  modelType: string;
  readConfig(config: Readonly<Record<string, unknown>>, where: string): DecoderSpec;
  writeConfig(spec: DecoderSpec): Record<string, unknown>;
  names: {
    embedding: string;
    finalNorm: string;
    head: string;
    /** Before the number of a layer; the names of its modules follow the number. */
    layers: string;
  };
  /** In the order they are saved; a module whose slots the specification does not have is left out. */
  modules: readonly LayerModule[];
  /** How checkpoints of this family order the rows of queries and keys. */
  rotaryLayout: RotaryLayout;
  /**
   * Of a family whose checkpoints need their authors' code: the family of transformers that computes the same, or why there is none, as the end
   * of a sentence.
   */
  nativeForm?(spec: DecoderSpec): NativeForm;
  /** Tensors of published checkpoints that hold nothing the decoder needs. */
  ignored: readonly RegExp[];
  gguf: FamilyGguf;
  /** Null where the tokenizer's files say everything. */
  tokenizer: FamilyTokenizer | null;
  /** transformers opens its folders only with Python code of the authors. */
  needsAuthorsCode?: true;
  /** Name of the chat template of the family's chat models. */
  chatTemplate: string;
  /** What LoRA adapts by default: last parts of module names. */
  loraTargets: readonly string[];
  /** A model with random weights. */
  init: {
    /** Standard deviation of normal weights; products that add to the residual stream have it divided by √(2 · layers), as in GPT-2. */
    deviation: number;
    queryKeyValueBias: boolean;
    /** Small models with every trait of the family, by the names of the models that they imitate. */
    tiny: Readonly<Record<string, Omit<ModelSizes, "family">>>;
  };
}
