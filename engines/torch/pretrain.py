"""Pretrains a base model on one GPU, from a folder that `cre model pretrain RECIPE --hand-over FOLDER` wrote.

    python pretrain.py FOLDER --output OUTPUT [--seconds 500]

FOLDER has `hand-over.json` (sizes, marks, sources, settings), `config.json`, and one file of token ids for each source (`CRETOK1`, see
src/pretrain/token-file.ts). OUTPUT gets `model.safetensors` (bfloat16, Llama's names), `config.json`, `log.jsonl` and `result.json`;
`cre model pretrain RECIPE --collect OUTPUT` makes a run of it. With --seconds the recipe's steps are scaled to that time, measured from
the start of the program. Same folder and steps: the same sequences. Arithmetic: bfloat16 with float32 weights on a GPU.

Two kinds of sequences, as in src/pretrain/sequences.ts, so that the model serves prompts whose tokens see each other as well as causal
ones:
- causal: every token predicts the next one;
- with prefixes (train.prefixShare): the tokens of a document before a random point see each other; some of them are masked in spans
  (train.maskShare), and the position before a masked token predicts it (masked next-token prediction, BehnamGhader et al. 2024,
  arXiv:2404.05961); after the point every token predicts the next one (prefix language model, Raffel et al. 2020).
Documents of a sequence do not see each other.

The layers' matrices are updated by Muon (Jordan 2024; scale 0.2·sqrt(larger side) of Liu et al. 2025, arXiv:2502.16982, so that rates
are those of AdamW), embedding and norms by AdamW at half the rate. Schedule: warm-up, constant, linear down over the last decaySteps, in
which the sources' `finalWeight` counts.
"""

import argparse
import json
import math
import os
import shutil
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F

MAGIC = b"CRETOK1\n"
HEADER_BYTES = 72
MOMENTUM = 0.95
# With --seconds: the steps whose time gives the number of steps. The first ones compile.
TIMED_FROM, TIMED_STEPS = 60, 100
REPORT_EVERY_STEPS = 50


def read_tokens(path):
    """(train, held_out), each (ids: uint16 or int32 array, ends: uint32 array, characters), of a file of token ids."""
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
        if header[:8] != MAGIC:
            raise SystemExit(f"{path}: is no file of token ids.")
        width, *counts = np.frombuffer(header, "<f8", offset=HEADER_BYTES - 56)
        tokens_a, documents_a, characters_a, tokens_b, documents_b, characters_b = (int(count) for count in counts)
        take = lambda count, kind: np.frombuffer(file.read(count * np.dtype(kind).itemsize), kind)
        ends = [take(documents_a, "<u4"), take(documents_b, "<u4")]
        kind = "<u2" if width == 2 else "<i4"
        ids = [take(tokens_a, kind), take(tokens_b, kind)]
    return (ids[0], ends[0], characters_a), (ids[1], ends[1], characters_b)


class Source:
    """A source's sequences: every round shuffles the documents, lays them end to end behind start marks, cuts and shuffles the windows."""

    def __init__(self, name, ids, ends, start, window, device, seed):
        self.name = name
        self.ids = torch.from_numpy(ids.astype(np.int32)).to(device)
        self.ends = torch.from_numpy(ends.astype(np.int64)).to(device)
        self.start, self.window, self.device = start, window, device
        self.generator = torch.Generator(device="cpu").manual_seed(seed)
        self.rows, self.at, self.rounds = None, 0, 0
        self.drawn = 0

    def _new_round(self):
        lengths = torch.diff(self.ends, prepend=torch.zeros(1, dtype=torch.int64, device=self.device))
        order = torch.randperm(len(lengths), generator=self.generator).to(self.device)
        lengths, starts = lengths[order], (self.ends - lengths)[order]
        after = torch.cumsum(lengths + 1, 0)
        first = after - lengths - 1
        total = int(after[-1])
        flat = torch.full((total,), self.start, dtype=torch.int32, device=self.device)
        document = torch.repeat_interleave(torch.arange(len(lengths), device=self.device), lengths)
        offset = torch.arange(len(document), device=self.device) - (first - torch.arange(len(lengths), device=self.device))[document]
        flat[first[document] + 1 + offset] = self.ids[starts[document] + offset]
        # One id more than the window: the last target.
        window = self.window
        count = max(1, (total - 1) // window)
        if total < window + 1:
            flat = flat.repeat((window + 1 + total - 1) // total)
        rows = torch.arange(count)[torch.randperm(count, generator=self.generator)].to(self.device)
        self.flat, self.rows, self.at = flat, rows, 0
        self.rounds += 1

    def take(self, count):
        """[count, window + 1] ids."""
        parts = []
        while count > 0:
            if self.rows is None or self.at == len(self.rows):
                self._new_round()
            rows = self.rows[self.at : self.at + count]
            self.at += len(rows)
            count -= len(rows)
            self.drawn += len(rows)
            columns = torch.arange(self.window + 1, device=self.device)
            parts.append(self.flat[rows[:, None] * self.window + columns])
        return torch.cat(parts)


class Mixture:
    """Batches of sequences; the number from each source follows the weights exactly over time."""

    def __init__(self, sources):
        self.sources, self.owed = sources, np.zeros(len(sources))

    def batch(self, weights, count):
        self.owed += count * np.asarray(weights) / np.sum(weights)
        counts = np.floor(self.owed).astype(int)
        for i in np.argsort(counts - self.owed)[: count - counts.sum()]:
            counts[i] += 1
        self.owed -= counts
        return torch.cat([source.take(int(n)) for source, n in zip(self.sources, counts) if n > 0])


def make_batch(ids, has_prefix, settings, marks, generator):
    """Inputs and targets [B, T] (target −1: no loss) and the additive mask [B, 1, T, T] of sequences of T + 1 ids.

    In sequences with prefixes a prefix of random length of each document is read in both directions.
    """
    start, end, mask_id = marks["start"], marks["end"], marks["mask"]
    device, (batch, length) = ids.device, ids[:, :-1].shape
    inputs, following = ids[:, :-1].long(), ids[:, 1:].long()
    targets = torch.where(following == start, end, following)
    positions = torch.arange(length, device=device)[None]
    uniform = lambda: torch.rand(batch, length, device=device, generator=generator)
    # A window may begin inside a document: that part counts as one, too.
    begins = (inputs == start) | (positions == 0)
    document = torch.cumsum(begins, 1) - 1
    first = torch.cummax(torch.where(begins, positions, 0), 1).values
    size = torch.zeros(batch, length, dtype=torch.long, device=device).scatter_add_(1, document, torch.ones_like(document)).gather(1, document)
    # 1 to size ids; one value for each document.
    prefix = 1 + (uniform().gather(1, document) * size).long().clamp(max=size - 1)
    prefix = torch.where(has_prefix[:, None], prefix, 1)
    offset = positions - first
    in_prefix = offset < prefix
    reach = 2 * settings["maskSpan"] - 1
    opens = uniform() < settings["maskShare"] / settings["maskSpan"]
    spans = torch.where(opens, torch.randint(1, reach + 1, (batch, length), device=device, generator=generator), 0)
    masked = torch.zeros_like(opens)
    for back in range(reach):
        masked |= F.pad(spans, (back, 0))[:, :length] > back
    masked &= in_prefix & (offset > 0)
    predicts = F.pad(masked[:, 1:], (0, 1)) | (offset >= prefix - 1)
    targets = torch.where(predicts, targets, -1)
    inputs = torch.where(masked, mask_id, inputs)
    same = document[:, :, None] == document[:, None, :]
    visible = (positions[:, :, None] >= positions[:, None, :]) | (in_prefix[:, :, None] & in_prefix[:, None, :])
    bias = torch.where(same & visible, 0.0, -1e4).to(torch.bfloat16 if device.type == "cuda" else torch.float32)
    return inputs, targets, bias[:, None]


class Model(torch.nn.Module):
    """A Llama decoder with one tensor for all layers' matrices of a kind."""

    def __init__(self, size, seed):
        super().__init__()
        self.size = size
        width, layers, wide = size["width"], size["layers"], size["feedForward"]
        generator = torch.Generator().manual_seed(seed)
        normal = lambda *shape, std=0.02: torch.nn.Parameter(torch.randn(*shape, generator=generator) * std)
        self.embedding = normal(size["vocabularySize"], width)
        self.attention = normal(layers, 4, width, width)
        self.upward = normal(layers, 2, wide, width)
        self.downward = normal(layers, width, wide)
        with torch.no_grad():
            # Sums of 2 · layers branches: their outputs start smaller.
            self.attention[:, 3].mul_(1 / math.sqrt(2 * layers))
            self.downward.mul_(1 / math.sqrt(2 * layers))
        self.norms = torch.nn.Parameter(torch.ones(layers, 2, width))
        self.last_norm = torch.nn.Parameter(torch.ones(width))

    def forward(self, inputs, targets, bias, cos, sin):
        """Sum of the losses of the targets (nats) and their number."""
        size = self.size
        heads, epsilon = size["heads"], size["normEpsilon"]
        norm = lambda x, scale: F.rms_norm(x.float(), (x.shape[-1],), scale, epsilon).to(x.dtype)
        x = self.embedding[inputs]
        batch, length, width = x.shape
        split = lambda y: y.view(batch, length, heads, width // heads).transpose(1, 2)

        def turn(y):
            a, b = y.chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(y.dtype)

        for layer in range(size["layers"]):
            query, key, value, out = self.attention[layer].unbind(0)
            y = norm(x, self.norms[layer, 0])
            attended = F.scaled_dot_product_attention(
                turn(split(F.linear(y, query))), turn(split(F.linear(y, key))), split(F.linear(y, value)), attn_mask=bias
            )
            x = x + F.linear(attended.transpose(1, 2).reshape(batch, length, width), out)
            y = norm(x, self.norms[layer, 1])
            gate, up = self.upward[layer].unbind(0)
            x = x + F.linear(F.silu(F.linear(y, gate)) * F.linear(y, up), self.downward[layer])
        logits = F.linear(norm(x, self.last_norm), self.embedding)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1, reduction="sum")
        return loss, (targets >= 0).sum()

    def tensors(self):
        """The weights by their names in a Llama folder."""
        named = {"model.embed_tokens.weight": self.embedding, "model.norm.weight": self.last_norm}
        for i in range(self.size["layers"]):
            at = f"model.layers.{i}"
            for j, name in enumerate("qkvo"):
                named[f"{at}.self_attn.{name}_proj.weight"] = self.attention[i, j]
            named[f"{at}.mlp.gate_proj.weight"], named[f"{at}.mlp.up_proj.weight"] = self.upward[i]
            named[f"{at}.mlp.down_proj.weight"] = self.downward[i]
            named[f"{at}.input_layernorm.weight"], named[f"{at}.post_attention_layernorm.weight"] = self.norms[i]
        return named


def rotary(size, length, device):
    half = size["width"] // size["heads"] // 2
    angles = torch.arange(length)[:, None] * size["rotaryBase"] ** (-torch.arange(half) / half)[None]
    return angles.cos().to(device), angles.sin().to(device)


def orthogonal(gradient):
    """The nearest matrices with orthonormal rows or columns, roughly: five Newton-Schulz steps. [..., m, n]."""
    x = gradient.bfloat16() if gradient.is_cuda else gradient
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Muon with Nesterov momentum and decoupled weight decay over tensors of matrices [..., m, n]."""

    def __init__(self, tensors, momentum, decay):
        self.tensors, self.momentum, self.decay = tensors, momentum, decay
        self.buffers = [torch.zeros_like(tensor) for tensor in tensors]

    @torch.no_grad()
    def step(self, rate):
        for tensor, buffer in zip(self.tensors, self.buffers):
            buffer.lerp_(tensor.grad, 1 - self.momentum)
            update = orthogonal(tensor.grad.lerp(buffer, self.momentum))
            tensor.mul_(1 - rate * self.decay)
            tensor.sub_(update, alpha=rate * 0.2 * math.sqrt(max(tensor.shape[-2:])))


def save_model(model, path):
    """Writes safetensors in bfloat16: a header of names, shapes and places, then the bytes."""
    header, chunks, at = {}, [], 0
    for name, tensor in model.tensors().items():
        data = tensor.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        chunks.append(data)
        at += len(data)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for chunk in chunks:
            file.write(chunk)
    os.replace(path + ".part", path)


class HeldOut:
    """Held-out documents as windows that do not see each other."""

    def __init__(self, ids, ends, characters, marks, window, most, device):
        self.characters, rows = characters, []
        self.tokens = 0
        begin = 0
        for end in ends:
            row = np.concatenate(([marks["start"]], ids[begin:end].astype(np.int64), [marks["end"]]))
            begin = end
            for at in range(0, len(row) - 1, window):
                piece = row[at : at + window + 1]
                rows.append(np.pad(piece, (0, window + 1 - len(piece)), constant_values=-1))
        # A sample of windows is enough during training.
        step = max(1, len(rows) // most)
        self.share = len(rows[::step]) / max(1, len(rows))
        self.rows = torch.from_numpy(np.stack(rows[::step])).to(device)

    @torch.no_grad()
    def nats(self, loss_of, length, device, batch):
        """Mean loss of a token (nats), causal."""
        total, count = 0.0, 0
        positions = torch.arange(length, device=device)
        causal = torch.where(positions[:, None] >= positions[None], 0.0, -1e4)
        for at in range(0, len(self.rows), batch):
            rows = self.rows[at : at + batch]
            rows = F.pad(rows, (0, 0, 0, batch - len(rows)), value=-1)
            bias = causal.to(torch.bfloat16 if device.type == "cuda" else torch.float32).expand(batch, 1, length, length)
            loss, n = loss_of(rows[:, :-1].clamp(min=0), rows[:, 1:], bias.contiguous())
            total, count = total + loss.item(), count + n.item()
        return total / max(1, count)


def main():
    parser = argparse.ArgumentParser(description="Pretrains a base model on one GPU from a hand-over folder.")
    parser.add_argument("folder")
    parser.add_argument("--output", required=True)
    parser.add_argument("--seconds", type=float, help="time for the steps; their number follows from the speed of the first ones")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    began = time.time()
    with open(os.path.join(options.folder, "hand-over.json"), encoding="utf-8") as file:
        plan = json.load(file)
    size, marks, settings = plan["model"], plan["marks"], plan["train"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    os.makedirs(options.output, exist_ok=True)
    log = open(os.path.join(options.output, "log.jsonl"), "w", encoding="utf-8")

    def say(event):
        event["elapsed"] = round(time.time() - began, 2)
        log.write(json.dumps(event, ensure_ascii=False) + "\n")
        log.flush()
        print(json.dumps(event, ensure_ascii=False), flush=True)

    length, batch = settings["sequenceTokens"], settings["batchSequences"]
    sources, held_out, weights, final_weights = [], {}, [], []
    for i, source in enumerate(plan["sources"]):
        (ids, ends, _), (held_ids, held_ends, held_characters) = read_tokens(os.path.join(options.folder, source["file"]))
        sources.append(Source(source["name"], ids, ends, marks["start"], length, device, settings["seed"] * 1000 + i))
        if len(held_ends) > 0:
            held_out[source["name"]] = HeldOut(held_ids, held_ends, held_characters, marks, length, batch, device)
        weights.append(source["weight"])
        final_weights.append(source["finalWeight"])
    mixture = Mixture(sources)
    model = Model(size, settings["seed"]).to(device)
    count = sum(parameter.numel() for parameter in model.parameters())
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    say({"kind": "model", "parameters": count, "device": name, "torch": torch.__version__, "sources": {source.name: len(source.ids) for source in sources}})
    cos, sin = rotary(size, length, device)
    compiled = model if options.no_compile else torch.compile(model)

    def loss_of(inputs, targets, bias):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return compiled(inputs, targets, bias, cos, sin)

    muon = Muon([model.attention, model.upward, model.downward], MOMENTUM, settings["weightDecay"])
    adam = torch.optim.AdamW(
        [
            {"params": [model.embedding], "weight_decay": settings["weightDecay"]},
            {"params": [model.norms, model.last_norm], "weight_decay": 0.0},
        ],
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
        fused=device.type == "cuda",
    )
    generator = torch.Generator(device=device).manual_seed(settings["seed"])
    prefix_generator = torch.Generator().manual_seed(settings["seed"])
    steps = None if options.seconds else settings["steps"]
    warmup, decay = settings["warmupSteps"], settings["decaySteps"]
    per_step = batch * length
    step, losses, reported, timed_from = 0, [], time.time(), None

    def validate():
        # Not compiled: without gradients it would be compiled a second time.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            plain = lambda inputs, targets, bias: model(inputs, targets, bias, cos, sin)
            nats = {name: part.nats(plain, length, device, batch) for name, part in held_out.items()}
        say({"kind": "held-out", "step": step, "tokens": step * per_step, "nats": {name: round(value, 4) for name, value in nats.items()}})

    while steps is None or step < steps:
        if steps is None and step in (TIMED_FROM, TIMED_FROM + TIMED_STEPS):
            if device.type == "cuda":
                torch.cuda.synchronize()
            if step == TIMED_FROM:
                timed_from = time.time()
            else:
                each = (time.time() - timed_from) / TIMED_STEPS
                left = options.seconds - (time.time() - began)
                # A little is left for validations and the files.
                steps = step + max(1, int(0.97 * left / each))
                decay = round(steps * settings["decaySteps"] / settings["steps"])
                say({"kind": "plan", "steps": steps, "secondsPerStep": each, "tokensPerSecond": per_step / each, "tokens": steps * per_step})
        decay_from = math.inf if steps is None else steps - decay
        factor = min(1.0, (step + 1) / max(1, warmup))
        if step >= decay_from:
            least = settings["finalLearningRate"]
            factor *= least + (1 - least) * (steps - step) / max(1, decay)
        ids = mixture.batch(final_weights if step >= decay_from else weights, batch)
        has_prefix = (torch.rand(batch, generator=prefix_generator) < settings["prefixShare"]).to(device)
        inputs, targets, bias = make_batch(ids, has_prefix, settings, marks, generator)
        loss, predicted = loss_of(inputs, targets, bias)
        mean = loss / predicted
        mean.backward()
        # Muon's update does not depend on the gradient's size.
        norm = torch.nn.utils.clip_grad_norm_([model.embedding, model.norms, model.last_norm], settings["clipNorm"] or math.inf)
        muon.step(settings["learningRate"] * factor)
        for group in adam.param_groups:
            group["lr"] = settings["learningRate"] * factor / 2
        adam.step()
        for parameter in model.parameters():
            parameter.grad = None
        step += 1
        losses.append(mean.detach())
        if step % REPORT_EVERY_STEPS == 0 or step == steps:
            value = torch.stack(losses).mean().item()
            if not math.isfinite(value):
                raise SystemExit(f"The loss is {value} at step {step}: the training diverged.")
            say({"kind": "step", "step": step, "loss": round(value, 4), "learningRate": settings["learningRate"] * factor, "gradientNorm": round(norm.item(), 4), "tokens": len(losses) * per_step, "seconds": round(time.time() - reported, 3)})
            losses, reported = [], time.time()
        if settings["validateEverySteps"] and step % settings["validateEverySteps"] == 0:
            validate()
            reported = time.time()
    validate()
    save_model(model, os.path.join(options.output, "model.safetensors"))
    shutil.copyfile(os.path.join(options.folder, "config.json"), os.path.join(options.output, "config.json"))
    result = {
        "steps": step,
        "decaySteps": decay,
        "tokens": step * per_step,
        "seconds": round(time.time() - began),
        "device": name,
        "torch": torch.__version__,
        "sequences": {source.name: source.drawn for source in sources},
    }
    say({"kind": "end", **result})
    with open(os.path.join(options.output, "result.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
