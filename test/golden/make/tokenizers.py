"""Makes test/golden/tokenizers/: two small SentencePiece models and what the C++ library does with them.

    pip install sentencepiece==0.1.99 && python test/golden/make/tokenizers.py

rules: replacement and restoring rules, extra spaces removed, user-defined symbols, no byte fallback.
bytes: byte fallback, spaces kept, every third merged piece unused (those fall apart again).
"""
import io
import json
import os
import random
import tempfile

import sentencepiece

OUT = os.path.join(os.path.dirname(__file__), "..", "tokenizers")
LINES = """东方航空与上海航空合并,新公司在上海上市。
张三是李四的父亲,李四住在北京。
小说的主人公离开家乡,去了遥远的南方。
公司收购了竞争对手的全部股权,交易金额为12亿元。
王小明毕业于北京大学,后来在上海工作。
他在院子里种了一棵枣树,还有一棵也是枣树。
该银行的控股股东持有公司30%的股份。
the quick brown fox jumps over the lazy dog
the company bought the other company in 2019
关系抽取: 头实体和尾实体之间的关系是什么?""".split("\n")
# Source and target code points in hexadecimal, as spm_train reads them: full width, ligature, kana with its mark, removal, spaces.
RULES = {"FF21": "41", "FF11": "31", "FF0C": "2C", "FB01": "66 69", "337F": "682A 5F0F 4F1A 793E", "FF76": "30AB",
         "FF76 FF9E": "30AC", "41 30A": "C5", "200B": "20", "3000": "20", "9": "20", "AD": "", "1F600": "1F642", "2026": "2E 2E 2E"}
RESTORING_RULES = {"2C": "FF0C"}


def train(**options):
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=writer, model_type="bpe", num_threads=1, minloglevel=2, hard_vocab_limit=False, **options)
    return writer.getvalue()


def tsv(folder, name, rules):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.writelines(f"{source}\t{target}\n" for source, target in rules.items())
    return path


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def write_varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def mark_unused(data, ids):
    """Sets type 5 (unused) on pieces: a later field of a message replaces an earlier one."""
    out, at, piece = b"", 0, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        size, at = read_varint(data, at)
        body, at = data[at:at + size], at + size
        if tag == 10:
            if piece in ids:
                body += b"\x18\x05"
            piece += 1
        out += write_varint(tag) + write_varint(len(body)) + body
    return out


def texts(random_numbers, count):
    odd = [" ", "  ", "\u2581", "\t", "\n", "\u3000", "\u200b", "\u00ad", "\uff21", "A\u030a", "\uff76\uff9e", "\uff76", "\ufb01", "\u337f",
           "\uff11\uff12", "\u2026", "\U0001f600", "\U00020bb7", "<s>", "</s>", "<unk>", "<0x41>", "<sep>", "<sep", "A B", "北京", "é", "\0"]
    for _ in range(count):
        parts = []
        for _ in range(random_numbers.choice([1, 2, 4, 8])):
            line = random_numbers.choice(LINES)
            start = random_numbers.randrange(len(line))
            parts.append(random_numbers.choice(odd) if random_numbers.random() < 0.5 else line[start:start + random_numbers.randint(1, 12)])
        yield "".join(parts)


def write(name, model):
    with open(os.path.join(OUT, f"{name}.model"), "wb") as file:
        file.write(model)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = tokenizer.get_piece_size()
    numbers = random.Random(11)
    origin = {"origin": f"sentencepiece {sentencepiece.__version__}, test/golden/make/tokenizers.py, seed 11", "pieces": size}
    with open(os.path.join(OUT, f"{name}.jsonl"), "w") as file:
        rows = [origin]
        rows += [{"text": text, "ids": tokenizer.encode(text)} for text in ["", " ", *LINES, *texts(numbers, 120)]]
        for _ in range(60):
            ids = [numbers.choice([numbers.randrange(size), numbers.randrange(min(size, 40)), tokenizer.piece_to_id("\u2581")])
                   for _ in range(numbers.randint(0, 10))]
            rows.append({"ids": ids, "decoded": tokenizer.decode(ids)})
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(name, size, "pieces", len(model), "bytes")


with tempfile.TemporaryDirectory() as folder:
    write("rules", train(
        vocab_size=260, character_coverage=0.98, pad_id=3, user_defined_symbols=["<sep>", "A B", "北京"], unk_surface=" ? ",
        normalization_rule_tsv=tsv(folder, "rules.tsv", RULES), denormalization_rule_tsv=tsv(folder, "restoring.tsv", RESTORING_RULES)))
    model = train(vocab_size=460, character_coverage=0.98, byte_fallback=True, normalization_rule_name="identity",
                  remove_extra_whitespaces=False, user_defined_symbols=["<sep>", "  "])
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
    merged = [i for i in range(tokenizer.get_piece_size()) if len(tokenizer.id_to_piece(i)) > 1 and i > 261]
    write("bytes", mark_unused(model, set(merged[::3]) | {tokenizer.get_piece_size() - 1}))
