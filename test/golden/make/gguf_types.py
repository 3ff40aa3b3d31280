"""Makes test/golden/formats/types.gguf: blocks of every type that is read here, with what the gguf package makes of them in float32.

    pip install gguf==0.19.0 numpy==2.4.6 && python test/golden/make/gguf_types.py

NAME holds random blocks (random bits, sane scales) of type NAME, NAME_float32 what gguf.quants.dequantize gives. values are float32 numbers,
values_Q8_0, values_Q5_0 what gguf.quants.quantize makes of them. The metadata has one entry of every type and arrays of several.
"""
import os

import gguf
import numpy
from gguf import GGMLQuantizationType as Type

OUT = os.path.join(os.path.dirname(__file__), "..", "formats", "types.gguf")
random = numpy.random.default_rng(20240418)
SCALES = {Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.Q5_0: [0]}

writer = gguf.GGUFWriter(OUT, "test")
writer.add_uint8("a.uint8", 200)
writer.add_int8("a.int8", -100)
writer.add_uint16("a.uint16", 60_000)
writer.add_int16("a.int16", -30_000)
writer.add_uint32("a.uint32", 4_000_000_000)
writer.add_int32("a.int32", -2_000_000_000)
writer.add_float32("a.float32", 0.25)
writer.add_bool("a.bool", True)
writer.add_string("a.string", "关系")
writer.add_uint64("a.uint64", 2**63 + 1)
writer.add_int64("a.int64", -(2**40))
writer.add_float64("a.float64", 0.1)
writer.add_array("a.texts", ["甲", "", "乙"])
writer.add_array("a.numbers", [1, -2, 3])
writer.add_array("a.floats", [0.5, -0.25])
writer.add_array("a.flags", [True, False])
for type, places in SCALES.items():
    elements, size = gguf.GGML_QUANT_SIZES[type]
    blocks = random.integers(0, 256, (3, 512 // elements, size), dtype=numpy.uint8)
    for place in places:
        scales = (random.standard_normal(blocks.shape[:2]) * 0.01).astype(numpy.float16)
        blocks[:, :, place:place + 2] = scales[..., None].view(numpy.uint8)
    data = blocks.reshape(3, -1)
    writer.add_tensor(type.name, data, raw_dtype=type)
    writer.add_tensor(type.name + "_float32", gguf.quants.dequantize(data, type).astype(numpy.float32))
values = (random.standard_normal((2, 64)) * numpy.geomspace(1e-4, 10, 64)).astype(numpy.float32)
values[0, 32:] = 0
writer.add_tensor("values", values)
writer.add_tensor("values_Q8_0", gguf.quants.quantize(values, Type.Q8_0), raw_dtype=Type.Q8_0)
writer.add_tensor("values_Q5_0", gguf.quants.quantize(values, Type.Q5_0), raw_dtype=Type.Q5_0)
writer.add_tensor("values_F16", values.astype(numpy.float16))
writer.add_tensor("values_BF16", gguf.quants.quantize(values, Type.BF16), raw_dtype=Type.BF16)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
