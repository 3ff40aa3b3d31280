"""Makes test/golden/tokenizer-json/: a small byte-level BPE tokenizer.json built as Qwen's are, and what the Rust library does with it.

    pip install tokenizers==0.23.3 && python -P test/golden/make/tokenizer_json.py     (-P: tokenizers.py is next to this file)

Normalisation NFC, Qwen2's pattern, byte level; 600 pieces learnt from the lines below; special and other added tokens behind them.
words.jsonl: the words into which the expressions of Qwen2, Llama-3 and GPT-2 cut texts.
"""
import json
import os

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = os.path.join(os.path.dirname(__file__), "..", "tokenizer-json")
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LINES = """东方航空与上海航空合并,新公司在上海上市。
张三是李四的父亲,李四住在北京。
公司收购了竞争对手的全部股权,交易金额为12亿元。
王小明毕业于北京大学,后来在上海工作。
请根据给定句子和实体抽取其关系
([甲公司],收购,[乙公司]) ([甲公司],?,[乙公司])
该银行的控股股东持有公司30%的股份。
the quick brown fox jumps over the lazy dog; it's the dog's day, isn't it?
You are a helpful assistant. system user assistant
关系抽取: 头实体和尾实体之间的关系是什么?
    if (x == 1) { return y; }""".split("\n")
# What the pattern, the normalisation and the bytes can go wrong on: kinds of space, line ends, marks, digits, case, rare characters.
EDGES = ["", " ", "  ", "\n", "\r\n\r\n", " \n \n", "a  b   c", "tab\tand\u3000wide\u00a0space", "\u0085next\u0085line", "\ufeffmark", "zero\u200bwidth",
         "cafe\u0301 é", "\u1112\u1161\u11ab", "ΑΣ ς", "IT'S it's It'S don'T we'LL", "12345 ６７８ ⅷ ²", "😀👨‍👩‍👧 𠮷野家", "…——《》「」",
         "一" * 40, "!!!\n\n\n???", "\u0000\u0001\u007f", "ﬁ Å Å", "نص عربي", "हिन्दी", "e\u0323\u0307 \u1e69", "\u2028line\u2029", "ſ K İ ı", "_under_ -dash-",
         "x\u180ey", "\ue000\uf8ff", "\u0300alone", "a\u0301\u0301\u0301", " \u0301b", "'ſ 'S 'Ll", "３%，（全角）", "   leading", "trailing   ", "\t\t\tx"]
LOOKALIKES = ["<|im_end|>", "a<|im_start|>system\n你好<|im_end|>\n", "<|endoftext|>", "<tool_call>x</tool_call>"]
WITH_TOKENS = ["关系 <tool_call> 是 </tool_call>\n", "<tool_call><|im_end|> </tool_call>", "it<tool_call>'s", "<tool_call", "<|im_<tool_call>end|>"]


def main():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    plain = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ["<tool_call>", "</tool_call>"]])

    os.makedirs(OUT, exist_ok=True)
    write("tokenizer.json", json.loads(tokenizer.to_str()))
    write("tokenizer_config.json", {"add_bos_token": False, "bos_token": None, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
                                    "tokenizer_class": "Qwen2Tokenizer", "clean_up_tokenization_spaces": False})
    rows = [{"generator": "tokenizers " + tokenizers.__version__, "pieces": tokenizer.get_vocab_size(), "plainPieces": plain.get_vocab_size()}]
    # "plain": the ids where special tokens in the text stay text.
    for text in LINES + EDGES + LOOKALIKES + WITH_TOKENS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)})
        tokenizer.encode_special_tokens = True
        if (kept := tokenizer.encode(text, add_special_tokens=False).ids) != ids:
            rows[-1]["plain"] = kept
        tokenizer.encode_special_tokens = False
    ends = {t: tokenizer.token_to_id(t) for t in ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>"]}
    ids = plain.encode("关系", add_special_tokens=False).ids
    for mixed in [[ends["<|im_start|>"], *ids, ends["<|im_end|>"]], [ends["<tool_call>"], *ids], ids[:1], [ids[0], ends["<|im_end|>"], *ids[1:]],
                  [plain.token_to_id("å"), plain.token_to_id("ł")], [plain.token_to_id("ð"), plain.token_to_id("a")]]:
        rows.append({"ids": mixed, "decoded": tokenizer.decode(mixed, skip_special_tokens=True)})
    # A whole ChatML prompt at once, the special tokens found in it by the library.
    query = "请根据给定句子和实体抽取其关系\n[甲公司]收购了[乙公司]。 ([甲公司],?,[乙公司])"
    chat = ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n" + query
            + "<|im_end|>\n<|im_start|>assistant\n")
    rows.append({"query": query, "ids": tokenizer.encode(chat, add_special_tokens=False).ids})
    with open(os.path.join(OUT, "golden.jsonl"), "w") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    write_words()


def write_words():
    llama3 = PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
    split = lambda pattern: pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)
    cutters = {"qwen": split(PATTERN), "llama3": split(llama3), "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)}
    texts = LINES + EDGES + LOOKALIKES + ["'ſab 'ſ's", "It'S they'LLx 'd'Re", "1234567 １２３４ x12345", " \u0085 \ufeff a \ufeffb", "\u0085\u0085x \ufeff\ufeff y",
                                           "a \n b\r\n\r\n  c \t\t", "!?\n\n 。。\r\n", "a'b''s'ss", " \u3000 \u00a0x"]
    with open(os.path.join(OUT, "words.jsonl"), "w") as file:
        file.write(json.dumps({"generator": "tokenizers " + tokenizers.__version__}) + "\n")
        for text in texts:
            words = {name: [text[begin:end] for _, (begin, end) in cutter.pre_tokenize_str(text)] for name, cutter in cutters.items()}
            file.write(json.dumps({"text": text, **words}, ensure_ascii=False) + "\n")


def write(name, value):
    with open(os.path.join(OUT, name), "w") as file:
        json.dump(value, file, ensure_ascii=False)
        file.write("\n")


main()
