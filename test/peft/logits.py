"""Logits of models in transformers and PEFT: reads {"models": [{"base", "adapter"}, ...], "sequences"} as JSON from standard input, prints
for each model the logits of every row of all sequences. An adapter of null is the base alone.
"""
import json
import sys
import warnings

import torch
import transformers
from peft import PeftModel

warnings.filterwarnings("ignore")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
job = json.load(sys.stdin)
answers = []
for one in job["models"]:
    model = transformers.AutoModelForCausalLM.from_pretrained(one["base"], dtype=torch.float32, attn_implementation="eager")
    if one["adapter"] is not None:
        model = PeftModel.from_pretrained(model, one["adapter"])
    model.eval()
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([ids])).logits[0] for ids in job["sequences"]]
    answers.append(torch.cat(rows).reshape(-1).tolist())
json.dump(answers, sys.stdout)
