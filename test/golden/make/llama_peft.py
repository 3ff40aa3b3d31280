"""Makes test/golden/llama-peft/: a tiny Llama of transformers in shards, a LoRA adapter of PEFT, and what they compute in float32.

    pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0 && python -P test/golden/make/llama_peft.py

golden.json: logits of the last row, losses (mean over the labelled tokens of both sequences), losses of AdamW steps on the adapter.
gradients.safetensors: of that loss by the base weights (without adapter) and by the adapter's.
"""
import json
import os
import shutil

import peft
import torch
import transformers
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "llama-peft")
SEQUENCES = [[1, 17, 5, 44, 60, 23, 8, 31, 2], [1, 9, 9, 58, 12]]
PROMPT_TOKENS = [4, 2]  # no loss on the prediction of these
STEPS = 8
ADAMW = {"lr": 0.02, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1}


def logits(model):
    return [model(torch.tensor([ids])).logits[0] for ids in SEQUENCES]


def loss(model):
    total, count = 0.0, 0
    for rows, ids, skipped in zip(logits(model), SEQUENCES, PROMPT_TOKENS):
        targets = torch.tensor(ids[skipped:])
        total = total + torch.nn.functional.cross_entropy(rows[skipped - 1:-1], targets, reduction="sum")
        count += len(targets)
    return total / count


def numbers(tensor):
    return [float(f"{x:.9g}") for x in tensor.detach().reshape(-1).tolist()]


def gradients(model):
    model.zero_grad()
    loss(model).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


torch.manual_seed(7)
torch.set_num_threads(1)
config = transformers.LlamaConfig(
    vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=4,
    max_position_embeddings=64, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    tie_word_embeddings=False, initializer_range=0.3, attn_implementation="eager")
model = transformers.LlamaForCausalLM(config).float().eval()
with torch.no_grad():
    for name, p in model.named_parameters():
        if "norm" in name:
            p.add_(0.3 * torch.randn_like(p))
shutil.rmtree(OUT, ignore_errors=True)
model.save_pretrained(OUT, max_shard_size="10KB")
golden = {
    "origin": f"test/golden/make/llama_peft.py: transformers {transformers.__version__}, peft {peft.__version__}, "
              f"torch {torch.__version__.split('+')[0]}, float32, seed 7",
    "sequences": SEQUENCES, "promptTokens": PROMPT_TOKENS,
    "base": {"lastLogits": [numbers(rows[-1]) for rows in logits(model)], "loss": loss(model).item()},
}
saved = {f"base.{name}": g for name, g in gradients(model).items()}

adapted = peft.get_peft_model(model, peft.LoraConfig(r=3, lora_alpha=12, lora_dropout=0.0, target_modules=["q_proj", "v_proj"],
                                                     task_type="CAUSAL_LM")).eval()
with torch.no_grad():
    for name, p in adapted.named_parameters():
        if "lora_B" in name:
            p.normal_(0, 0.3)
adapted.save_pretrained(os.path.join(OUT, "adapter"))
os.remove(os.path.join(OUT, "adapter", "README.md"))
os.remove(os.path.join(OUT, "generation_config.json"))
golden["adapted"] = {"lastLogits": [numbers(rows[-1]) for rows in logits(adapted)], "loss": loss(adapted).item()}
saved.update({f"adapter.{name.replace('.default', '')}": g for name, g in gradients(adapted).items()})
save_file(saved, os.path.join(OUT, "gradients.safetensors"), metadata={"origin": golden["origin"]})

optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], **ADAMW)
losses = []
for _ in range(STEPS):
    optimizer.zero_grad()
    value = loss(adapted)
    value.backward()
    optimizer.step()
    losses.append(value.item())
golden["training"] = {"adamW": ADAMW, "losses": losses}
golden["trained"] = {"lastLogits": [numbers(rows[-1]) for rows in logits(adapted)]}
with open(os.path.join(OUT, "golden.json"), "w") as f:
    f.write("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()) + "\n}\n")
for folder, _, files in os.walk(OUT):
    for file in files:
        os.chmod(os.path.join(folder, file), 0o644)
