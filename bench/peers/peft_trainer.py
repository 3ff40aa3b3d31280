"""Training with PEFT and the Trainer of transformers on the rows of bench/compare.mjs, some steps for every line "step" of standard input.

LoRA on q_proj and v_proj with the paper's settings; the loss is on the answers; batches are padded to their longest row. Prints a JSON line when
ready, and one a turn with rows, seconds, processor seconds and the last loss.
"""

import argparse
import json
import sys
import tempfile

from protocol import Watch, peak_resident, requests, tell, whole_number

DTYPES = ["float32", "bfloat16"]
IGNORED = -100  # of the loss, as PyTorch's cross_entropy has it


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", required=True, help="file of bench/compare.mjs with base, settings and rows")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="bfloat16: autocast of the Trainer (bf16=True)")
    parser.add_argument("--steps", type=whole_number, default=2, help="steps of the optimizer in a turn")
    parser.add_argument("--threads", type=whole_number, default=2)
    return parser.parse_args()


def padded(rows):
    import torch

    longest = max(len(row["promptIds"]) + len(row["answerIds"]) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        prompt, end = len(row["promptIds"]), len(row["promptIds"]) + len(row["answerIds"])
        ids[i, :end] = torch.tensor(row["promptIds"] + row["answerIds"])
        labels[i, prompt:end] = ids[i, prompt:end]
        mask[i, :end] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def turns_callback(options, rows_of_step, ready):
    """A callback that waits for a request before the first step of a turn, and answers behind its last one."""
    from transformers import TrainerCallback

    class Turns(TrainerCallback):
        def __init__(self):
            self.waiting, self.number, self.left, self.watch = requests(), 0, 0, None

        def wait(self, control):
            number = next(self.waiting, None)
            if number is None:
                control.should_training_stop = True
                return
            self.number, self.left, self.watch = number, options.steps, Watch()

        def on_step_end(self, args, state, control, **_):
            if self.number == 0:
                tell(ready)  # behind an untimed step
                self.wait(control)
                return
            self.left -= 1
            if self.left == 0:
                tell({"step": self.number, "rows": options.steps * rows_of_step, **self.watch.read(), **peak_resident()})
                self.wait(control)

    return Turns()


def main():
    options = read_options()
    try:
        import peft
        import torch
        import transformers
    except ImportError as error:
        sys.exit(f"{sys.executable} cannot import {error.name}: run this with a Python that has torch, transformers, peft and accelerate.")
    torch.set_num_threads(options.threads)
    with open(options.work, encoding="utf8") as file:
        work = json.load(file)
    settings = work["training"]
    model = transformers.AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    lora = {"r": settings["rank"], "lora_alpha": settings["alpha"], "lora_dropout": settings["dropout"]}
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=settings["targets"], **lora))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    ready = {"ready": True, "versions": versions, "precision": options.dtype, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=settings["batchExamples"],
            gradient_accumulation_steps=settings["accumulation"],
            learning_rate=settings["learningRate"],
            lr_scheduler_type="constant",
            max_grad_norm=settings["clipNorm"],
            max_steps=1_000_000,
            bf16=options.dtype == "bfloat16",
            use_cpu=True,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            seed=1,
        )
        rows_of_step = settings["batchExamples"] * settings["accumulation"]
        callback = turns_callback(options, rows_of_step, ready)
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=work["trainRows"], data_collator=padded, callbacks=[callback]
        )
        trainer.train()


if __name__ == "__main__":
    main()
