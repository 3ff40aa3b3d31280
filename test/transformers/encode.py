"""Opens folders with transformers' AutoTokenizer: python encode.py < jobs.json > answers.json

jobs:    [{"folder": FOLDER, "lines": [TEXT, ...]}, ...]
answers: [{"class": NAME, "ids": [[id, ...] of each line, without begin and end marks], "around": [ids of an empty text with them]}, ...]

SentencePiece and protobuf are hidden from it, where they are installed: a user may have neither.
"""
import json
import os
import sys

for name in ["sentencepiece", "google.protobuf"]:
    sys.modules[name] = None
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

from transformers import AutoTokenizer


def answer(job):
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    ids = [tokenizer.encode(line, add_special_tokens=False) for line in job["lines"]]
    return {"class": type(tokenizer).__name__, "ids": ids, "around": tokenizer.encode("")}


answers = sys.stdout
# transformers asks on the standard output whether it may run the Python code of a model.
sys.stdout = sys.stderr
json.dump([answer(job) for job in json.load(sys.stdin)], answers)
