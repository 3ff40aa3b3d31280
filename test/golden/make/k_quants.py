"""Makes test/golden/formats/k-quants.json: what ggml's own reference quantisers write for numbers of several shapes.

    (cd test/llama-cpp && npm ci --ignore-scripts) && python test/golden/make/k_quants.py

The library is libggml-base.so of node-llama-cpp (test/llama-cpp/package-lock.json pins it), called by ctypes.
"""
import base64
import ctypes
import glob
import json
import os
import random
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(HERE, "..", "..", "llama-cpp", "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64", "libggml-base.so")
BLOCK = 256
BYTES = {"Q4_K": 144, "Q6_K": 210}


def rows():
    draw = random.Random(21)
    yield "normal", [draw.gauss(0, 0.02) for _ in range(8 * BLOCK)]
    yield "positive", [abs(draw.gauss(0, 1)) + 0.5 for _ in range(BLOCK)]
    yield "outliers", [draw.gauss(0, 0.02) * (30 if draw.random() < 0.02 else 1) for _ in range(4 * BLOCK)]
    yield "zeros", [0.0] * BLOCK
    yield "equal", [0.25] * BLOCK
    yield "half zeros", [draw.gauss(0, 1) if i % BLOCK < 128 else 0.0 for i in range(2 * BLOCK)]


def main():
    library = ctypes.CDLL(LIBRARY)
    package = json.load(open(os.path.join(HERE, "..", "..", "llama-cpp", "package.json")))["dependencies"]
    cases = []
    for name, values in rows():
        packed = struct.pack(f"<{len(values)}f", *values)
        floats = (ctypes.c_float * len(values)).from_buffer_copy(packed)
        case = {"name": name, "values": base64.b64encode(packed).decode()}
        for kind, size in BYTES.items():
            out = (ctypes.c_uint8 * (len(values) // BLOCK * size))()
            getattr(library, f"quantize_row_{kind[:2].lower()}_K_ref")(floats, out, ctypes.c_int64(len(values)))
            case[kind] = base64.b64encode(bytes(out)).decode()
        cases.append(case)
    origin = f"test/golden/make/k_quants.py: quantize_row_q4_K_ref and quantize_row_q6_K_ref of libggml-base.so, {json.dumps(package)}"
    with open(os.path.join(HERE, "..", "formats", "k-quants.json"), "w") as f:
        f.write(f'{{"origin": {json.dumps(origin)},\n"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")


main()
