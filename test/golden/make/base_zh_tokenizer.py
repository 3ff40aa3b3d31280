"""Makes models/base-zh/tokenizer.model: python base_zh_tokenizer.py FOLDER OUTPUT   (SentencePiece 0.2.3; about a minute)

FOLDER holds corpus/*.txt.gz and data/{finre,sanwen}, as recipes/base-zh.yaml says. The text is every k-th line of a corpus file and, several
times, the distinct training sentences of both data sets without those that repeat a validation or test sentence (18 characters in common, or one
in the other whole: src/pretrain/overlap.ts).
"""

import gzip
import hashlib
import re
import sys
import tempfile
from pathlib import Path

import sentencepiece

EVERY = {"finance-report": 1, "prose-luxun": 1, "laws": 8, "tech-lctt": 6, "prose-classical-modern": 6}
TIMES = {"finre": 6, "sanwen": 24}
RUN = 18


def rows(folder, split):
    text = (folder / f"{split}.txt").read_bytes().decode("utf8")
    lines = (line.rstrip("\r").split("\t") for line in text.split("\n"))
    return list(dict.fromkeys(cells[3] for cells in lines if len(cells) == 4))


def training_sentences(folder):
    others = rows(folder, "valid") + rows(folder, "test")
    runs = {one[i : i + RUN] for one in others for i in range(len(one) - RUN + 1)}
    short = [one for one in others if len(one) < RUN]
    together = "\n".join(others)
    for one in rows(folder, "train"):
        shares = any(one[i : i + RUN] in runs for i in range(len(one) - RUN + 1))
        if not shares and one not in together and not any(other in one for other in short):
            yield one


def lines(folder):
    for name, every in EVERY.items():
        with gzip.open(folder / "corpus" / f"{name}.txt.gz", "rt", encoding="utf8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if number % every == 0 and line.strip(" \t\n"):
                    yield line.rstrip("\n")
    for name, times in TIMES.items():
        yield from list(training_sentences(folder / "data" / name)) * times


folder, output = map(Path, sys.argv[1:])
with tempfile.TemporaryDirectory() as temporary:
    text = Path(temporary) / "text.txt"
    with open(text, "w", encoding="utf8", newline="\n") as file:
        for line in lines(folder):
            file.write(re.sub("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]", "", line) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(Path(temporary) / "tokenizer"), model_type="bpe", vocab_size=16000,
        character_coverage=0.9985, max_sentencepiece_length=6, byte_fallback=True, normalization_rule_name="identity",
        add_dummy_prefix=False, remove_extra_whitespaces=False, split_digits=True, pad_id=3, num_threads=1,
        max_sentence_length=20000, user_defined_symbols=["\n", "[", "]", "{", "}", "(", ")", ",", "?", ":", "→", "<N>"],
    )
    model = (Path(temporary) / "tokenizer.model").read_bytes()
# The file names its own text and prefix, which are temporary: the pieces decide.
processor = sentencepiece.SentencePieceProcessor(model_proto=model)
pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]
print("pieces", len(pieces), hashlib.sha256(repr(pieces).encode()).hexdigest())
output.write_bytes(model)
