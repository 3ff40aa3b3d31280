"""Makes test/golden/peft-methods/: adapters of PEFT on the tiny models of llama-peft and qwen2, and what they compute in float32.

    pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0 && python -P test/golden/make/peft_methods.py

One folder for each case: NAME/adapter/ is the adapter before any step, as PEFT saves it. NAME/numbers.safetensors holds the logits of all
rows (`logits`), the gradients of the loss by the adapter's weights (`gradient.*`), and the logits after the steps (`trained`); for a prefix
with a projection also the weights of the projection (`start.*`), which PEFT does not save.
golden.json: for each case its base, the loss, the losses of the steps and the learning rates of their optimizer; for `label-smoothing` the
loss and its gradient by the logits, of torch.nn.functional.cross_entropy.
"""
import json
import os
import shutil

import peft
import torch
import transformers
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..")
OUT = os.path.abspath(os.path.join(GOLDEN, "peft-methods"))
SEQUENCES = [[1, 17, 5, 44, 60, 23, 8, 31, 2], [1, 9, 9, 58, 12]]
PROMPT_TOKENS = [4, 2]  # no loss on the prediction of these
STEPS = 6
LEARNING_RATE = 0.02
BETAS = (0.9, 0.98)
RATIO = 4


def lora(**changes):
    return peft.LoraConfig(**{"r": 3, "lora_alpha": 12, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"],
                              "task_type": "CAUSAL_LM", **changes})


def prefix(**changes):
    return peft.PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM", **changes)


CASES = {
    "rslora": ("llama-peft", lora(use_rslora=True), {}),
    "loraplus": ("llama-peft", lora(), {"ratio": RATIO}),
    "dora": ("llama-peft", lora(use_dora=True), {}),
    "dora-rslora-plus": ("llama-peft", lora(use_dora=True, use_rslora=True, target_modules="all-linear"), {"ratio": RATIO}),
    "dora-bias": ("qwen2", lora(use_dora=True, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj"]), {}),
    "prefix": ("llama-peft", prefix(), {}),
    "prefix-bias": ("qwen2", prefix(), {}),
    "prefix-projection": ("llama-peft", prefix(prefix_projection=True, encoder_hidden_size=6), {}),
}


def logits(model):
    return [model(input_ids=torch.tensor([ids])).logits[0] for ids in SEQUENCES]


def loss(model):
    total, count = 0.0, 0
    for rows, ids, skipped in zip(logits(model), SEQUENCES, PROMPT_TOKENS):
        targets = torch.tensor(ids[skipped:])
        total = total + torch.nn.functional.cross_entropy(rows[skipped - 1:-1], targets, reduction="sum")
        count += len(targets)
    return total / count


def optimizer_of(model, ratio=None):
    if ratio is None:
        trained = [p for p in model.parameters() if p.requires_grad]
        return torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=BETAS, eps=1e-8, weight_decay=0.0)
    return create_loraplus_optimizer(model, torch.optim.AdamW, lr=LEARNING_RATE, loraplus_lr_ratio=ratio, betas=BETAS, eps=1e-8)


def seven_digits(tensor):
    return torch.tensor([float(f"{x:.7g}") for x in tensor.detach().reshape(-1).tolist()]).reshape(tensor.shape)


def sort_lists(file):
    """PEFT writes the target modules in the order of a set."""
    with open(file) as f:
        config = json.load(f)
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
    with open(file, "w") as f:
        f.write(json.dumps(config, indent=2) + "\n")


def plain(name):
    return name.replace(".default", "")


def make(name, base, config, options):
    torch.manual_seed(11 + list(CASES).index(name))
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    adapted = peft.get_peft_model(model.eval(), config).eval()
    with torch.no_grad():
        for key, p in adapted.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.3)
            if "lora_magnitude_vector" in key:
                p.mul_(1 + 0.3 * torch.randn_like(p))
    folder = os.path.join(OUT, name)
    adapted.save_pretrained(os.path.join(folder, "adapter"))
    os.remove(os.path.join(folder, "adapter", "README.md"))
    sort_lists(os.path.join(folder, "adapter", "adapter_config.json"))
    numbers = {}
    trained = {plain(key): p for key, p in adapted.named_parameters() if p.requires_grad}
    if getattr(config, "prefix_projection", False):
        numbers.update({f"start.{key}": p.detach().clone() for key, p in trained.items()})
    numbers["logits"] = seven_digits(torch.cat(logits(adapted)))
    loss(adapted).backward()
    numbers.update({f"gradient.{key}": seven_digits(p.grad) for key, p in trained.items()})
    golden = {"base": base, "loss": loss(adapted).item(), "learningRate": LEARNING_RATE, "betas": BETAS, **options, "losses": []}
    optimizer = optimizer_of(adapted, **options)
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss(adapted)
        value.backward()
        optimizer.step()
        golden["losses"].append(value.item())
    numbers["trained"] = seven_digits(torch.cat(logits(adapted)))
    save_file(numbers, os.path.join(folder, "numbers.safetensors"))
    return golden


def label_smoothing():
    torch.manual_seed(3)
    rows = torch.randn(4, 7, requires_grad=True)
    targets = torch.tensor([0, 3, 6, 3])
    value = torch.nn.functional.cross_entropy(rows, targets, label_smoothing=0.15)
    value.backward()
    return {"logits": rows.tolist(), "targets": targets.tolist(), "smoothing": 0.15, "loss": value.item(), "gradient": rows.grad.tolist()}


torch.set_num_threads(1)
os.chdir(GOLDEN)  # the adapters note the path of their base
shutil.rmtree(OUT, ignore_errors=True)
result = {
    "origin": f"test/golden/make/peft_methods.py: transformers {transformers.__version__}, peft {peft.__version__}, "
              f"torch {torch.__version__.split('+')[0]}, float32",
    "sequences": SEQUENCES, "promptTokens": PROMPT_TOKENS,
    "cases": {name: make(name, *case) for name, case in CASES.items()},
    "labelSmoothing": label_smoothing(),
}
cases = ",\n".join(f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in result.pop("cases").items())
lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()] + [f'"cases": {{\n{cases}\n}}']
with open(os.path.join(OUT, "golden.json"), "w") as f:
    f.write("{\n" + ",\n".join(lines) + "\n}\n")
for folder, _, files in os.walk(OUT):
    for file in files:
        os.chmod(os.path.join(folder, file), 0o644)
