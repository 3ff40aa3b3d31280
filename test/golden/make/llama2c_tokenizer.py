"""Makes test/golden/llama2c-tokenizer.json: ids of texts by llama2.c's rules (run.c), written again from their description.

    python3 test/golden/make/llama2c_tokenizer.py PATH/TO/tok512.bin

A space goes in front; characters that are no piece become bytes; then, as long as any neighbours join into a piece, the pair with the best
score does, of equals the leftmost.
"""
import hashlib
import json
import os
import struct
import sys

OUT = os.path.join(os.path.dirname(__file__), "..", "llama2c-tokenizer.json")
TEXTS = ["Once upon a time, there was a little girl named Lily.", "", " ", "  two  spaces ", "a", "\n", "She said: \"No!\"\n\nThe end.\n",
         "Tom and his friend Ben like to play in the big park. They see a big, red ball.", "<s> and </s> and <unk> and <0x0A>",
         "收购了上海的公司", "naïve café €5 ™ 😀", "aaaaaaaaaaaaaaaaaaaaaaaaa", "ttttthehehehehe", "UPPER lower 0123456789", "a\tb\r\n",
         "|~[]<>", "e\u0301\u200a.", "Lily and Tom were very happy because they found the shiny stone in the garden."]
data = open(sys.argv[1], "rb").read()
at, pieces = 4, []
while at < len(data):
    score, length = struct.unpack_from("<fi", data, at)
    pieces.append((data[at + 8:at + 8 + length], score))
    at += 8 + length
id_of = {piece: i for i, (piece, _) in reversed(list(enumerate(pieces)))}


def encode(text):
    ids = []
    for character in ([" "] if text else []) + list(text):
        piece = character.encode()
        ids += [id_of[piece]] if piece in id_of else [byte + 3 for byte in piece]
    while True:
        best = None
        for i in range(len(ids) - 1):
            joined = id_of.get(pieces[ids[i]][0] + pieces[ids[i + 1]][0])
            if joined is not None and (best is None or pieces[joined][1] > best[0]):
                best = (pieces[joined][1], i, joined)
        if best is None:
            return ids
        ids[best[1]:best[1] + 2] = [best[2]]


origin = f"test/golden/make/llama2c_tokenizer.py; tok512.bin sha256 {hashlib.sha256(data).hexdigest()}"
rows = ",\n".join(json.dumps({"text": text, "ids": encode(text)}, ensure_ascii=False) for text in TEXTS)
with open(OUT, "w") as f:
    f.write(f'{{"origin": {json.dumps(origin)}, "rows": [\n{rows}\n]}}\n')
