"""Opens folders with transformers, without remote code: python hf_models.py < jobs.json > answers.json

jobs:    [{"folder": FOLDER, "adapter": FOLDER or null, "lines": [TEXT, ...], "plain": texts in which special tokens stay text, or nothing,
           "sequences": [[id, ...], ...], "chat": TEXT or null}, ...]
answers: [{"model": CLASS, "tokenizer": CLASS, "ids": [[id, ...] of each line, without begin and end marks], "plain": [ids of each],
           "logits": [of every row of all sequences], "chat": [ids of a chat with one message, by the chat template] or null}, ...]

SentencePiece and protobuf are hidden from it, where they are installed: a user may have neither.
"""
import json
import os
import sys

for name in ["sentencepiece", "google.protobuf"]:
    sys.modules[name] = None
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

logging.disable_progress_bar()
torch.set_num_threads(1)


def answer(job):
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32, attn_implementation="eager").eval()
    kind = type(model).__name__
    if job["adapter"]:
        from peft import PeftModel
        model = PeftModel.from_pretrained(model, job["adapter"]).eval()
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([ids])).logits[0] for ids in job["sequences"]]
    chat = None
    if job["chat"] is not None:
        messages = [{"role": "user", "content": job["chat"]}]
        made = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
        chat = list(made["input_ids"])
    return {
        "model": kind, "tokenizer": type(tokenizer).__name__, "chat": chat,
        "ids": [tokenizer.encode(line, add_special_tokens=False) for line in job["lines"]],
        "plain": [
            tokenizer.encode(line, add_special_tokens=False, split_special_tokens=True) for line in job.get("plain", [])
        ],
        "logits": torch.cat(rows).reshape(-1).tolist(),
    }


answers = sys.stdout
sys.stdout = sys.stderr
json.dump([answer(job) for job in json.load(sys.stdin)], answers)
