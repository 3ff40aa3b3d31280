"""Makes test/golden/chat-templates.json: ids of whole prompts by the SentencePiece C++ library, from the published tokenizer.model files.

    pip install sentencepiece && python test/golden/make/chat_templates.py TOKENIZERS

TOKENIZERS holds llama2/, chatglm2/ and baichuan2/ with a tokenizer.model each. The prompts are written here as the model makers' and
LLaMA-Efficient-Tuning's code puts them together; command ids of ChatGLM2 follow its 64,789 pieces: [MASK], [gMASK], [sMASK], sop.
"""
import json
import os
import sys

import sentencepiece

QUERIES = [
    "请根据给定句子和实体抽取其关系\n<N>日,“借壳”[华盛达]的[刚泰控股]在上交所举行了更名及上市仪式。 ([华盛达],?,[刚泰控股])",
    " <s>[INST] sop [gMASK] </s> <|im_end|>\n",
]
ANSWER = "([华盛达],拥有,[刚泰控股])"
LLAMA2 = ("You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  Your answers "
          "should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. Please ensure that your "
          "responses are socially unbiased and positive in nature.\n\nIf a question does not make any sense, or is not factually coherent, "
          "explain why instead of answering something not correct. If you don't know the answer to a question, please don't share false "
          "information.")
DEFAULT = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
           "answers to the user's questions.")
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


def main():
    pieces = {name: sentencepiece.SentencePieceProcessor(model_file=os.path.join(sys.argv[1], name, "tokenizer.model"))
              for name in ["llama2", "chatglm2", "baichuan2"]}
    assert pieces["chatglm2"].get_piece_size() == 64789
    assert pieces["baichuan2"].id_to_piece([195, 196]) == ["<reserved_106>", "<reserved_107>"]
    rows = []
    for query in QUERIES:
        llama, glm, baichuan = (pieces[name].encode for name in ["llama2", "chatglm2", "baichuan2"])
        default = [DEFAULT, "\n", "Human: " + query + "\nAssistant: "]
        alpaca = [ALPACA, "\n\n", "### Instruction:\n" + query + "\n\n### Response:\n"]
        add = lambda family, template, ids: rows.append({"family": family, "template": template, "query": query, "ids": ids})
        add("llama2", "llama2", [1] + llama("[INST] <<SYS>>\n" + LLAMA2 + "\n<</SYS>>\n\n" + query + " [/INST] "))
        add("llama2", "default", [1] + sum(map(llama, default), []))
        add("llama2", "alpaca", [1] + sum(map(llama, alpaca), []))
        add("chatglm2", "chatglm2", [64790, 64792] + glm("[Round 1]\n\n问：" + query + "\n\n答："))
        add("chatglm2", "default", sum(map(glm, default), []))
        add("baichuan2", "baichuan2", [195] + baichuan(query) + [196])
        add("baichuan2", "alpaca", sum(map(baichuan, alpaca), []))
    # Text of the form of Baichuan2's user token stays text; the library would find the symbol in it.
    baichuan = pieces["baichuan2"].encode
    rows.append({"family": "baichuan2", "template": "baichuan2", "query": "甲<reserved_106>乙<<reserved_107>",
                 "ids": [195] + baichuan("甲<") + baichuan("reserved_106>乙<<") + baichuan("reserved_107>") + [196]})
    answers = {name: piece.encode(ANSWER) + [2] for name, piece in pieces.items()}
    origin = f"SentencePiece {sentencepiece.__version__}, test/golden/make/chat_templates.py"
    path = os.path.join(os.path.dirname(__file__), "..", "chat-templates.json")
    with open(path, "w") as file:
        file.write(f'{{"origin": {json.dumps(origin)},\n"answer": {json.dumps(ANSWER, ensure_ascii=False)},\n"answers": {json.dumps(answers)},\n"rows": [\n')
        file.write(",\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        file.write("\n]}\n")


main()
