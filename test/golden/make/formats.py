"""Makes test/golden/formats/: a safetensors file of the format's own library, with what PyTorch makes of float32 in narrow types.

    pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0 && python test/golden/make/formats.py

values (F32) are edge cases and random bit patterns; float16 and bfloat16 are values.to(type), rounded to nearest even; float16_words and
bfloat16_words are every kind of bit pattern, NaN payloads included, and *_as_float32 the same as float32.
"""
import os

import numpy
import torch
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "formats")
EDGES = [0.0, -0.0, 1.0, -1.5, 65504.0, 65519.99, 65520.0, -65520.0, 2.0**-14, 2.0**-14 - 2.0**-25, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25,
         3 * 2.0**-25, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 2.0**-126, 2.0**-133, 2.0**-149, 3.4028234e38,
         3.38e38, 3.3961776e38, float("inf"), float("-inf")]


def words(dtype, exponent_bits):
    """Every sign and exponent with a few fractions."""
    fraction_bits = 15 - exponent_bits
    fractions = sorted({0, 1, 2, (1 << fraction_bits) - 1, 1 << (fraction_bits - 1)})
    exponents = range(1 << exponent_bits) if exponent_bits < 8 else [0, 1, 2, 100, 127, 128, 200, 254, 255]
    bits = [s << 15 | e << fraction_bits | f for s in (0, 1) for e in exponents for f in fractions]
    return torch.from_numpy(numpy.array(bits, dtype=numpy.uint16).view(numpy.int16).copy()).view(dtype)


random = numpy.random.default_rng(20240418)
patterns = random.integers(0, 2**32, 200, dtype=numpy.uint32)
near_float16 = ((patterns & 0x8FFFFFFF) | 0x30000000).astype(numpy.uint32)  # exponents around those of float16
values = numpy.concatenate([numpy.array(EDGES, dtype=numpy.float32), patterns.view(numpy.float32), near_float16.view(numpy.float32)])
values = torch.from_numpy(values[~numpy.isnan(values)][:400].reshape(-1, 2).copy())
half, brain = words(torch.float16, 5), words(torch.bfloat16, 8)
tensors = {
    "values": values, "float16": values.to(torch.float16), "bfloat16": values.to(torch.bfloat16),
    "float16_words": half, "bfloat16_words": brain,
    "float16_as_float32": half.to(torch.float32), "bfloat16_as_float32": brain.to(torch.float32),
    "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5),
}
os.makedirs(OUT, exist_ok=True)
metadata = {"format": "pt", "origin": f"test/golden/make/formats.py, torch {torch.__version__.split('+')[0]}"}
save_file(tensors, os.path.join(OUT, "types.safetensors"), metadata=metadata)
