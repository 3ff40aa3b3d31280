"""Makes test/golden/peft-elsewhere/: configurations of PEFT that this program does not write, on the tiny models of llama-peft and qwen2.

    pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0 && python -P test/golden/make/peft_elsewhere.py [OUT]

One folder for each case: NAME/ is the adapter as PEFT saves it. Of cases that are refused by their configuration only that is kept.
logits.safetensors: for each case that is read the logits [rows, V] of all rows, of the adapter that PEFT has loaded from the folder onto a fresh
base, in float32. golden.json: for each case its base, and whether PEFT itself loads it.
"""
import json
import os
import shutil
import sys
import warnings

import peft
import torch
import transformers
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.abspath(os.path.join(HERE, ".."))
OUT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(GOLDEN, "peft-elsewhere"))
SEQUENCES = [[1, 17, 5, 44, 60, 23, 8, 31, 2], [1, 9, 9, 58, 12]]
LLAMA, QWEN = "llama-peft", "qwen2"  # qwen2: biases of queries, keys and values; the output layer is the embedding
QV = ["q_proj", "v_proj"]
NOT_A_LORA = {"task_type": "CAUSAL_LM", "target_modules": QV}


def lora(**changes):
    return peft.LoraConfig(**{"r": 2, "lora_alpha": 6, "lora_dropout": 0.0, "target_modules": QV, "task_type": "CAUSAL_LM", **changes})


def prefix(**changes):
    return peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM", **changes)


# Options: pickle (adapter_model.bin), dtype of the saved weights, converted (the start taken off the weights), name (of the adapter),
# extended (tokens added to the base), embeddings (save_embedding_layers=True), changes (of the saved configuration).
READ = {
    "bin": (LLAMA, lora(), {"pickle": True}),
    "bin-bfloat16": (LLAMA, lora(use_dora=True), {"pickle": True, "dtype": torch.bfloat16}),
    "bfloat16": (LLAMA, lora(), {"dtype": torch.bfloat16}),
    "patterns": (LLAMA, lora(rank_pattern={"q_proj": 3}, alpha_pattern={"layers.1.self_attn.v_proj": 9, "v_proj": 4}), {}),
    "patterns-rslora": (LLAMA, lora(use_rslora=True, rank_pattern={r"^model\.layers\.1\..*": 4, "down_proj": 1},
                                    alpha_pattern={".*_proj": 5}, target_modules=["q_proj", "down_proj", "up_proj"]), {}),
    "patterns-dora": (QWEN, lora(use_dora=True, rank_pattern={"k_proj": 1}, alpha_pattern={"o_proj": 2}, target_modules=["k_proj", "o_proj"]), {}),
    "expression": (LLAMA, lora(target_modules=r".*\.(?:0\.self_attn\.[qk]_proj|1\.mlp\.(up|down)_proj)"), {}),
    "expression-lookahead": (LLAMA, lora(target_modules=r"^(model)(?!.*(lm_head|embed|norm)).*(o_proj|gate_proj)$"), {}),
    "all-linear": (QWEN, lora(target_modules="all-linear"), {}),
    "all-linear-word": (QWEN, lora(target_modules="all-linear"), {"changes": {"target_modules": "all-linear"}}),
    "full-names": (LLAMA, lora(target_modules=["model.layers.0.self_attn.q_proj", "1.mlp.down_proj"]), {}),
    "layers": (LLAMA, lora(layers_to_transform=[1], target_modules=["q_proj", "up_proj"]), {}),
    "layer-number": (LLAMA, lora(layers_to_transform=0, layers_pattern="layers"), {}),
    "layers-full-name": (LLAMA, lora(layers_to_transform=[1], target_modules=["model.layers.0.self_attn.q_proj", "v_proj"]), {}),
    "exclude": (LLAMA, lora(target_modules="all-linear", exclude_modules=["down_proj", "model.layers.0.self_attn.q_proj"]), {}),
    "exclude-expression": (LLAMA, lora(exclude_modules=r".*\.1\..*"), {}),
    "bias-all": (QWEN, lora(bias="all"), {}),
    "bias-lora-only": (QWEN, lora(bias="lora_only"), {}),
    "bias-none-there": (LLAMA, lora(bias="all"), {}),
    "lora-bias": (QWEN, lora(lora_bias=True, use_rslora=True), {}),
    "fan-in-fan-out": (LLAMA, lora(fan_in_fan_out=True), {}),
    "init-gaussian": (LLAMA, lora(init_lora_weights="gaussian"), {}),
    "init-orthogonal": (LLAMA, lora(init_lora_weights="orthogonal"), {}),
    "init-eva": (LLAMA, lora(), {"changes": {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}}}),
    "init-pissa-converted": (LLAMA, lora(init_lora_weights="pissa"), {"converted": True}),
    "init-olora-converted": (LLAMA, lora(init_lora_weights="olora"), {"converted": True}),
    "save-head": (LLAMA, lora(modules_to_save=["lm_head"]), {}),
    "save-both-tables": (LLAMA, lora(modules_to_save=["embed_tokens", "lm_head"]), {}),
    "save-norms": (LLAMA, lora(modules_to_save=["norm", "input_layernorm"]), {}),
    "save-linear": (QWEN, lora(modules_to_save=["k_proj", "v_proj"]), {}),
    "save-embedding-tied": (QWEN, lora(modules_to_save=["embed_tokens"]), {}),
    "save-head-tied": (QWEN, lora(modules_to_save=["lm_head"]), {}),
    "save-both-tied": (QWEN, lora(modules_to_save=["embed_tokens", "lm_head"]), {}),
    "tables-beside": (LLAMA, lora(), {"embeddings": True}),
    "tables-beside-tied": (QWEN, lora(), {"embeddings": True}),
    "tokens": (LLAMA, lora(trainable_token_indices=[5, 44, 9]), {}),
    "tokens-tied": (QWEN, lora(trainable_token_indices=[5, 44, 9]), {}),
    "tokens-by-module": (LLAMA, lora(trainable_token_indices={"embed_tokens": [17, 2], "lm_head": [3]}), {}),
    "on-embedding": (LLAMA, lora(target_modules=["embed_tokens", "q_proj"], use_rslora=True), {}),
    "on-head": (LLAMA, lora(target_modules=["lm_head", "v_proj"]), {}),
    "on-head-dora": (LLAMA, lora(target_modules=["lm_head", "v_proj"], use_dora=True), {}),
    "on-embedding-tied": (QWEN, lora(target_modules=["embed_tokens"]), {}),
    "on-head-tied": (QWEN, lora(target_modules=["lm_head"], rank_pattern={"lm_head": 3}), {}),
    "prefix-bin": (QWEN, prefix(), {"pickle": True}),
    "prefix-projection": (LLAMA, prefix(prefix_projection=True, encoder_hidden_size=6), {}),
}
REFUSED = {
    "init-pissa": (LLAMA, lora(init_lora_weights="pissa"), {}),
    "init-olora": (LLAMA, lora(init_lora_weights="olora"), {}),
    "init-corda": (LLAMA, lora(), {"changes": {"init_lora_weights": "corda"}}),
    "init-loftq": (LLAMA, lora(), {"changes": {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}}),
    "adalora": (LLAMA, peft.AdaLoraConfig(init_r=3, target_r=2, total_step=10, **NOT_A_LORA), {}),
    "loha": (LLAMA, peft.LoHaConfig(r=2, **NOT_A_LORA), {}),
    "lokr": (LLAMA, peft.LoKrConfig(r=2, **NOT_A_LORA), {}),
    "ia3": (LLAMA, peft.IA3Config(feedforward_modules=[], **NOT_A_LORA), {}),
    "vera": (LLAMA, peft.VeraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"]), {}),
    "oft": (LLAMA, peft.OFTConfig(r=0, oft_block_size=4, **NOT_A_LORA), {}),
    "boft": (LLAMA, peft.BOFTConfig(boft_block_size=4, **NOT_A_LORA), {}),
    "hra": (LLAMA, peft.HRAConfig(r=2, **NOT_A_LORA), {}),
    "prompt-tuning": (LLAMA, peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), {}),
    "p-tuning": (LLAMA, peft.PromptEncoderConfig(num_virtual_tokens=3, encoder_hidden_size=6, task_type="CAUSAL_LM"), {}),
    "trainable-tokens": (LLAMA, peft.TrainableTokensConfig(token_indices=[1, 2], target_modules=["embed_tokens"], task_type="CAUSAL_LM"), {}),
    "layer-replication": (LLAMA, lora(layer_replication=[[0, 2], [1, 2]]), {}),
    "qalora": (LLAMA, lora(), {"changes": {"use_qalora": True, "qalora_group_size": 4}}),
    "activated": (LLAMA, lora(alora_invocation_tokens=[5, 44]), {}),
    "parameters": (LLAMA, lora(target_modules=[], target_parameters=["mlp.down_proj.weight"]), {}),
    "weight-tying": (QWEN, lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True), {}),
    "classification": (LLAMA, lora(), {"changes": {"task_type": "SEQ_CLS"}}),
    "several": (LLAMA, lora(), {"name": "second"}),
    "lora-bias-none-there": (LLAMA, lora(lora_bias=True), {"weights": True}),
    "on-embedding-dora": (LLAMA, lora(target_modules=["embed_tokens", "q_proj"], use_dora=True), {"weights": True}),
    "extended": (LLAMA, lora(), {"extended": 64, "weights": True}),
}


def base_of(name, options):
    model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, attn_implementation="eager").eval()
    if "extended" in options:
        model.resize_token_embeddings(options["extended"], mean_resizing=False)
    return model


def logits(model):
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in SEQUENCES])


def seven_digits(tensor):
    return torch.tensor([float(f"{x:.7g}") for x in tensor.reshape(-1).tolist()]).reshape(tensor.shape)


def rewrite(file, changes):
    """PEFT writes lists in the order of a set; ids of tokens keep theirs."""
    with open(file) as f:
        config = json.load(f) | changes
    config = {key: sorted(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value for key, value in config.items()}
    with open(file, "w") as f:
        f.write(json.dumps(config, indent=2) + "\n")


def convert_weights(folder, options):
    """This PEFT no longer writes adapter_model.bin: earlier versions wrote it by torch.save of the same dictionary."""
    from safetensors.torch import load_file

    file = os.path.join(folder, "adapter_model.safetensors")
    tensors = {key: value.to(options.get("dtype", value.dtype)) for key, value in load_file(file).items()}
    if options.get("pickle"):
        os.remove(file)
        torch.save(tensors, os.path.join(folder, "adapter_model.bin"))
    elif "dtype" in options:
        save_file(tensors, file, metadata={"format": "pt"})


def make(name, number, base, config, options, is_read):
    torch.manual_seed(100 + number)
    folder = os.path.join(OUT, name)
    adapter = options.get("name", "default")
    adapted = peft.get_peft_model(base_of(base, options), config, adapter_name=adapter).eval()
    if options.get("converted"):
        adapted.peft_config["default"].init_lora_weights = True
        adapted.save_pretrained(os.path.join(folder, "start"))
        adapted.peft_config["default"].init_lora_weights = config.init_lora_weights
    with torch.no_grad():
        for key, p in adapted.named_parameters():
            if p.requires_grad:
                p.add_((0.1 if options.get("converted") else 0.3) * torch.randn_like(p))
        if options.get("embeddings"):
            tables = {id(t): t for t in (adapted.get_input_embeddings().weight, adapted.get_output_embeddings().weight)}
            for table in tables.values():
                table.add_(0.3 * torch.randn_like(table))
    more = {}
    if options.get("converted"):
        more["path_initial_model_for_weight_conversion"] = os.path.join(folder, "start")
    adapted.save_pretrained(folder, save_embedding_layers=options.get("embeddings", "auto"), **more)
    shutil.rmtree(os.path.join(folder, "start"), ignore_errors=True)
    own = os.path.join(folder, adapter) if "name" in options else folder
    if os.path.exists(os.path.join(folder, "README.md")):
        os.remove(os.path.join(folder, "README.md"))
    rewrite(os.path.join(own, "adapter_config.json"), options.get("changes", {}))
    convert_weights(own, options)
    if is_read:
        return seven_digits(logits(peft.PeftModel.from_pretrained(base_of(base, options), folder).eval()))
    if not options.get("weights"):
        os.remove(os.path.join(own, "adapter_model.safetensors"))
    return None


warnings.filterwarnings("ignore")
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
os.chdir(GOLDEN)  # the adapters note the path of their base
shutil.rmtree(OUT, ignore_errors=True)
numbers, cases = {}, {}
for number, (name, (base, config, options)) in enumerate({**READ, **REFUSED}.items()):
    rows = make(name, number, base, config, options, name in READ)
    cases[name] = {"base": base, "read": name in READ}
    if rows is not None:
        numbers[name] = rows
save_file(numbers, os.path.join(OUT, "logits.safetensors"))
origin = (f"test/golden/make/peft_elsewhere.py: transformers {transformers.__version__}, peft {peft.__version__}, "
          f"torch {torch.__version__.split('+')[0]}, float32")
lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
with open(os.path.join(OUT, "golden.json"), "w") as f:
    f.write(f'{{\n  "origin": {json.dumps(origin)},\n  "sequences": {json.dumps(SEQUENCES)},\n  "cases": {{\n{lines}\n  }}\n}}\n')
for folder, _, files in os.walk(OUT):
    for file in files:
        os.chmod(os.path.join(folder, file), 0o644)
