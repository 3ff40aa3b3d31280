"""Makes test/golden/llama-tokenizers/: two small SentencePiece models, and what transformers 5 makes of them.

    pip install transformers==5.24.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2 && python -P test/golden/make/llama_tokenizers.py

prefix.model has SentencePiece's dummy prefix, symbols.model has none and user-defined symbols; both have byte fallback.
files.json: each model as transformers saves it (tokenizer.json), then variants of those files with the ids of the Rust library (no `config`), or
of AutoTokenizer with that tokenizer_config.json. folders.json: folders with a tokenizer.model, by AutoTokenizer, for all values of
add_prefix_space and legacy, without the texts in which transformers 5 and SentencePiece differ: parts that begin with a space, names of control
pieces, and user-defined symbols where every part gets a space (to transformers 5 they are added tokens).
"""
import io
import itertools
import json
import os
import tempfile

import sentencepiece
import tokenizers
import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer

OUT = os.path.join(os.path.dirname(__file__), "..", "llama-tokenizers")
LINES = """东方航空与上海航空合并,新公司在上海上市。
张三是李四的父亲,李四住在北京。
公司收购了竞争对手的全部股权,交易金额为12亿元。
王小明毕业于北京大学,后来在上海工作。
他在院子里种了一棵枣树,还有一棵也是枣树。
该银行的控股股东持有公司30%的股份。
the quick brown fox jumps over the lazy dog
the company bought the other company in 2019
关系抽取: 头实体和尾实体之间的关系是什么?
([甲公司],?,[乙公司])""".split("\n")
ADDED = {"<x>": {}, "<left>": {"lstrip": True}, "<right>": {"rstrip": True}, "<word>": {"single_word": True}, "<end>": {"special": True}}
EDGES = ["", "x", "a  b   c", "东方\n\n航空\t公司", "😀𠮷龘é", "末尾的空格  ", "a\u3000b\u00a0c", "1998年", "<0x41><0x0A", "\ufeff标记", "e\u0301\0"]
TOKENS = ["<x>公司<x>收购", "公司<x>x<end>上海", "在<left>上海", "在 \u0085<left>上海", "<right>上海", "<right> \n 上海", "a<word>b <word> 公司<word>", "<word>,<word>_",
          "<x><end><x>", "<end>", "<s>公司</s>", "<unk>公司", "<left><right>上海", "<x", "x>"]
SPACES = [" ", "  ", " a", "   上海 a ", "▁a", "▁", "a<x> b", "<x>  b", "公司 <left> 上海", "<right>  上海<x> ", " <x>", "<N> a", "[ a]"]


def train(**options):
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 3), model_writer=writer, model_type="bpe", num_threads=1, minloglevel=2, hard_vocab_limit=False,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, **options)
    return writer.getvalue()


MODELS = {
    "prefix": train(vocab_size=440, character_coverage=0.99),
    "symbols": train(vocab_size=440, character_coverage=0.99, add_dummy_prefix=False, pad_id=3, user_defined_symbols=["\n", "[", "]", "<N>"]),
}


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


def added_decoder(first):
    return {str(first + i): token(text, **flags) for i, (text, flags) in enumerate(ADDED.items())}


def opened(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, value in {"config.json": {"model_type": "llama"}, **files}.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(value if isinstance(value, bytes) else json.dumps(value).encode())
        return AutoTokenizer.from_pretrained(folder)


def saved(model):
    size = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    tokenizer = opened({"tokenizer.model": model, "tokenizer_config.json": {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "add_prefix_space": model is MODELS["prefix"], "added_tokens_decoder": added_decoder(size)}})
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        config = json.load(open(os.path.join(folder, "tokenizer_config.json")))
        for key in ["is_local", "local_files_only", "backend"]:
            config.pop(key, None)
        return json.load(open(os.path.join(folder, "tokenizer.json"))), config


def rows(encode, decode, texts):
    return [{"text": text, "ids": (ids := encode(text)), "decoded": decode(ids)} for text in texts]


def library_rows(file, texts):
    tokenizer = Tokenizer.from_str(json.dumps(file))
    made = rows(lambda text: tokenizer.encode(text, add_special_tokens=False).ids, lambda ids: tokenizer.decode(ids, skip_special_tokens=True), texts)
    tokenizer.encode_special_tokens = True
    for row in made:
        plain = tokenizer.encode(row["text"], add_special_tokens=False).ids
        if plain != row["ids"]:
            row["plain"] = plain
    return made


def auto_rows(tokenizer, texts):
    return rows(lambda text: tokenizer.encode(text, add_special_tokens=False), lambda ids: tokenizer.decode(ids, skip_special_tokens=True), texts)


PREPEND = {"type": "Prepend", "prepend": "▁"}
MARK_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def metaspace(scheme, mark="▁", split=False):
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": split}


def expression(source, content):
    return {"type": "Replace", "pattern": {"Regex": source}, "content": content}


def variants(file):
    """Changes to a tokenizer.json; `tokens` sets flags of added tokens, `model` entries of the model."""
    fused = {"byte_fallback": False, "unk_token": "<unk>"}
    spaces = [expression(r"\A +| +\z", ""), expression(" {2,}", " "), MARK_SPACES]
    return {
        "as saved": {},
        "transformers 4": {"normalizer": sequence("normalizers", PREPEND, MARK_SPACES), "pre_tokenizer": None},
        "transformers 4, normalized tokens": {"normalizer": sequence("normalizers", PREPEND, MARK_SPACES), "pre_tokenizer": None, "tokens": {"normalized": True}},
        "always": {"pre_tokenizer": metaspace("always")},
        "first": {"pre_tokenizer": metaspace("first")},
        "never": {"pre_tokenizer": metaspace("never")},
        "split": {"pre_tokenizer": metaspace("first", split=True)},
        "two marks": {"normalizer": MARK_SPACES, "pre_tokenizer": sequence("pretokenizers", metaspace("first", " "), metaspace("never"))},
        "older": {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True, "prepend_scheme": "always"},
                  "decoder": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True, "prepend_scheme": "always"}},
        "SentencePiece's spaces": {"normalizer": sequence("normalizers", *spaces, expression(r"\A▁", "▁▁")), "pre_tokenizer": metaspace("always")},
        "Gemma": {"normalizer": MARK_SPACES, "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}},
        "symbols isolated": {"normalizer": sequence("normalizers", {"type": "NFKC"}, MARK_SPACES),
                             "pre_tokenizer": sequence("pretokenizers", metaspace("first"), {
                                 "type": "Split", "pattern": {"Regex": r"<N>|航空|\[|\||\\|司"}, "behavior": "Isolated", "invert": False}),
                             "model": {"ignore_merges": True}},
        "next": {"pre_tokenizer": {"type": "Split", "pattern": {"String": "公司"}, "behavior": "MergedWithNext", "invert": False}, "normalizer": {"type": "NFD"}},
        "unknown tokens": {"model": {**fused, "fuse_unk": True}},
        "single unknown tokens": {"model": {**fused, "fuse_unk": False}, "decoder": sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"}, STRIP)},
    }


def changed(file, change):
    value = json.loads(json.dumps(file))
    for key, part in change.items():
        if key == "model":
            value["model"].update(part)
        elif key == "tokens":
            for entry in value["added_tokens"]:
                if not entry["special"]:
                    entry.update(part)
        else:
            value[key] = part
    return value


def main():
    os.makedirs(OUT, exist_ok=True)
    origin = {"generator": f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}"}
    texts = LINES[:3] + LINES[6:] + EDGES + TOKENS
    files = {}
    for name, model in MODELS.items():
        with open(os.path.join(OUT, f"{name}.model"), "wb") as out:
            out.write(model)
        file, config = saved(model)
        made = [{"name": key, "change": change, "rows": library_rows(changed(file, change), texts + SPACES)} for key, change in variants(file).items()]
        for prefix, legacy in itertools.product([None, True, False], [None, True, False]):
            settings = {key: value for key, value in [("add_prefix_space", prefix), ("legacy", legacy)] if value is not None}
            own = {key: value for key, value in config.items() if key not in ["add_prefix_space", "legacy"]}
            change = variants(file)["transformers 4"] if prefix is None else {}
            tokenizer = opened({"tokenizer.json": changed(file, change), "tokenizer_config.json": {**own, **settings}})
            made.append({"name": f"LlamaTokenizer {json.dumps(settings)}", "change": change, "settings": settings, "rows": auto_rows(tokenizer, texts + SPACES)})
        files[name] = {"file": file, "config": config, "variants": made}
    write("files.json", {**origin, "models": files})

    folders = []
    for name, model in MODELS.items():
        size = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
        for prefix, legacy in itertools.product([None, True, False], [None, True, False]):
            if name == "symbols" and prefix is None:
                continue  # transformers 5 sets a space that neither the file nor the configuration asks for
            settings = {key: value for key, value in [("add_prefix_space", prefix), ("legacy", legacy)] if value is not None}
            config = {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": added_decoder(size), **settings}
            tokenizer = opened({"tokenizer.model": model, "tokenizer_config.json": config})
            every = prefix is True and legacy is True
            kept = [text for text in texts if not differs(text, name == "symbols", every)]
            folders.append({"model": name, "config": config, "rows": [{"text": row["text"], "ids": row["ids"]} for row in auto_rows(tokenizer, kept)]})
    write("folders.json", {**origin, "folders": folders})


def differs(text, has_symbols, every):
    if any(name in text for name in ["<s>", "</s>", "<unk>"]) or "<word> " in text:
        return True
    return has_symbols and ("<right> \n" in text or (every and any(symbol in text for symbol in "\n[]")))


def write(name, value):
    with open(os.path.join(OUT, name), "w", encoding="utf8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


main()
