"""Makes test/golden/{qwen2,qwen3,chatglm2,baichuan2-7b,baichuan2-13b,baichuan2-13b-six-heads}/: tiny random models of the official
implementations, a LoRA adapter of PEFT, and what they compute in float32.

    pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0 accelerate==1.15.0
    python -P test/golden/make/families.py qwen2 qwen3 mistral glm4 llama3 llama-linear qwen2-yarn
    python -P test/golden/make/families.py chatglm2 baichuan2-7b baichuan2-13b baichuan2-13b-six-heads --code DIR

DIR holds the authors' own code, one package each (fetched, never committed): chatglm2/{modeling,configuration}_chatglm.py,
baichuan2_7b/ and baichuan2_13b/{modeling,configuration}_baichuan.py with the generation_utils.py and quantizer.py that they import.
Origins: see AUTHORS. transformers 5 is newer than this code; patched here, nothing of it in what is computed:
  - ChatGLM2 reads torch_dtype, use_cache, use_return_dict, output_hidden_states and max_length of its configuration, which transformers 5
    no longer gives: set there;
  - generation_utils.py (chat templates) and quantizer.py of Baichuan2 are replaced by empty modules: not reached.

Weights are rounded to bfloat16, as the published ones are (ChatGLM2: stored as float16), so that every backend starts from the same numbers.
With --trained it computes with adapters that this project has trained (train-adapters.mjs): trained/numbers.safetensors, logits of all rows.
golden.json: the ids, logits of each last row, the losses (mean over the labelled tokens of all sequences).
numbers.safetensors: logits [T,V] of all rows without and with the adapter; gradients of the loss by vectors of the base (norms, biases;
without adapter) and by the adapter, all rounded to 7 digits.
"""
import argparse
import importlib
import json
import os
import shutil
import sys
import types

import peft
import torch
import transformers
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SEED = 20
LENGTHS = [5, 17, 40]
PROMPT_TOKENS = [2, 6, 30]  # no loss on the prediction of these
AUTHORS = {
    "chatglm2": ("syjjhl/chatglm2-6b, a copy of THUDM/chatglm2-6b", "8fd7fba285f7171d3ae7ea3b35c53b6340501ed1", "2023-09-08"),
    "baichuan2_7b": ("mlpod/Baichuan2-CPU-DEBUG, a copy of baichuan-inc/Baichuan2-7B-Chat with xformers commented out",
                     "8049641e05e0ff109ae96525fbf7284928ee23e7", "2023-10-24"),
    "baichuan2_13b": ("jrd77/Baichuan2-13B-Chat, a copy of baichuan-inc/Baichuan2-13B-Chat", "d022d7264467b2c3bc483e7a3a17105dedba50b8",
                      "2023-09-12"),
}


def qwen2(_):
    # Entries as in the published config.json of Qwen2.5-0.5B: written by transformers 4.
    config = {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 60, "eos_token_id": 60, "hidden_act": "silu",
        "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 48, "max_position_embeddings": 64, "max_window_layers": 2,
        "model_type": "qwen2", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 64, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "use_cache": True, "use_mrope": False, "use_sliding_window": False, "vocab_size": 64,
    }
    return config, lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config.from_dict(dict(config)))


def qwen3(_):
    # Entries as in the published config.json of Qwen3-4B, with an output layer of its own as the larger ones have; 4 heads of 16 for width 32.
    config = {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 59, "eos_token_id": 60,
        "head_dim": 16, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 48,
        "max_position_embeddings": 64, "max_window_layers": 2, "model_type": "qwen3", "num_attention_heads": 4, "num_hidden_layers": 2,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True,
        "use_sliding_window": False, "vocab_size": 64,
    }
    return config, lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config.from_dict(dict(config)))


def small(model_type, config_class, model_class, **entries):
    """A family of transformers' own, with entries as in a published config.json written by transformers 4."""
    config = {
        "architectures": [model_class.__name__], "attention_dropout": 0.0, "bos_token_id": 59, "eos_token_id": 60, "hidden_act": "silu",
        "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 48, "max_position_embeddings": 64, "model_type": model_type,
        "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-05, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 64, **entries,
    }
    return lambda _: (config, lambda: model_class(config_class.from_dict(json.loads(json.dumps(config)))))


# As Mistral-Nemo: heads of another width than hidden_size / heads.
mistral = small("mistral", transformers.MistralConfig, transformers.MistralForCausalLM, head_dim=16, rope_theta=1000000.0,
                sliding_window=None, transformers_version="4.43.0.dev0")
# As glm-4-9b-chat-hf.
glm4 = small("glm", transformers.GlmConfig, transformers.GlmForCausalLM, attention_bias=True, bos_token_id=None, head_dim=8,
             partial_rotary_factor=0.5, rms_norm_eps=1.5625e-07, rope_theta=10000.0, pad_token_id=60, transformers_version="4.46.0.dev0")
# As Llama-3.2-1B: factor 32; the original length is so short here that every kind of pair occurs.
llama3 = small("llama", transformers.LlamaConfig, transformers.LlamaForCausalLM, attention_bias=False, mlp_bias=False, head_dim=8,
               rope_theta=500.0, tie_word_embeddings=True, pretraining_tp=1, transformers_version="4.45.0.dev0",
               rope_scaling={"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 16,
                             "rope_type": "llama3"})
linear = small("llama", transformers.LlamaConfig, transformers.LlamaForCausalLM, rope_scaling={"factor": 4.0, "type": "linear"},
               transformers_version="4.31.0")
# As Qwen2.5's page says to extend it.
yarn = small("qwen2", transformers.Qwen2Config, transformers.Qwen2ForCausalLM, rope_theta=1000.0, use_sliding_window=False,
             rope_scaling={"factor": 4.0, "original_max_position_embeddings": 16, "type": "yarn"}, transformers_version="4.43.1")


def chatglm2(code):
    config = {
        "_name_or_path": "THUDM/chatglm2-6b", "model_type": "chatglm", "architectures": ["ChatGLMModel"],
        "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig", "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"},
        "add_bias_linear": False, "add_qkv_bias": True, "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0, "attention_softmax_in_fp32": True,
        "bias_dropout_fusion": True, "ffn_hidden_size": 44, "fp32_residual_connection": False, "hidden_dropout": 0.0, "hidden_size": 32,
        "kv_channels": 8, "layernorm_epsilon": 1e-05, "multi_query_attention": True, "multi_query_group_num": 2, "num_attention_heads": 4,
        "num_layers": 2, "original_rope": True, "padded_vocab_size": 72, "post_layer_norm": True, "rmsnorm": True, "seq_length": 64,
        "use_cache": True, "torch_dtype": "float16", "transformers_version": "4.27.1", "tie_word_embeddings": False, "eos_token_id": 2,
        "pad_token_id": 0,
    }

    def make():
        package = authors_code(code, "chatglm2", [])
        made = package("configuration_chatglm").ChatGLMConfig(**{**config, "torch_dtype": torch.float32})
        for key, value in {"torch_dtype": torch.float32, "use_cache": False, "use_return_dict": True, "output_hidden_states": False,
                           "max_length": 64}.items():
            if getattr(made, key, None) != value:
                object.__setattr__(made, key, value)
        return package("modeling_chatglm").ChatGLMForConditionalGeneration(made, empty_init=False)
    return config, make


def baichuan2(size, heads, width):
    def family(code):
        config = {
            "_from_model_config": True, "architectures": ["BaichuanForCausalLM"],
            "auto_map": {"AutoConfig": "configuration_baichuan.BaichuanConfig",
                         "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM"},
            "tokenizer_class": "BaichuanTokenizer", "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": width,
            "initializer_range": 0.02, "intermediate_size": 44, "model_max_length": 64, "model_type": "baichuan",
            "num_attention_heads": heads, "num_hidden_layers": 2, "pad_token_id": 0, "rms_norm_eps": 1e-06, "tie_word_embeddings": False,
            "torch_dtype": "bfloat16", "transformers_version": "4.29.2", "use_cache": True, "vocab_size": 68,
            # Only the 7B file has the one, only the 13B file the other.
            **({"max_position_embeddings": 64} if size == "7b" else {"gradient_checkpointing": False}),
        }

        def make():
            package = authors_code(code, f"baichuan2_{size}", ["generation_utils", "quantizer"])
            made = package("configuration_baichuan").BaichuanConfig(**{**config, "use_cache": False})
            made.gradient_checkpointing = False
            return package("modeling_baichuan").BaichuanForCausalLM(made)
        return config, make
    return family


FAMILIES = {
    "qwen2": (qwen2, None, ["q_proj", "v_proj"]),
    "qwen3": (qwen3, None, ["q_proj", "v_proj"]),
    "mistral": (mistral, None, ["q_proj", "v_proj"]),
    "glm4": (glm4, None, ["q_proj", "gate_up_proj"]),
    "llama3": (llama3, None, ["q_proj", "v_proj"]),
    "llama-linear": (linear, None, ["q_proj", "v_proj"]),
    "qwen2-yarn": (yarn, None, ["q_proj", "v_proj"]),
    "chatglm2": (chatglm2, "chatglm2", ["query_key_value"]),
    "baichuan2-7b": (baichuan2("7b", 4, 32), "baichuan2_7b", ["W_pack"]),
    "baichuan2-13b": (baichuan2("13b", 4, 32), "baichuan2_13b", ["W_pack"]),
    "baichuan2-13b-six-heads": (baichuan2("13b", 6, 24), "baichuan2_13b", ["W_pack"]),
}


def authors_code(code, package, emptied):
    """Imports modules of the authors' code as a package; those in `emptied` are empty."""
    sys.path.insert(0, code)
    for name in emptied:
        module = types.ModuleType(f"{package}.{name}")
        module.build_chat_input = module.TextIterStreamer = None
        sys.modules[module.__name__] = module
    return lambda name: importlib.import_module(f"{package}.{name}")


def sequences(vocabulary):
    random = torch.Generator().manual_seed(SEED)
    return [torch.randint(3, vocabulary, (length,), generator=random).tolist() for length in LENGTHS]


def logits(model, inputs):
    return [model(input_ids=torch.tensor([ids])).logits[0].float() for ids in inputs]


def loss(model, inputs):
    total, count = 0.0, 0
    for rows, ids, skipped in zip(logits(model, inputs), inputs, PROMPT_TOKENS):
        targets = torch.tensor(ids[skipped:])
        total = total + torch.nn.functional.cross_entropy(rows[skipped - 1:-1], targets, reduction="sum")
        count += len(targets)
    return total / count


def rounded(tensor):
    return torch.tensor([float(f"{x:.7g}") for x in tensor.detach().reshape(-1).tolist()]).reshape(tensor.shape)


def numbers(tensor):
    return [float(f"{x:.7g}") for x in tensor.detach().reshape(-1).tolist()]


def draw_weights(model):
    """Matrices with the gain that those of real models have (0.02 · √4096 = 1.3), norms around one, biases."""
    random = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, p in model.named_parameters():
            values = torch.randn(p.shape, generator=random)
            if p.ndim == 2:
                deviation = 0.5 if "embed" in name else 1.2 / p.shape[1] ** 0.5
                p.copy_((values * deviation).bfloat16())
            elif "norm" in name:
                p.copy_((1 + 0.2 * values).bfloat16())
            else:
                p.copy_((0.3 * values).bfloat16())


def save_model(model, config, out):
    """As its makers publish it: safetensors, or PyTorch files in shards with an index."""
    tensors = {name: t.detach().clone() for name, t in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    dtype = getattr(torch, config["torch_dtype"])
    tensors = {name: t.to(dtype).contiguous() for name, t in tensors.items()}
    with open(os.path.join(out, "config.json"), "w") as f:
        f.write(json.dumps(config, indent=2) + "\n")
    if config["model_type"] not in ("chatglm", "baichuan"):
        save_file(tensors, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
        return
    names = list(tensors)
    half = len(names) // 2
    files = {}
    for shard, part in enumerate([names[:half], names[half:]], 1):
        file = f"pytorch_model-{shard:05d}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, os.path.join(out, file))
        files.update({name: file for name in part})
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": files}
    with open(os.path.join(out, "pytorch_model.bin.index.json"), "w") as f:
        f.write(json.dumps(index, indent=2) + "\n")


def make(family, code):
    build, author, targets = FAMILIES[family]
    out = os.path.join(HERE, "..", family)
    shutil.rmtree(out, ignore_errors=True)  # trained/ and converted.gguf too, which belong to these weights
    os.makedirs(out)
    config, build_model = build(code)
    model = build_model().float().eval()
    draw_weights(model)
    save_model(model, config, out)  # before the first forward pass, in which Baichuan2 normalises its head in place
    inputs = sequences(config.get("vocab_size", config.get("padded_vocab_size")))
    origin = (f"test/golden/make/families.py {family}: transformers {transformers.__version__}, peft {peft.__version__}, "
              f"torch {torch.__version__.split('+')[0]}, float32, seed {SEED}")
    if author:
        repository, commit, date = AUTHORS[author]
        origin += f"; modelling code of {repository}, commit {commit} of {date}"
    rows = logits(model, inputs)
    golden = {"origin": origin, "sequences": inputs, "promptTokens": PROMPT_TOKENS,
              "base": {"lastLogits": [numbers(r[-1]) for r in rows], "loss": loss(model, inputs).item()}}
    saved = {"base.logits": rounded(torch.cat(rows))}
    model.zero_grad()
    loss(model, inputs).backward()
    saved.update({f"base.{name}": rounded(p.grad) for name, p in model.named_parameters() if p.ndim == 1})

    lora = peft.LoraConfig(r=2, lora_alpha=8, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, lora).eval()
    random = torch.Generator().manual_seed(SEED + 1)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_" in name:
                p.copy_((0.1 * torch.randn(p.shape, generator=random)).bfloat16())
    adapted.save_pretrained(os.path.join(out, "adapter"))
    os.remove(os.path.join(out, "adapter", "README.md"))
    rows = logits(adapted, inputs)
    golden["adapted"] = {"lastLogits": [numbers(r[-1]) for r in rows], "loss": loss(adapted, inputs).item()}
    saved["adapted.logits"] = rounded(torch.cat(rows))
    adapted.zero_grad()
    loss(adapted, inputs).backward()
    saved.update({f"adapter.{name.replace('.default', '')}": rounded(p.grad) for name, p in adapted.named_parameters() if p.requires_grad})
    save_file(saved, os.path.join(out, "numbers.safetensors"), metadata={"origin": origin})
    with open(os.path.join(out, "golden.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()) + "\n}\n")
    for folder, _, files in os.walk(out):
        for file in files:
            os.chmod(os.path.join(folder, file), 0o644)
    print(family, golden["base"]["loss"], golden["adapted"]["loss"], "largest logit", saved["base.logits"].abs().max().item())


def load_trained(family, code):
    """What PEFT computes with trained/, an adapter of this project (train-adapters.mjs)."""
    build, _, _ = FAMILIES[family]
    out = os.path.join(HERE, "..", family)
    with open(os.path.join(out, "golden.json")) as f:
        golden = json.load(f)
    model = build(code)[1]().float().eval()
    draw_weights(model)
    adapted = peft.PeftModel.from_pretrained(model, os.path.join(out, "trained")).eval()
    rows = logits(adapted, golden["sequences"])
    saved = {"logits": rounded(torch.cat(rows))}
    origin = golden["origin"].replace("families.py", "families.py --trained")
    save_file(saved, os.path.join(out, "trained", "numbers.safetensors"), metadata={"origin": origin})
    print(family, loss(adapted, golden["sequences"]).item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="+", choices=list(FAMILIES))
    parser.add_argument("--trained", action="store_true", help="compute with the adapters in trained/, make nothing else")
    parser.add_argument("--code", help="folder with the authors' code")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for one in chosen.families:
        (load_trained if chosen.trained else make)(one, chosen.code)
