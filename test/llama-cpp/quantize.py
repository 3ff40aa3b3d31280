"""Quantises a GGUF file with llama.cpp's own function: python quantize.py IN OUT FTYPE

FTYPE is llama.cpp's number: 15 for Q4_K_M, 18 for Q6_K. The library is the one of node-llama-cpp, called by ctypes.
"""
import ctypes
import glob
import os
import sys

BINARIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64")


class Parameters(ctypes.Structure):
    """The first entries of llama_model_quantize_params, and room for all others."""
    _fields_ = [("threads", ctypes.c_int32), ("ftype", ctypes.c_int32), ("others", ctypes.c_uint8 * 504)]


# In this order each finds the ones that it needs.
for name in ["libggml-base.so*", "libggml-cpu-x64.so", "libggml.*so*", "libllama.*so*"]:
    for file in glob.glob(os.path.join(BINARIES, name)):
        library = ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL)
ctypes.CDLL(glob.glob(os.path.join(BINARIES, "libggml.*so*"))[0]).ggml_backend_load_all_from_path(BINARIES.encode())
library.llama_model_quantize_default_params.restype = Parameters
library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
library.llama_model_quantize.restype = ctypes.c_uint32
parameters = library.llama_model_quantize_default_params()
parameters.threads = 1
parameters.ftype = int(sys.argv[3])
sys.exit(library.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(parameters)))
