"""Says as JSON what this Python has for train.py: {"python", "packages": {name: version or null}, "cuda", "gpus": [{"name", "memoryBytes"}], "bfloat16"}."""

import importlib.metadata
import json
import platform
import sys

packages = {}
for name in sys.argv[1:]:
    try:
        packages[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        packages[name] = None
found = {"python": platform.python_version(), "packages": packages, "cuda": None, "gpus": [], "bfloat16": False, "problem": None}
try:
    import torch

    found["cuda"] = torch.version.cuda
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(i)
            found["gpus"].append({"name": about.name, "memoryBytes": about.total_memory})
        found["bfloat16"] = torch.cuda.is_bf16_supported()
except Exception as error:
    found["problem"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
