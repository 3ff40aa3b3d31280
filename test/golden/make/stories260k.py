"""Makes test/golden/stories260k.json: greedy ids and logits of the llama2.c checkpoint, computed in float64 from the file format.

    pip install numpy==2.4.6 && python test/golden/make/stories260k.py PATH/TO/stories260K.bin
"""
import hashlib
import json
import os
import struct
import sys

import numpy as np

OUT = os.path.join(os.path.dirname(__file__), "..", "stories260k.json")
TOKENS = 60
data = open(sys.argv[1], "rb").read()
C, F, L, H, G, V, S = struct.unpack("7i", data[:28])
assert V > 0, "the head is tied"
D = C // H
rest = np.frombuffer(data, dtype="<f4", offset=28).astype(np.float64)


def take(*shape):
    global rest
    n = int(np.prod(shape))
    out, rest = rest[:n].reshape(shape), rest[n:]
    return out


embedding = take(V, C)
norm1, wq, wk, wv, wo, norm2 = take(L, C), take(L, C, C), take(L, G * D, C), take(L, G * D, C), take(L, C, C), take(L, C)
w1, w2, w3, final = take(L, F, C), take(L, C, F), take(L, F, C), take(C)


def norm(x, g):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * g


def rotate(x):  # [T, heads, D], neighbours are a pair
    angle = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(0, D, 2) / D)[None]
    pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)[:, None]
    return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)


def forward(ids):
    x, T = embedding[ids], len(ids)
    hidden = np.triu(np.full((T, T), -np.inf), 1)
    for l in range(L):
        h = norm(x, norm1[l])
        q, k = rotate((h @ wq[l].T).reshape(T, H, D)), rotate((h @ wk[l].T).reshape(T, G, D))
        v = (h @ wv[l].T).reshape(T, G, D)
        k, v = np.repeat(k, H // G, 1), np.repeat(v, H // G, 1)
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(D) + hidden
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        x = x + np.einsum("hts,shd->thd", p, v).reshape(T, C) @ wo[l].T
        h = norm(x, norm2[l])
        gate = h @ w1[l].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w3[l].T)) @ w2[l].T
    return norm(x, final) @ embedding.T


ids = [1]
while len(ids) < TOKENS:
    ids.append(int(forward(ids)[-1].argmax()))
logits = forward(ids)
rows = [0, 1, 7, 20, 41, TOKENS - 1]
columns = [0, 2, 3, 13, 261, 300, 403, 450, 511]
golden = {
    "origin": f"test/golden/make/stories260k.py: numpy {np.__version__}, float64; stories260K.bin sha256 {hashlib.sha256(data).hexdigest()}",
    "ids": ids, "rows": rows, "columns": columns,
    "logits": [[round(float(logits[r, c]), 7) for c in columns] for r in rows],
    "meanLogLikelihood": round(float(np.mean([logits[t, i] - np.log(np.exp(logits[t]).sum()) for t, i in enumerate(ids[1:])])), 9),
}
with open(OUT, "w") as f:
    f.write("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()) + "\n}\n")
