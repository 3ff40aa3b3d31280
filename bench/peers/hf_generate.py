"""Greedy answers of Hugging Face's `generate` to the prompts of bench/compare.mjs, a turn for every line "step" of standard input.

The adapter is merged into the base model, prompts are sorted by length and padded on the left: what a careful user does. Prints a JSON line
when ready, and one a turn with seconds, processor seconds and, in the first turn, the ids of every answer.
"""

import argparse
import json
import sys

from protocol import Watch, peak_resident, requests, tell, whole_number

DTYPES = ["float32", "bfloat16"]


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", required=True, help="file of bench/compare.mjs with base, adapter and prompts")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights and activations")
    parser.add_argument("--batch", type=whole_number, default=8, help="prompts of one call of generate")
    parser.add_argument("--threads", type=whole_number, default=2)
    return parser.parse_args()


def open_model(work, dtype):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(model, work["adapter"]).merge_and_unload()
    return model.to(getattr(torch, dtype)).eval()


def answers_of(model, prompts, work, batch):
    """The ids of each answer, without the end token."""
    import torch

    answers = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    end = work["eosId"]
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        longest = max(len(prompts[i]) for i in chosen)
        ids = torch.full((len(chosen), longest), end)
        mask = torch.zeros((len(chosen), longest), dtype=torch.long)
        for row, i in enumerate(chosen):
            ids[row, longest - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[row, longest - len(prompts[i]) :] = 1
        with torch.inference_mode():
            given = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": work["maxNewTokens"]}
            out = model.generate(**given, do_sample=False, num_beams=1, eos_token_id=end, pad_token_id=end)
        for row, i in enumerate(chosen):
            answer = out[row, longest:].tolist()
            answers[i] = answer[: answer.index(end)] if end in answer else answer
    return answers


def main():
    options = read_options()
    try:
        import peft
        import torch
        import transformers
    except ImportError as error:
        sys.exit(f"{sys.executable} cannot import {error.name}: run this with a Python that has torch, transformers and peft.")
    torch.set_num_threads(options.threads)
    with open(options.work, encoding="utf8") as file:
        work = json.load(file)
    prompts = [row["promptIds"] for row in work["rows"]]
    model = open_model(work, options.dtype)
    answers_of(model, prompts[: options.batch], work, options.batch)  # untimed: first calls take memory and start threads
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    tell({"ready": True, "versions": versions, "precision": options.dtype, "threads": torch.get_num_threads()})
    for number in requests():
        watch = Watch()
        answers = answers_of(model, prompts, work, options.batch)
        turn = {"step": number, "rows": len(prompts), **watch.read(), **peak_resident()}
        tell({**turn, "answerIds": answers} if number == 1 else turn)


if __name__ == "__main__":
    main()
