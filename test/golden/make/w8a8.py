"""Writes test/golden/w8a8.json: a product of 8-bit weights and activations in numpy (python test/golden/make/w8a8.py).

Groups of 128 inputs; codes -64..64 of weights and -127..127 of activations, rounded to the nearest even number; sums of codes in int64.
"""

import json
import pathlib

import numpy as np

ROWS, INPUTS, OUTPUTS, GROUP = 3, 200, 4, 128


def quantize(values, codes):
    """Whole numbers and the scale of each group."""
    groups = -(-values.shape[1] // GROUP)
    padded = np.zeros((values.shape[0], groups * GROUP), np.float32)
    padded[:, : values.shape[1]] = values
    padded = padded.reshape(values.shape[0], groups, GROUP)
    largest = np.abs(padded).max(axis=2)
    factor = np.float32(codes) / largest
    whole = np.rint(padded.astype(np.float64) * factor[..., None].astype(np.float64)).astype(np.int64)
    return whole, largest / np.float32(codes)


def shortened(scales):
    """The nearest float32 numbers of 22 significant bits, as the scales of weights are kept."""
    return ((scales.view(np.uint32) + np.uint32(2)) & np.uint32(0xFFFFFFFC)).view(np.float32)


random = np.random.default_rng(24)
x = random.standard_normal((ROWS, INPUTS)).astype(np.float32)
x[1, 7] = 40  # an outlier
w = (0.02 * random.standard_normal((OUTPUTS, INPUTS))).astype(np.float32)
(x_codes, x_scales), (w_codes, w_scales) = quantize(x, 127), quantize(w, 64)
w_scales = shortened(w_scales)
sums = np.einsum("tgi,ogi->tog", x_codes, w_codes).astype(np.float64)
y = (sums * (x_scales[:, None, :] * w_scales[None, :, :]).astype(np.float64)).sum(axis=2)
numbers = lambda values: [float(value) for value in values.reshape(-1)]
file = pathlib.Path(__file__).parent.parent / "w8a8.json"
about = f"numpy {np.__version__}, seed 24, test/golden/make/w8a8.py"
made = {"about": about, "rows": ROWS, "inputs": INPUTS, "outputs": OUTPUTS, "x": numbers(x), "w": numbers(w), "y": numbers(y)}
file.write_text(json.dumps(made) + "\n")
