"""Fine-tunes a model with PyTorch, from a folder that `cre train RECIPE --engine torch` wrote.

    python train.py FOLDER --output OUT
    torchrun --nnodes 2 --nproc-per-node 8 … train.py FOLDER --output OUT [--parallel fsdp]

FOLDER has token ids and labels (rows.jsonl), the weight of each row in the loss (examples.jsonl), the rows and the learning rate of every
step (steps.jsonl), the base model (base/), the adapter that training starts with (adapter/) and the settings (hand-over.json). OUT gets
log.jsonl, state.safetensors, an adapter for each step that is to be validated (kept/) and at the end result.json; `cre train --collect OUT`
takes it. The same command continues a training that was stopped or killed, also with another number of processes.

A step's rows are dealt out to the processes, and its loss is the mean over the target tokens of the whole step, whatever their number:
the numbers are those of `cre train` up to rounding, and up to dropout and noise, which draw other random numbers.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import re
import signal
import time
import warnings

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

IGNORED = -100


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def read_lines(path):
    return list(lines_of(path))


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()


def seed_of(*parts):
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "little")


def replace_file(path, write):
    """Writes a file under another name, flushes it and renames it: a crash leaves the old file or the new one."""
    beside = path + ".part"
    write(beside)
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def write_text(path, text):
    def write(beside):
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)

    replace_file(path, write)


class Processes:
    """This process among those of the training."""

    def __init__(self):
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.local = int(os.environ.get("LOCAL_RANK", "0"))
        self.local_count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        has_gpu = torch.cuda.is_available()
        if has_gpu and self.local_count > torch.cuda.device_count():
            raise SystemExit(f"{self.local_count} processes for {torch.cuda.device_count()} GPUs: expected one process a GPU.")
        self.device = torch.device("cuda", self.local) if has_gpu else torch.device("cpu")
        if has_gpu:
            torch.cuda.set_device(self.device)
        self.together = "TORCHELASTIC_RUN_ID" in os.environ or self.count > 1
        if self.together:
            dist.init_process_group("nccl" if has_gpu else "gloo")

    @property
    def first(self):
        return self.rank == 0

    def sum(self, *values):
        return self._reduce(values, dist.ReduceOp.SUM if self.together else None)

    def most(self, *values):
        return self._reduce(values, dist.ReduceOp.MAX if self.together else None)

    def _reduce(self, values, operation):
        if not self.together:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=operation)
        return tensor.tolist()

    def in_turn(self, work):
        """Runs work in one process of a machine after the other, so that its memory holds one whole base at a time."""
        result = None
        for turn in range(self.local_count):
            if turn == self.local:
                result = work()
            if self.together:
                dist.barrier()
        return result

    def close(self):
        if self.together:
            dist.destroy_process_group()


class Rows:
    """The rows of a hand-over; each has the ids of a prompt and its answer."""

    def __init__(self, folder, plan):
        self.ids = [np.asarray(row["input_ids"], dtype=np.int32) for row in lines_of(os.path.join(folder, "rows.jsonl"))]
        self.about = read_lines(os.path.join(folder, "examples.jsonl"))
        if len(self.ids) != plan["rows"] or len(self.about) != plan["rows"]:
            raise SystemExit(f"{folder}: has {len(self.ids)} rows, expected {plan['rows']}: copy the folder again.")
        train = plan["train"]
        self.seed, self.prompt_loss, self.noise = train["seed"], train["promptLoss"], train["tokenNoise"]
        if self.noise > 0:
            self._prepare_noise(plan["examples"])

    def _prepare_noise(self, examples):
        """Token noise draws the ids of prompts by their frequency; ids that every prompt has are neither replaced nor drawn."""
        prompts = {}
        for ids, about in zip(self.ids, self.about):
            if not about.get("copiesPrompt"):
                prompts[about["example"]] = ids[: about["promptTokens"]]
        size = 1 + max((int(prompt.max()) for prompt in prompts.values()), default=0)
        found = np.zeros(size, dtype=np.int64)
        for prompt in prompts.values():
            found[np.unique(prompt)] += 1
        self.fixed = found == len(prompts)
        drawn = [prompt[~self.fixed[prompt]] for prompt in prompts.values()]
        self.drawn = np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.int64)

    def ids_of(self, row, step):
        ids, about = self.ids[row], self.about[row]
        if self.noise == 0 or about.get("copiesPrompt") or len(self.drawn) == 0:
            return ids
        random = np.random.default_rng(seed_of(self.seed, step, about["example"], "tokens"))
        length = about["promptTokens"]
        prompt = ids[:length]
        replaced = (random.random(length) < self.noise) & ~self.fixed[prompt]
        new = self.drawn[random.integers(0, len(self.drawn), length)]
        return np.concatenate((np.where(replaced, new, prompt), ids[length:]))

    def weight_of(self, row):
        """Σ of the loss weights of a row's target tokens."""
        length, prompt = len(self.ids[row]), self.about[row]["promptTokens"]
        return self.about[row]["weight"] * (length - prompt + self.prompt_loss * (prompt - 1))

    def batch(self, rows, step, both_directions, device):
        """Inputs [B,T], targets [N] with their loss weights and places in B·T, and the additive mask [B,1,T,T] or None."""
        all_ids = [self.ids_of(row, step) for row in rows]
        length = max(len(ids) for ids in all_ids) - 1
        inputs = np.zeros((len(rows), length), dtype=np.int64)
        places, targets, weights = [], [], []
        for i, (row, ids) in enumerate(zip(rows, all_ids)):
            inputs[i, : len(ids) - 1] = ids[:-1]
            prompt = self.about[row]["promptTokens"]
            begin = prompt - 1 if self.prompt_loss == 0 else 0
            at = np.arange(begin, len(ids) - 1)
            places.append(i * length + at)
            targets.append(ids[1:][at])
            weights.append(self.about[row]["weight"] * np.where(at + 1 >= prompt, 1.0, self.prompt_loss))
        to = lambda parts, dtype: torch.from_numpy(np.concatenate(parts)).to(device, dtype)
        mask = None
        if both_directions:
            prompts = torch.tensor([self.about[row]["promptTokens"] for row in rows])[:, None]
            at = torch.arange(length)
            inside = at[None] < prompts
            visible = (at[:, None] >= at[None]) | (inside[:, :, None] & inside[:, None, :])
            mask = torch.where(visible, 0.0, torch.finfo(torch.float32).min)[:, None].to(device)
        return {
            "inputs": torch.from_numpy(inputs).to(device),
            "places": to(places, torch.int64),
            "targets": to(targets, torch.int64),
            "weights": to(weights, torch.float32),
            "mask": mask,
        }


class StepLoss(torch.nn.Module):
    """The model with its loss: the weighted sum over the targets of a batch."""

    def __init__(self, model, smoothing):
        super().__init__()
        self.model, self.smoothing = model, smoothing

    def forward(self, inputs, places, targets, weights, mask):
        causal_lm = self.model.base_model.model
        dtype = torch.get_autocast_dtype(inputs.device.type) if torch.is_autocast_enabled(inputs.device.type) else torch.float32
        mask = None if mask is None else mask.to(dtype)
        hidden = causal_lm.get_decoder()(input_ids=inputs, attention_mask=mask, use_cache=False).last_hidden_state
        chosen = hidden.flatten(0, 1).index_select(0, places)
        logits = causal_lm.get_output_embeddings()(chosen).float()
        losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
        return (losses * weights).sum()


def is_reduced(precision, device):
    """Whether products are in bfloat16."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported())


def open_model(folder, base, plan, processes, parallel, reduced):
    """The base with the adapter that training starts with, on this process's device."""
    import transformers
    from peft import LoraConfig, get_peft_model

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model, train = plan["model"], plan["train"]
    storage = model["storage"]
    if storage == "nf4" and parallel == "fsdp":
        raise SystemExit("A base in 4 bit cannot be sharded: give --parallel ddp, or model.storage bfloat16 with --parallel fsdp.")
    options = {"dtype": torch.bfloat16 if storage != "float32" and (reduced or storage == "nf4") else torch.float32}
    if storage == "nf4":
        options["device_map"] = {"": processes.device}
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16 if reduced else torch.float32,
        )
    settings = transformers.AutoConfig.from_pretrained(base)
    if settings.model_type != model["nativeType"]:
        raise SystemExit(f"{base}: is a {settings.model_type} model, expected {model['nativeType']}.")
    # As here: dropout is what the recipe says.
    for name in ("attention_dropout", "hidden_dropout"):
        if getattr(settings, name, None):
            setattr(settings, name, 0.0)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(base, config=settings, attn_implementation="sdpa", **options)
    for parameter in loaded.parameters():
        parameter.requires_grad_(False)
        if storage == "bfloat16" and not reduced and parameter.dim() > 1:
            # As here: the numbers of matrices are rounded, products are in float32.
            parameter.copy_(parameter.to(torch.bfloat16))
    adapter = os.path.join(folder, "adapter")
    config = LoraConfig.from_pretrained(adapter)
    config.inference_mode = False
    peft = get_peft_model(loaded, config)
    named = {file_name(name): parameter for name, parameter in peft.named_parameters() if parameter.requires_grad}
    with safe_open(os.path.join(adapter, "adapter_model.safetensors"), "pt") as file, torch.no_grad():
        missing = set(file.keys()) ^ {name for name in named if not name.endswith("lora_magnitude_vector")}
        if missing:
            raise SystemExit(f"{adapter}: does not fit the base: {sorted(missing)[0]}.")
        for name in file.keys():
            named[name].copy_(file.get_tensor(name))
    if train["recompute"]:
        loaded.gradient_checkpointing_enable({"use_reentrant": False})
    add_noise(loaded, train, model["residualModules"])
    peft.train()
    if storage != "nf4" and not (parallel == "fsdp" and processes.together):
        peft.to(processes.device)
    return peft


def add_noise(causal_lm, train, residual_modules):
    """Noise on the embeddings, and dropout after them and on what each half layer adds to the residual stream."""
    noise, dropout = train["embeddingNoise"], train["dropout"]
    dropped = lambda _module, _inputs, output: F.dropout(output, dropout)

    def noisy(_module, _inputs, output):
        bound = noise / math.sqrt(output.shape[-2] * output.shape[-1])
        return output + torch.empty_like(output).uniform_(-bound, bound)

    if noise > 0:
        causal_lm.get_input_embeddings().register_forward_hook(noisy)
    if dropout > 0:
        causal_lm.get_input_embeddings().register_forward_hook(dropped)
        for name, module in causal_lm.named_modules():
            if name.rsplit(".", 1)[-1] in residual_modules:
                module.register_forward_hook(dropped)


def file_name(name):
    """The name of a trained parameter in a PEFT folder."""
    name = name[name.index("base_model.model.") :]
    return name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector").replace(".default.weight", ".weight")


def spread(make, processes, parallel):
    """The module that `make` gives, as all processes train it together."""
    if not processes.together:
        return make()
    if parallel == "ddp":
        from torch.nn.parallel import DistributedDataParallel

        ids = [processes.local] if processes.device.type == "cuda" else None
        return DistributedDataParallel(make(), device_ids=ids, broadcast_buffers=False)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(processes.device.type, (processes.count,))

    def sharded():
        loss_module = make()
        for layer in loss_module.model.base_model.model.get_decoder().layers:
            fully_shard(layer, mesh=mesh)
        return fully_shard(loss_module, mesh=mesh)

    return processes.in_turn(sharded)


def whole(tensor):
    """All of a tensor that may be sharded, on the CPU."""
    tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return tensor.detach().to("cpu", torch.float32).contiguous()


def put(tensor, value):
    """Writes a whole value into a tensor that may be sharded."""
    if hasattr(tensor, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value.to(tensor.device, tensor.dtype), tensor.device_mesh, tensor.placements)
    tensor.copy_(value)


class Training:
    """The trained weights with optimizer, mean and step count; all of it is in the state file."""

    def __init__(self, module, plan, output, processes):
        self.named = {file_name(name): parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.plan, self.output, self.processes = plan, output, processes
        self.step, self.averaged, self.means = 0, 0, {}
        train = plan["train"]
        groups = {}
        for name, parameter in self.named.items():
            key = (self._factor(name), train["weightDecay"] if parameter.dim() > 1 and parameter.shape[0] > 1 else 0.0)
            groups.setdefault(key, []).append(parameter)
        self.factors = [factor for factor, _ in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": parameters, "weight_decay": decay} for (_, decay), parameters in groups.items()],
            lr=0.0,
            betas=(train["beta1"], train["beta2"]),
            eps=train["epsilon"],
        )

    def _factor(self, name):
        train = self.plan["train"]
        layer = int(re.search(r"\.layers\.(\d+)\.", name).group(1))
        ratio = 1.0 if ".lora_A." in name else train["learningRateRatio"]
        return ratio * train["layerDecay"] ** (self.plan["model"]["layers"] - 1 - layer)

    def update(self, learning_rate):
        """One clipped update from the gradients; returns the norm of the whole gradient before clipping."""
        gradients = [parameter.grad for parameter in self.named.values()]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        if not math.isfinite(norm):
            raise SystemExit(f"The norm of the gradient became {norm} at step {self.step + 1}: try a lower train.learningRate.")
        most = self.plan["train"]["clipNorm"]
        if 0 < most < norm:
            torch._foreach_mul_(gradients, most / norm)
        for group, factor in zip(self.optimizer.param_groups, self.factors):
            group["lr"] = learning_rate * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return norm

    @torch.no_grad()
    def add_to_mean(self):
        self.averaged += 1
        for name, parameter in self.named.items():
            if self.averaged == 1:
                self.means[name] = parameter.detach().clone()
            else:
                self.means[name].lerp_(parameter.detach(), 1 / self.averaged)

    def keep(self):
        """Writes the adapter as it is to be validated: the mean of the weights, where one is kept."""
        tensors = {name: whole(self.means.get(name, parameter)) for name, parameter in self.named.items()}
        if not self.processes.first:
            return
        folder = os.path.join(self.output, "kept", f"step-{self.step:08d}")
        os.makedirs(folder, exist_ok=True)
        replace_file(os.path.join(folder, "adapter_model.safetensors"), lambda path: save_file(tensors, path, {"format": "pt"}))
        write_text(os.path.join(folder, "adapter_config.json"), json.dumps(self.plan["adapterConfig"], indent=2) + "\n")

    def _parts(self):
        for name, parameter in self.named.items():
            state = self.optimizer.state[parameter]
            yield name, parameter
            yield name + "#moment1", state["exp_avg"]
            yield name + "#moment2", state["exp_avg_sq"]
            if self.averaged > 0:
                yield name + "#average", self.means[name]

    def save(self):
        tensors = {name: whole(tensor) for name, tensor in self._parts()}
        if not self.processes.first:
            return
        about = {"step": str(self.step), "averaged": str(self.averaged), "origin": json.dumps(self.plan["origin"])}
        path = os.path.join(self.output, "state.safetensors")
        save_file(tensors, path + ".new", about)
        if os.path.exists(path):
            os.replace(path, path + ".previous")
        replace_file(path, lambda beside: os.replace(path + ".new", beside))

    @torch.no_grad()
    def load(self):
        """Continues from the last state that is whole, if there is any."""
        path = os.path.join(self.output, "state.safetensors")
        for one in (path, path + ".previous"):
            if not os.path.exists(one):
                continue
            try:
                file = safe_open(one, "pt")
            except Exception as error:
                print(f"{one}: is damaged ({error}); an older state is used.", flush=True)
                continue
            with file:
                about = file.metadata()
                if json.loads(about["origin"]) != self.plan["origin"]:
                    raise SystemExit(f"{self.output}: holds another training. Give another folder with --output.")
                self.step, self.averaged = int(about["step"]), int(about["averaged"])
                for parameter in self.named.values():
                    zeros = lambda: torch.zeros_like(parameter)
                    moments = {"exp_avg": zeros(), "exp_avg_sq": zeros()}
                    self.optimizer.state[parameter] = {"step": torch.tensor(float(self.step)), **moments}
                self.means = {name: torch.zeros_like(one) for name, one in self.named.items()} if self.averaged > 0 else {}
                for name, tensor in self._parts():
                    put(tensor, file.get_tensor(name))
            return


def log_of(output, step, first):
    """The log without what came after a step; only the first process writes."""
    path = os.path.join(output, "log.jsonl")
    if first and os.path.exists(path):
        kept = []
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    if line.endswith("\n") and json.loads(line).get("step", 0) <= step:
                        kept.append(line)
        write_text(path, "".join(kept))
    return open(path, "a", encoding="utf-8") if first else None


def hold(output):
    """Keeps other trainings out of the output until this process ends, however it ends; returns the open lock."""
    lock = open(os.path.join(output, "train.lock"), "w", encoding="utf-8")
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"{output}: another process trains into it. Wait for its end, or end it.") from None
    return lock


def main():
    parser = argparse.ArgumentParser(description="Fine-tunes a model from a hand-over folder of cre train.")
    parser.add_argument("folder")
    parser.add_argument("--output", required=True)
    parser.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="copies of the base, or shards of it (FSDP2)")
    parser.add_argument("--base", help="the base model, where it is not in the folder")
    parser.add_argument("--pass-rows", type=int, help="rows of one forward pass in a process; default: train.batchExamples")
    parser.add_argument("--until-step", type=int, help="save and stop after this step")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    stop = []
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), lambda number, _frame: stop.append(number))
    processes = Processes()
    try:
        code = train(options, processes, stop)
    finally:
        processes.close()
    raise SystemExit(code)


def read_plan(folder):
    """The settings of a hand-over; ends the program when one of its files is not as it was written."""
    plan = read_json(os.path.join(folder, "hand-over.json"))
    for name, expected in plan["files"].items():
        if digest(os.path.join(folder, name)) != expected:
            raise SystemExit(f"{os.path.join(folder, name)}: is damaged or was changed. Copy the folder again.")
    plan["adapterConfig"] = read_json(os.path.join(folder, "adapter", "adapter_config.json"))
    return plan


def train(options, processes, stop):
    """Trains to the end, or until `stop` is not empty; returns the exit code."""
    plan = read_plan(options.folder)
    output, settings = options.output, plan["train"]
    os.makedirs(output, exist_ok=True)
    result_file = os.path.join(output, "result.json")
    if os.path.exists(result_file) and read_json(result_file)["origin"] == plan["origin"]:
        if processes.first:
            print(f"{output}: training is finished already.", flush=True)
        return 0
    lock = hold(output) if processes.first else None
    torch.manual_seed(settings["seed"])
    rows, steps = Rows(options.folder, plan), read_lines(os.path.join(options.folder, "steps.jsonl"))
    base = options.base or os.path.join(options.folder, "base")
    reduced = is_reduced(plan["model"]["precision"], processes.device)

    def make():
        peft = open_model(options.folder, base, plan, processes, options.parallel, reduced)
        return StepLoss(peft, settings["labelSmoothing"])

    module = spread(make, processes, options.parallel)
    training = Training(module, plan, output, processes)
    training.load()
    log = log_of(output, training.step, processes.first)

    def say(event, logged=True):
        if not processes.first:
            return
        line = json.dumps(event, ensure_ascii=False)
        if logged:
            log.write(line + "\n")
            log.flush()
        print(line, flush=True)

    device = torch.cuda.get_device_name() if processes.device.type == "cuda" else "cpu"
    parallel = options.parallel if processes.together else "one process"
    about = {"device": device, "processes": processes.count, "parallel": parallel, "torch": torch.__version__}
    trained = sum(parameter.numel() for parameter in training.named.values())
    say({"kind": "start", **about, "precision": "bfloat16" if reduced else "float32", "trained": trained, "resumedAt": training.step}, False)
    pass_rows = options.pass_rows or settings["batchExamples"]
    both = plan["model"]["attention"] == "both"
    synced = lambda is_last: contextlib.nullcontext() if is_last or parallel != "ddp" else module.no_sync()
    saved = time.time()
    while training.step < len(steps):
        began, step = time.time(), training.step
        plan_of_step = steps[step]
        all_rows = plan_of_step["rows"]
        total = sum(rows.weight_of(row) for row in all_rows)
        own = all_rows[processes.rank :: processes.count]
        passes = math.ceil(math.ceil(len(all_rows) / processes.count) / pass_rows)
        torch.manual_seed(seed_of(settings["seed"], step, processes.rank))
        loss = 0.0
        for number in range(passes):
            part = own[number * pass_rows : (number + 1) * pass_rows]
            batch = rows.batch(part or all_rows[:1], step, both, processes.device)
            # A process without rows computes one that does not count: all processes make the same passes.
            batch["weights"] *= 1 / total if part else 0.0
            with synced(number == passes - 1), torch.autocast(processes.device.type, torch.bfloat16, enabled=reduced):
                # Gradients are averaged over the processes: times their number gives the sum.
                share = module(**batch)
                (share * processes.count).backward()
            loss += share.item()
        tokens = sum(len(rows.ids[row]) - 1 for row in all_rows)
        answer_tokens = sum(len(rows.ids[row]) - rows.about[row]["promptTokens"] for row in all_rows)
        (loss,) = processes.sum(loss)
        if not math.isfinite(loss):
            raise SystemExit(f"The loss became {loss} at step {step + 1}: try a lower train.learningRate. The last state is unchanged.")
        norm = training.update(plan_of_step["learningRate"])
        done = training.step
        event = {"kind": "step", "step": done, "epoch": done / plan["stepsPerEpoch"], "loss": loss, "learningRate": plan_of_step["learningRate"]}
        say({**event, "gradientNorm": norm, "tokens": tokens, "answerTokens": answer_tokens, "seconds": time.time() - began})
        if plan_of_step.get("average"):
            training.add_to_mean()
        if plan_of_step.get("keep"):
            training.keep()
        is_over = bool(stop) or done == options.until_step
        is_over, is_due = processes.most(float(is_over), float(processes.first and time.time() - saved > settings["checkpointSeconds"]))
        if is_over or is_due or done == len(steps):
            if processes.first:
                os.fsync(log.fileno())
            training.save()
            saved = time.time()
        if is_over and done < len(steps):
            say({"kind": "stopped", "step": done}, False)
            return 130
    if processes.first:
        finish(output, plan, about)
        lock.close()
    say({"kind": "end", "steps": training.step}, False)
    return 0


def finish(output, plan, about):
    import peft
    import transformers

    kept = []
    for name in sorted(os.listdir(os.path.join(output, "kept"))):
        folder = os.path.join(output, "kept", name)
        sums = {file: digest(os.path.join(folder, file)) for file in sorted(os.listdir(folder)) if not file.endswith(".part")}
        kept.append({"step": int(name.split("-")[1]), "folder": f"kept/{name}", "files": sums})
    seconds = sum(line["seconds"] for line in read_lines(os.path.join(output, "log.jsonl")))
    versions = {"transformers": transformers.__version__, "peft": peft.__version__}
    result = {"origin": plan["origin"], "steps": plan["steps"], "seconds": seconds, **about, **versions, "kept": kept}
    write_text(os.path.join(output, "result.json"), json.dumps(result, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
