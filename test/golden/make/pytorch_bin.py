"""Makes test/golden/formats/*.bin: what torch.save writes of a state dict, in its zip format (protocol 2 and 4) and in the one before it.

    pip install torch==2.15.0 && python test/golden/make/pytorch_bin.py

Values are multiples of 1/4, so that every type holds them. columns is a transposed view of rows, part an overlapping slice of it, tied a second
name of it; *_dense are the same values as torch lays them out row by row. The others must be refused.
"""
import collections
import os

import torch

OUT = os.path.join(os.path.dirname(__file__), "..", "formats")


class Evil:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


def write(name, value, **options):
    torch.save(value, os.path.join(OUT, name), **options)


rows = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 4 - 1
state = collections.OrderedDict(
    rows=rows, half=rows.to(torch.float16) * 3, brain=rows.to(torch.bfloat16) * 5, columns=rows.T, columns_dense=rows.T.contiguous(),
    part=rows[1:, 1:3], part_dense=rows[1:, 1:3].contiguous(), tied=rows, scalar=torch.tensor(2.5), empty=torch.zeros(0, 3),
    cube=torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1),
    cube_dense=torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1).contiguous())
state._metadata = collections.OrderedDict([("", {"version": 1})])
write("protocol-2.bin", state)
write("protocol-4.bin", dict(state), pickle_protocol=4)
write("legacy.bin", {"rows": rows}, _use_new_zipfile_serialization=False)
write("evil.bin", {"rows": rows, "evil": Evil()})
write("whole-numbers.bin", {"ids": torch.arange(4)})
write("repeated.bin", {"repeated": torch.zeros(1).expand(1_000_000, 1_000)})
write("nested.bin", {"model": {"rows": rows}, "step": 3})
