"""One LoRA training step in PyTorch on random weights: the same mathematics as `cre bench train-step`.

A Llama decoder, LoRA (rank 8, alpha 32) on q_proj and v_proj, sequences of equal length, loss on each sequence's last tokens, gradient
clipping, AdamW on the adapter. Prints one JSON line; with --on-request also one when ready and one a step. Shape letters: B sequences,
T tokens of a sequence, H query heads, G key/value heads, D head width, C model width, F feed-forward, V vocabulary, R rank.
"""

import argparse
import math
import sys
import time
from dataclasses import dataclass, replace

from protocol import peak_resident, requests, tell, whole_number

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    torch, missing = None, error


@dataclass(frozen=True)
class Shape:
    width: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vocabulary: int
    tied_head: bool = False

    @property
    def head_width(self):
        return self.width // self.heads


# As in src/bench/shapes.ts; compare_train_step.py checks that both sides count the same work.
SHAPES = {
    "110m": Shape(768, 12, 12, 12, 2048, 32_000),
    "0.4b": Shape(1024, 24, 16, 16, 2816, 32_000),
    "qwen2-0.5b": Shape(896, 24, 14, 2, 4864, 151_936, tied_head=True),
    "llama2-7b": Shape(4096, 32, 32, 32, 11_008, 32_000),
}
MODES = {
    "eager-bf16": "bf16 activations; attention as two products and a softmax",
    "sdpa-bf16": "bf16 activations; torch's scaled_dot_product_attention",
    "autocast": "float32 residual stream, products in bf16 by torch.autocast; attention as two products and a softmax",
    "autocast-sdpa": "the same with scaled_dot_product_attention",
    "float32": "float32 throughout, weights too: the fastest on processors without bf16 units; attention as two products and a softmax",
    "sdpa-float32": "the same with scaled_dot_product_attention",
}
RANK, ALPHA = 8, 32
NORM_EPSILON = 1e-6
ROTARY_BASE = 10_000


def random_weight(rows, columns, dtype):
    """[rows, columns]; frozen weights are bf16 in every mode but float32, as casting them in each step would only slow PyTorch down."""
    return torch.empty(rows, columns, dtype=dtype).normal_(0, 0.02)


class LowRank:
    """scale · x·aᵀ·bᵀ added to the product of a frozen weight, kept in float32: a uniform in ±1/√I, b zero (Hu et al. 2021)."""

    def __init__(self, rows, columns):
        self.a = torch.empty(RANK, columns).uniform_(-1, 1).div_(math.sqrt(columns)).requires_grad_()
        self.b = torch.zeros(rows, RANK).requires_grad_()

    def add_to(self, y, x):
        low = F.linear(x, self.a.to(x.dtype))  # [B·T,R]
        return torch.addmm(y, low, self.b.to(x.dtype).t(), alpha=ALPHA / RANK)


class Layer:
    def __init__(self, shape, dtype, norm_dtype):
        C, D = shape.width, shape.head_width
        self.attention_norm = torch.ones(C, dtype=norm_dtype)
        self.q = random_weight(shape.heads * D, C, dtype)
        self.k = random_weight(shape.key_value_heads * D, C, dtype)
        self.v = random_weight(shape.key_value_heads * D, C, dtype)
        self.output = random_weight(C, shape.heads * D, dtype)
        self.feed_forward_norm = torch.ones(C, dtype=norm_dtype)
        self.gate = random_weight(shape.feed_forward, C, dtype)
        self.up = random_weight(shape.feed_forward, C, dtype)
        self.down = random_weight(C, shape.feed_forward, dtype)
        self.q_low = LowRank(shape.heads * D, C)
        self.v_low = LowRank(shape.key_value_heads * D, C)


class Decoder:
    def __init__(self, shape, mode, loss_dtype):
        self.shape = shape
        self.sdpa = "sdpa" in mode
        self.autocast = mode.startswith("autocast")
        self.loss_dtype = loss_dtype
        self.dtype = torch.float32 if mode.endswith("float32") else torch.bfloat16
        norm_dtype = torch.float32 if self.autocast else self.dtype
        self.embedding = random_weight(shape.vocabulary, shape.width, self.dtype)
        self.layers = [Layer(shape, self.dtype, norm_dtype) for _ in range(shape.layers)]
        self.final_norm = torch.ones(shape.width, dtype=norm_dtype)
        self.head = self.embedding if shape.tied_head else random_weight(shape.vocabulary, shape.width, self.dtype)

    def adapter(self):
        return [w for layer in self.layers for low in (layer.q_low, layer.v_low) for w in (low.a, low.b)]

    def loss(self, ids, rows, targets):
        """Mean loss of the tokens `targets` [N] that follow the rows `rows` [N] of ids [B,T]."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            B, T = ids.shape
            x = F.embedding(ids.reshape(-1), self.embedding)  # [B·T,C]
            if self.autocast:
                x = x.float()
            cosine, sine = rotary_tables(T, self.shape.head_width, self.dtype)
            for layer in self.layers:
                x = self.forward_layer(layer, x, B, T, cosine, sine)
            if rows.numel() != B * T:
                x = x.index_select(0, rows)
            logits = F.linear(self.norm(x, self.final_norm), self.head)  # [N,V]
            return F.cross_entropy(logits.to(self.loss_dtype), targets)

    def norm(self, x, weight):
        return F.rms_norm(x, (x.shape[-1],), weight, NORM_EPSILON)

    def forward_layer(self, layer, x, B, T, cosine, sine):
        h = self.norm(x, layer.attention_norm)
        if self.autocast:
            h = h.to(torch.bfloat16)  # once, not once for each product
        q = layer.q_low.add_to(F.linear(h, layer.q), h)
        k = F.linear(h, layer.k)
        v = layer.v_low.add_to(F.linear(h, layer.v), h)
        D = self.shape.head_width
        q, k, v = (y.view(B, T, -1, D).transpose(1, 2) for y in (q, k, v))  # [B,H or G,T,D]
        mixed = self.attention(rotated(q, cosine, sine), rotated(k, cosine, sine), v)  # [B,H,T,D]
        x = x + F.linear(mixed.transpose(1, 2).reshape(B * T, -1), layer.output)
        h = self.norm(x, layer.feed_forward_norm)
        if self.autocast:
            h = h.to(torch.bfloat16)
        return x + F.linear(F.silu(F.linear(h, layer.gate)) * F.linear(h, layer.up), layer.down)

    def attention(self, q, k, v):
        if k.shape[1] != q.shape[1]:
            group = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if self.sdpa:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        T = q.shape[2]
        hidden = torch.full((T, T), -math.inf, dtype=q.dtype).triu(1)
        scores = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5 + hidden  # [B,H,T,T]
        return torch.matmul(F.softmax(scores, -1), v)


def rotary_tables(T, D, dtype):
    frequencies = ROTARY_BASE ** (-torch.arange(0, D, 2, dtype=torch.float32) / D)
    angles = torch.outer(torch.arange(T, dtype=torch.float32), frequencies).repeat(1, 2)  # [T,D]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotated(x, cosine, sine):
    """Rotates the pairs (i, i + D/2) of x[B,H,T,D]."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


def step_flops(shape, sequences, tokens_each, head_rows):
    """As loraStepFlops in src/bench/shapes.ts: forward and backward to the input; attention's causal half, 2.5 times that backward."""
    C, D = shape.width, shape.head_width
    linear = shape.layers * (C * D * (2 * shape.heads + 2 * shape.key_value_heads) + 3 * C * shape.feed_forward)
    attention = shape.layers * sequences * shape.heads * 4 * tokens_each**2 * D * 3.5 / 2
    return round(4 * sequences * tokens_each * linear + 4 * head_rows * shape.vocabulary * C + attention)


def allocator():
    """The allocator behind malloc, found among the mapped libraries: a preload that fails only warns."""
    try:
        with open("/proc/self/maps", encoding="utf8") as maps:
            return "tcmalloc" if "libtcmalloc" in maps.read() else "default"
    except OSError:
        return "unknown"


def prepare(options):
    """The facts that need no step, and a function that makes a step and returns its seconds and loss."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    shape = SHAPES[options.shape]
    if options.layers:
        shape = replace(shape, layers=options.layers)
    B, T = options.sequences, options.tokens
    answer = options.answer or T
    model = Decoder(shape, options.mode, getattr(torch, options.loss))
    adapter = model.adapter()
    optimizer = torch.optim.AdamW(adapter, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, fused=True)
    ids = torch.randint(shape.vocabulary, (B, T + 1))
    inputs = ids[:, :-1].contiguous()
    targets = ids[:, T + 1 - answer :].reshape(-1)
    rows = torch.arange(B * T).view(B, T)[:, T - answer :].reshape(-1)

    def step():
        started = time.perf_counter()
        loss = model.loss(inputs, rows, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        return time.perf_counter() - started, value

    facts = {
        "torch": torch.__version__,
        "mode": options.mode,
        "loss": options.loss,
        "allocator": allocator(),
        "threads": torch.get_num_threads(),
        "shape": options.shape,
        "layers": shape.layers,
        "tokens": B * T,
        "headRows": rows.numel(),
        "flops": step_flops(shape, B, T, rows.numel()),
    }
    return facts, step


def measure(options):
    """Makes the untimed steps, then the timed ones: with --on-request, one for every line of standard input."""
    if torch is None:
        sys.exit(f"{sys.executable} cannot import torch ({missing}): run this with a Python that has it (pip install torch).")
    facts, step = prepare(options)
    losses = [step()[1] for _ in range(options.warmup)]
    if options.on_request:
        tell({"ready": True, **facts, "losses": losses, **peak_resident()})
        steps = [answer(number, step) for number in requests()]
    else:
        steps = [step() for _ in range(options.steps)]
    losses += [loss for _, loss in steps]
    tell({**facts, "seconds": [seconds for seconds, _ in steps], "losses": losses, **peak_resident()})


def answer(number, step):
    seconds, loss = step()
    tell({"step": number, "seconds": seconds, "loss": loss})
    return seconds, loss


def read_options():
    modes = "; ".join(f"{name}: {text}" for name, text in MODES.items())
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=modes)
    parser.add_argument("--shape", choices=SHAPES, default="110m")
    parser.add_argument("--mode", choices=MODES, default="eager-bf16")
    parser.add_argument("--loss", choices=["float32", "bfloat16"], default="float32", help="type of the logits in the loss")
    parser.add_argument("--layers", type=whole_number, help="other number of layers")
    parser.add_argument("--sequences", type=whole_number, default=16)
    parser.add_argument("--tokens", type=whole_number, default=96, help="tokens of a sequence")
    parser.add_argument("--answer", type=whole_number, help="tokens of a sequence that carry loss (default: all)")
    parser.add_argument("--threads", type=whole_number, default=2)
    parser.add_argument("--warmup", type=whole_number, default=2, help="steps that are not timed")
    timed = parser.add_mutually_exclusive_group()
    timed.add_argument("--steps", type=whole_number, default=5, help="steps that are timed")
    timed.add_argument("--on-request", action="store_true", help='time a step for every line "step" of standard input')
    options = parser.parse_args()
    if options.answer and options.answer > options.tokens:
        parser.error(f"--answer {options.answer}: a sequence has {options.tokens} tokens")
    return options


if __name__ == "__main__":
    measure(read_options())
