"""Makes converted.gguf in test/golden/{llama-peft,qwen2,qwen3,chatglm2}/: these models, by llama.cpp's own converter, without a vocabulary.

    pip install torch==2.15.0 transformers==5.23.0 numpy sentencepiece
    python -P test/golden/make/convert_gguf.py LLAMA_CPP    # a checkout of github.com/ggml-org/llama.cpp, release v0.5.0

Of the converter only its reading of a tokenizer is replaced: these folders have none. Baichuan2 is missing: llama.cpp knows it with 32 or 40
layers only, and the converter of this release calls itself without end there.
"""
import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA_CPP = sys.argv[1]
sys.path[:0] = [LLAMA_CPP, os.path.join(LLAMA_CPP, "gguf-py")]

import conversion.chatglm
import conversion.llama
import conversion.qwen

for family in (conversion.llama.LlamaModel, conversion.qwen.Qwen2Model, conversion.qwen.Qwen3Model, conversion.chatglm.ChatGLMModel):
    family.set_vocab = lambda self: self._set_vocab_none()
for name in ("llama-peft", "qwen2", "qwen3", "chatglm2"):
    folder = os.path.join(HERE, "..", name)
    out = os.path.join(folder, "converted.gguf")
    sys.argv = ["convert", folder, "--outtype", "f32" if name == "llama-peft" else "bf16", "--outfile", out, "--model-name", name]
    try:
        runpy.run_path(os.path.join(LLAMA_CPP, "convert_hf_to_gguf.py"), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    os.chmod(out, 0o644)
